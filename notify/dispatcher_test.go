package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func TestDelivers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := newRig(t, newStore(t), to("w", s))
		defer r.stop()
		e := push("team/app", "v1", "v2")
		begun := time.Now()
		r.commit(e)
		synctest.Wait()
		got := s.all()
		if len(got) != 2 || got[0].at.Sub(begun) > 0 {
			t.Fatalf("got %+v", got)
		}
		slices.SortFunc(got, func(a, b received) int { return strings.Compare(a.id, b.id) })
		if got[0].id != e.ID+"_1" || got[1].id != e.ID+"_2" || got[1].body != "PUSH_ARTIFACT team/app:v2 1" {
			t.Errorf("got %+v", got)
		}
		d := r.delivery(2)
		if d.State != store.Delivered || d.Attempts != 1 || d.Status != 200 || string(d.Payload.Body) != "PUSH_ARTIFACT team/app:v2 1" {
			t.Errorf("stored %+v", d)
		}
		if a := r.store.attempts[2]; len(a) != 1 || a[0].Replica != "one" {
			t.Errorf("attempts %+v", a)
		}
	})
}

func TestAnswers(t *testing.T) {
	tests := []struct {
		name     string
		answer   func(context.Context, webhook.Message) webhook.Result
		state    store.State
		reason   string
		attempts int
		posts    int
	}{
		{"permanent", fails(422, webhook.Permanent, 0), store.Dead, "status_4xx", 1, 1},
		{"not implemented", fails(501, webhook.Permanent, 0), store.Dead, "status_5xx", 1, 1},
		{"gone", fails(410, webhook.Gone, 0), store.Pending, "status_4xx", 0, 1},
		{"retried to the end", fails(404, webhook.Retry, 0), store.Dead, "exhausted", 3, 3},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: test.answer}
				r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.Retry = []time.Duration{0, time.Minute, time.Hour} }))
				defer r.stop()
				r.commit(push("team/app", "v1"))
				time.Sleep(3 * time.Hour)
				d := r.delivery(1)
				if d.State != test.state || d.Reason != test.reason || d.Attempts != test.attempts || s.count() != test.posts {
					t.Errorf("%+v after %d posts", d, s.count())
				}
			})
		})
	}
}

func TestScheduleAndJitter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(404, webhook.Retry, 0)}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.Retry = []time.Duration{0, time.Minute, time.Hour} }))
		defer r.stop()
		r.commit(push("team/app", "v1"))
		time.Sleep(3 * time.Hour)
		got := s.all()
		for i, want := range []time.Duration{time.Minute, time.Hour} {
			if wait := got[i+1].at.Sub(got[i].at); wait < want*8/10 || wait > want*12/10+time.Second {
				t.Errorf("waited %v, want about %v", wait, want)
			}
			if got[i].body != got[i+1].body || got[i].id != got[i+1].id {
				t.Errorf("attempts differ: %+v, %+v", got[i], got[i+1])
			}
		}
	})
}

func TestFirstAttemptWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.Retry = []time.Duration{10 * time.Second} }))
		defer r.stop()
		r.commit(push("team/app", "v1"))
		time.Sleep(9 * time.Second)
		if s.count() != 0 {
			t.Error("too early")
		}
		time.Sleep(2 * time.Second)
		if s.count() != 1 {
			t.Error("not sent")
		}
	})
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(503, webhook.Retry, 24*time.Hour)}
		r := newRig(t, newStore(t), to("w", s))
		defer r.stop()
		r.commit(push("team/app", "v1"))
		time.Sleep(23 * time.Hour)
		if s.count() != 1 {
			t.Errorf("%d posts before the Retry-After had passed", s.count())
		}
		s.set(nil)
		time.Sleep(2 * time.Hour)
		if s.count() != 2 || r.states() != "delivered" {
			t.Errorf("%d posts, %s", s.count(), r.states())
		}
	})
}

func TestUnrenderable(t *testing.T) {
	for name, broken := range map[string]func(detect.Event) error{
		"error": func(detect.Event) error { return errors.New("no words") },
		"panic": func(detect.Event) error { panic("no words") },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{}
				r := newRig(t, newStore(t), to("w", s, func(w *Webhook) {
					w.Format = plain{perTag: true, broken: func(e detect.Event) error {
						if e.Repository == "bad" {
							return broken(e)
						}
						return nil
					}}
				}))
				defer r.stop()
				r.commit(push("bad", "v1"), push("good", "v1"))
				synctest.Wait()
				if r.states() != "dead delivered" || r.delivery(1).Reason != ReasonUnrenderable || r.delivery(1).Attempts != 0 {
					t.Errorf("%s, %+v", r.states(), r.delivery(1))
				}
			})
		})
	}
}

func TestSample(t *testing.T) {
	charts := to("charts", &sink{}, func(w *Webhook) { w.Events = []string{"UPLOAD_CHART"} })
	for _, tc := range []struct {
		w    Webhook
		kind detect.Type
		want string
	}{{to("w", &sink{}), "", "PUSH_ARTIFACT bellbuoy/ping:v1.0.0 0"}, {charts, "", "UPLOAD_CHART"}, {charts, detect.DeleteTag, "DELETE_TAG"}} {
		if m, err := Sample(tc.w, tc.kind); err != nil || !strings.HasPrefix(string(m.Body), tc.want) || m.ID == "" {
			t.Errorf("%+v, %v, want %s", m, err, tc.want)
		}
	}
}

func TestIdleLanesCostNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hooks []Webhook
		for i := range 1000 {
			hooks = append(hooks, to(fmt.Sprint(i), &sink{}))
		}
		r := newRig(t, newStore(t), hooks...)
		defer r.stop()
		for _, l := range r.dispatcher.lanes {
			l.mu.Lock()
			if l.pumping || l.storingOutcomes || len(l.inFlight) > 0 {
				t.Errorf("lane %s is awake", l.name)
			}
			l.mu.Unlock()
		}
	})
}

func TestRetention(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := DispatcherOptions{Retention: store.Retention{Delivered: time.Hour}, Trims: []store.Trim{{Kind: "tag", Max: 9}}}
		r := newRigWith(t, newStore(t), o, to("w", &sink{}))
		begun := time.Now()
		time.Sleep(90 * time.Second)
		r.dispatcher.Retain(store.Retention{Delivered: time.Minute}, nil)
		time.Sleep(time.Minute)
		r.stop()
		got := r.store.purges
		if len(got) != 2 || got[0].retention.Delivered != time.Hour || len(got[0].trims) != 1 || got[0].now.Sub(begun) != time.Minute ||
			got[1].retention.Delivered != time.Minute {
			t.Errorf("purged %+v", got)
		}
	})
}

// The renderers of notify/format are formats.
var _ Format = format.Format{}
