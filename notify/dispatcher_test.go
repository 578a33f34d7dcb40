package notify

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// rig is a bellbuoy's notify on a store in memory.
type rig struct {
	t          *testing.T
	store      *replica
	outbox     *Outbox
	dispatcher *Dispatcher
	stop       func()
}

func newRig(t *testing.T, s *replica, hooks ...Webhook) *rig {
	t.Helper()
	return newRigWith(t, s, DispatcherOptions{Replica: s.id}, hooks...)
}

func newRigWith(t *testing.T, s *replica, o DispatcherOptions, hooks ...Webhook) *rig {
	t.Helper()
	r := &rig{t: t, store: s, outbox: NewOutbox(s, OutboxOptions{})}
	r.dispatcher = NewDispatcher(s, r.outbox, o)
	r.configure(hooks...)
	r.stop = r.run()
	t.Cleanup(r.stop)
	return r
}

// run starts the dispatcher and returns the way to stop it.
func (r *rig) run() func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.dispatcher.Run(ctx) }()
	synctest.Wait()
	return sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil && !errors.Is(err, errDown) {
			r.t.Error(err)
		}
	})
}

func (r *rig) configure(hooks ...Webhook) {
	s := compiled(r.t, hooks...)
	r.outbox.Configure(s)
	r.dispatcher.Configure(s)
}

func (r *rig) commit(events ...detect.Event) {
	r.t.Helper()
	if err := r.outbox.Commit(r.t.Context(), "x", commits(events...)); err != nil {
		r.t.Fatal(err)
	}
}

// delivery is the one delivery of the store with that number, from 1.
func (r *rig) delivery(id int) store.Delivery {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	return *r.store.deliveries[id-1]
}

func (r *rig) states() string {
	r.store.mu.Lock()
	defer r.store.mu.Unlock()
	var out []string
	for _, d := range r.store.deliveries {
		out = append(out, [...]string{"pending", "delivered", "dead", "parked"}[d.State])
	}
	return strings.Join(out, " ")
}

// sink is a receiver that remembers, and answers as told.
type sink struct {
	mu     sync.Mutex
	got    []received
	answer func(context.Context, webhook.Message) webhook.Result // nil: delivers
	flying int
	most   int
}

type received struct {
	id, body string
	at       time.Time
}

func (s *sink) Post(ctx context.Context, m webhook.Message) webhook.Result {
	s.mu.Lock()
	s.got = append(s.got, received{m.ID, string(m.Body), time.Now()})
	s.flying++
	s.most = max(s.most, s.flying)
	answer := s.answer
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.flying--
		s.mu.Unlock()
	}()
	if answer == nil {
		return ok200()
	}
	return answer(ctx, m)
}

func (s *sink) set(answer func(context.Context, webhook.Message) webhook.Result) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *sink) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.got)
}

func (s *sink) peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

func (s *sink) all() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.got)
}

func ok200() webhook.Result { return webhook.Result{Status: 200, Outcome: webhook.Delivered} }

func fails(status int, outcome webhook.Outcome, after time.Duration) func(context.Context, webhook.Message) webhook.Result {
	return func(context.Context, webhook.Message) webhook.Result {
		reason := webhook.Reason4xx
		if status >= 500 {
			reason = webhook.Reason5xx
		}
		return webhook.Result{Status: status, Outcome: outcome, Reason: reason, After: after, Response: []byte("no")}
	}
}

// hangs answers when ctx ends.
func hangs(ctx context.Context, _ webhook.Message) webhook.Result {
	<-ctx.Done()
	return webhook.Result{Outcome: webhook.Retry, Reason: webhook.ReasonCanceled}
}

// to is a webhook that posts to s.
func to(name string, s Poster, change ...func(*Webhook)) Webhook {
	w := hookNamed(name)
	w.Poster = s
	for _, c := range change {
		c(&w)
	}
	return w
}

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

// Every class of answers ends as it should.
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
			t.Errorf("%d posts before the receiver wanted another", s.count())
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

func TestCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.Concurrency = 1 }))
		defer r.stop()
		for i := range 20 {
			r.commit(push(fmt.Sprint("team/app", i), "v1"))
		}
		synctest.Wait()
		if s.count() != 5 {
			t.Fatalf("%d posts before the circuit opened", s.count())
		}
		time.Sleep(time.Hour)
		probes := s.all()[5:]
		if len(probes) < 13 || len(probes) > 22 {
			t.Errorf("%d probes in an hour", len(probes))
		}
		for i := 1; i < len(probes); i++ {
			if gap := probes[i].at.Sub(probes[i-1].at); gap < 8*time.Second || gap > 361*time.Second {
				t.Errorf("probe %d came after %v", i, gap)
			}
		}
		if probes[0].id == probes[1].id {
			t.Error("the same delivery probed again while others waited")
		}
		for id := 6; id <= 20; id++ {
			if d := r.delivery(id); d.Attempts != 0 {
				t.Errorf("attempt burnt while waiting: %+v", d)
			}
		}
		if states, err := r.dispatcher.States(t.Context()); err != nil || !states[0].Open || states[0].Pending != 20 {
			t.Errorf("states %+v, %v", states, err)
		}
		s.set(nil)
		time.Sleep(10 * time.Minute)
		if want := strings.TrimSpace(strings.Repeat("delivered ", 20)); r.states() != want {
			t.Errorf("after recovery: %s", r.states())
		}
	})
}

// One event that the receiver cannot digest must not keep the circuit open for the others.
func TestProbesTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: func(_ context.Context, m webhook.Message) webhook.Result {
			if strings.Contains(string(m.Body), "poison") {
				return fails(500, webhook.Retry, 0)(nil, m)
			}
			return ok200()
		}}
		r := newRig(t, newStore(t), to("w", s))
		defer r.stop()
		r.commit(push("poison", "v1"))
		for range 100 {
			if time.Sleep(time.Minute); s.count() > 8 {
				break
			}
		}
		time.Sleep(3 * time.Hour) // open, and probed again and again
		r.commit(push("fine", "v1"))
		time.Sleep(11 * time.Minute)
		if d := r.delivery(2); d.State != store.Delivered {
			t.Errorf("%+v", d)
		}
	})
}

func TestTimeUnderOpenCircuitCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) {
			w.Concurrency = 1
			w.Retry = []time.Duration{0, time.Hour, time.Hour}
		}))
		defer r.stop()
		for i := range 600 {
			r.commit(push(fmt.Sprint("team/app", i), "v1"))
		}
		time.Sleep(100 * time.Minute)
		if d := r.delivery(500); d.State != store.Pending {
			t.Fatalf("%+v too early", d)
		}
		time.Sleep(40 * time.Minute)
		if d := r.delivery(500); d.State != store.Dead || d.Reason != ReasonExpired || d.Attempts != 0 {
			t.Errorf("%+v", d)
		}
		n, err := r.dispatcher.Redeliver(t.Context(), store.DeliveryQuery{IDs: []int64{500}})
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		s.set(nil)
		time.Sleep(6 * time.Minute)
		if d := r.delivery(500); d.State != store.Delivered {
			t.Errorf("redelivered: %+v", d)
		}
	})
}

func TestGoneDisables(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(410, webhook.Gone, 0)}
		m := newStore(t)
		r := newRig(t, m, to("w", s, func(w *Webhook) { w.Retry = []time.Duration{0, time.Hour} }))
		r.commit(push("a/b", "1"))
		synctest.Wait()
		r.commit(push("a/b", "2"))
		time.Sleep(48 * time.Hour)
		if s.count() != 1 || r.states() != "pending pending" {
			t.Fatalf("%d posts, %s", s.count(), r.states())
		}
		r.stop()
		r = newRig(t, m, to("w", s)) // disabled over a restart
		defer r.stop()
		time.Sleep(time.Hour)
		if states, err := r.dispatcher.States(t.Context()); err != nil || states[0].Off != SwitchedByGone || s.count() != 1 {
			t.Fatalf("%+v, %v, %d posts", states, err, s.count())
		}
		s.set(nil)
		if err := r.dispatcher.Enable(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if r.states() != "delivered delivered" {
			t.Errorf("after enable: %s", r.states())
		}
	})
}

// What waited while the webhook was off gets its whole schedule.
func TestEnableRenewsSchedule(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.Retry = []time.Duration{0, time.Hour} }))
		defer r.stop()
		if err := r.dispatcher.Disable(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		r.commit(push("a/b", "1"))
		time.Sleep(48 * time.Hour)
		if err := r.dispatcher.Enable(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		if r.states() != "pending" || s.count() != 1 {
			t.Errorf("%s after %d posts", r.states(), s.count())
		}
		time.Sleep(2 * time.Hour)
		if r.states() != "dead" || s.count() != 2 {
			t.Errorf("%s after %d posts", r.states(), s.count())
		}
		if err := r.dispatcher.Enable(t.Context(), "nobody"); !errors.Is(err, ErrNoWebhook) {
			t.Errorf("got %v", err)
		}
	})
}

func TestHangingReceiverHarmsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, quick := &sink{answer: hangs}, &sink{}
		r := newRig(t, newStore(t), to("hangs", slow), to("quick", quick))
		defer r.stop()
		for i := range 500 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
		}
		synctest.Wait()
		if slow.count() != 8 || quick.count() != 500 {
			t.Errorf("%d posts hang, %d went through", slow.count(), quick.count())
		}
	})
}

func TestConcurrencyAndRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wide := &sink{answer: func(context.Context, webhook.Message) webhook.Result { time.Sleep(time.Second); return ok200() }}
		rated := &sink{}
		r := newRig(t, newStore(t), to("wide", wide, func(w *Webhook) { w.Concurrency = 3 }),
			to("rated", rated, func(w *Webhook) { w.RateLimit = rate.Every(2 * time.Second) }))
		defer r.stop()
		for i := range 30 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
		}
		time.Sleep(11 * time.Second)
		if wide.peak() != 3 || wide.count() != 30 {
			t.Errorf("%d in flight, %d posts", wide.peak(), wide.count())
		}
		if n := rated.count(); n != 6 {
			t.Errorf("%d posts in 11 s at one each two", n)
		}
		time.Sleep(time.Minute)
		if rated.count() != 30 {
			t.Errorf("%d posts at last", rated.count())
		}
	})
}

// Under random failures: of a key never two in flight, by repository strictly in order, by tag in order of what did not fail.
func TestOrder(t *testing.T) {
	for _, order := range []store.Order{store.ByTag, store.ByRepository, store.Unordered} {
		t.Run(fmt.Sprint(order), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				checked := &ordered{t: t, order: order, flying: map[string]bool{}, last: map[string]string{}}
				r := newRig(t, newStore(t), to("w", checked, func(w *Webhook) {
					w.Order = order
					w.Retry = slices.Repeat([]time.Duration{0}, 1)
					for range 60 {
						w.Retry = append(w.Retry, time.Minute)
					}
				}))
				defer r.stop()
				for i := range 400 {
					r.commit(push(fmt.Sprint("a/", i%7), fmt.Sprint("t", i%3)))
					if i%50 == 0 {
						time.Sleep(time.Second)
					}
				}
				time.Sleep(100 * time.Hour)
				checked.mu.Lock()
				defer checked.mu.Unlock()
				if want := 400; checked.delivered != want || strings.Contains(r.states(), "pending") {
					t.Errorf("%d delivered", checked.delivered)
				}
				if order == store.Unordered && checked.most < 8 {
					t.Errorf("only %d in flight", checked.most)
				}
			})
		})
	}
}

// ordered is a receiver that fails now and then, and checks what an order promises.
type ordered struct {
	t         *testing.T
	order     store.Order
	mu        sync.Mutex
	flying    map[string]bool
	last      map[string]string // id delivered last, of each key
	failed    map[string]bool
	delivered int
	most, now int
}

func (o *ordered) Post(_ context.Context, m webhook.Message) webhook.Result {
	key := strings.Fields(string(m.Body))[1]
	if o.order == store.ByRepository {
		key, _, _ = strings.Cut(key, ":")
	}
	o.mu.Lock()
	o.now++
	o.most = max(o.most, o.now)
	if o.order != store.Unordered && o.flying[key] {
		o.t.Errorf("two in flight of %s", key)
	}
	o.flying[key] = true
	o.mu.Unlock()
	time.Sleep(rand.N(2 * time.Second))
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now--
	o.flying[key] = false
	if rand.N(10) == 0 {
		if o.failed == nil {
			o.failed = map[string]bool{}
		}
		o.failed[m.ID] = true
		return webhook.Result{Status: 500, Outcome: webhook.Retry, Reason: webhook.Reason5xx}
	}
	if o.order == store.ByRepository && m.ID < o.last[key] {
		o.t.Errorf("%s delivered after %s", m.ID, o.last[key])
	}
	if o.order == store.ByTag && m.ID < o.last[key] && !o.failed[m.ID] {
		o.t.Errorf("%s delivered after %s although it never failed", m.ID, o.last[key])
	}
	o.last[key] = max(m.ID, o.last[key])
	o.delivered++
	return ok200()
}

func TestOvertaken(t *testing.T) {
	for _, drop := range []bool{false, true} {
		t.Run(fmt.Sprint(drop), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: fails(500, webhook.Retry, 0)}
				r := newRig(t, newStore(t), to("w", s, func(w *Webhook) {
					w.DropOvertaken = drop
					w.Events = []string{"*"}
				}))
				defer r.stop()
				r.commit(push("a/b", "latest"))
				pulled := with(push("a/b", "latest"), func(e *detect.Event) { e.Type = detect.PullArtifact })
				r.commit(pulled)
				synctest.Wait()
				s.set(nil)
				r.commit(push("a/b", "latest"))
				r.commit(push("a/b", "other"))
				time.Sleep(time.Minute)
				want, reason := "delivered delivered delivered delivered", ""
				if drop {
					want, reason = "dead delivered delivered delivered", ReasonSuperseded
				}
				if r.states() != want || r.delivery(1).Reason != reason {
					t.Errorf("%s, %+v", r.states(), r.delivery(1))
				}
			})
		})
	}
}

// A pull that is delivered does not make a push overtaken.
func TestPullOvertakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.DropOvertaken, w.Events = true, []string{"*"} }))
		defer r.stop()
		r.commit(push("a/b", "latest"))
		synctest.Wait()
		s.set(nil)
		r.commit(with(push("a/b", "latest"), func(e *detect.Event) { e.Type = detect.PullArtifact }))
		time.Sleep(time.Minute)
		if r.states() != "delivered delivered" {
			t.Error(r.states())
		}
	})
}

func TestReloadKeepsWhatFlies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before := &sink{answer: func(context.Context, webhook.Message) webhook.Result { time.Sleep(10 * time.Second); return ok200() }}
		after := &sink{}
		r := newRig(t, newStore(t), to("w", before, func(w *Webhook) { w.Concurrency = 1 }))
		defer r.stop()
		r.commit(push("a/1", "1"), push("a/2", "1"))
		time.Sleep(time.Second)
		r.configure(to("w", after))
		time.Sleep(time.Second)
		if r.states() != "pending delivered" || after.count() != 1 {
			t.Errorf("%s, %d posts by the new settings", r.states(), after.count())
		}
		time.Sleep(10 * time.Second)
		if r.states() != "delivered delivered" || before.count() != 1 || after.count() != 1 {
			t.Errorf("%s, %d and %d posts", r.states(), before.count(), after.count())
		}
	})
}

func TestRemovedWebhookIsParked(t *testing.T) {
	for _, way := range []string{"removed", "disabled"} {
		t.Run(way, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: fails(500, webhook.Retry, 0)}
				hook := to("w", s, func(w *Webhook) { w.Retry = []time.Duration{0, time.Minute, time.Hour, time.Hour} })
				r := newRig(t, newStore(t), hook)
				defer r.stop()
				r.commit(push("a/b", "1"))
				synctest.Wait()
				if way == "removed" {
					r.configure()
				} else {
					r.configure(with2(hook, func(w *Webhook) { w.Enabled = false }))
				}
				synctest.Wait()
				r.commit(push("a/b", "2"))
				time.Sleep(24 * time.Hour)
				if r.states() != "parked" || s.count() != 1 {
					t.Fatalf("%s, %d posts", r.states(), s.count())
				}
				r.configure(hook)
				time.Sleep(time.Second)
				if r.states() != "pending" || s.count() != 2 {
					t.Fatalf("%s, %d posts, when it is back", r.states(), s.count())
				}
				s.set(nil)
				time.Sleep(2 * time.Hour)
				if r.states() != "delivered" {
					t.Error(r.states())
				}
			})
		})
	}
}

// A webhook that goes while its POST is under way keeps the POST and its outcome.
func TestRemovedInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: func(context.Context, webhook.Message) webhook.Result { time.Sleep(10 * time.Second); return ok200() }}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.Concurrency = 1 }))
		defer r.stop()
		r.commit(push("a/1", "1"), push("a/2", "1"))
		time.Sleep(time.Second)
		r.configure()
		time.Sleep(20 * time.Second)
		if r.states() != "delivered parked" || s.count() != 1 {
			t.Errorf("%s, %d posts", r.states(), s.count())
		}
		if n := len(r.dispatcher.laneNames(func(*lane) bool { return true })); n != 0 {
			t.Errorf("%d lanes left", n)
		}
	})
}

func TestNotificationsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRig(t, newStore(t), to("w", s))
		defer r.stop()
		r.commit(push("a/b", "1"))
		synctest.Wait()
		off, err := Compile(false, []Webhook{to("w", s)})
		if err != nil {
			t.Fatal(err)
		}
		r.outbox.Configure(off)
		r.dispatcher.Configure(off)
		r.commit(push("a/b", "2"))
		time.Sleep(time.Hour)
		if s.count() != 1 || r.states() != "pending" || r.store.count() != 2 {
			t.Errorf("%d posts, %s, %d events", s.count(), r.states(), r.store.count())
		}
		s.set(nil)
		r.configure(to("w", s))
		time.Sleep(time.Second)
		if r.states() != "delivered" {
			t.Error(r.states())
		}
	})
}

func TestGracefulStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: func(context.Context, webhook.Message) webhook.Result { time.Sleep(10 * time.Second); return ok200() }}
		stuck := &sink{answer: hangs}
		m := newStore(t)
		r := newRig(t, m, to("w", s, func(w *Webhook) { w.Concurrency = 1 }), to("stuck", stuck))
		r.commit(push("a/1", "1"), push("a/2", "1"))
		time.Sleep(time.Second)
		begun := time.Now()
		r.stop()
		if took := time.Since(begun); took != 20*time.Second {
			t.Errorf("took %v", took)
		}
		if r.states() != "delivered pending pending pending" || s.count() != 1 {
			t.Errorf("%s, %d posts", r.states(), s.count())
		}
		if d := r.delivery(2); d.Attempts != 0 {
			t.Errorf("the aborted one: %+v", d)
		}
		r = newRig(t, m, to("w", &sink{}), to("stuck", &sink{})) // released: nobody waits for a lease to end
		defer r.stop()
		if r.states() != "delivered delivered delivered delivered" {
			t.Error(r.states())
		}
	})
}

// A process that is killed loses nothing: the next one makes the same POST.
func TestCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		first := m.replica("first")
		s := &sink{answer: hangs}
		shared := DispatcherOptions{Replica: "first", Shared: true}
		r := newRigWith(t, first, shared, to("w", s))
		r.commit(push("a/1", "1"))
		synctest.Wait()
		m.mu.Lock()
		first.down = true
		m.mu.Unlock()
		begun := time.Now()
		shared.Replica = "second"
		second := newRigWith(t, m.replica("second"), shared, to("w", s))
		s.set(nil)
		time.Sleep(14 * time.Second)
		second.stop()
		r.stop()
		got := s.all()
		if second.states() != "delivered" || len(got) != 2 || got[0].id != got[1].id || got[0].body != got[1].body {
			t.Errorf("%s, %+v", second.states(), got)
		}
		if took := got[1].at.Sub(begun); took > 15*time.Second {
			t.Errorf("moved after %v", took)
		}
	})
}

func TestStoreFailsWhileDelivering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := newRig(t, newStore(t), to("w", s))
		defer r.stop()
		for i := range 500 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
		}
		synctest.Wait()
		r.store.mu.Lock()
		r.store.refuseEnd = errors.New("disk full")
		r.store.mu.Unlock()
		for i := range 500 {
			r.commit(push(fmt.Sprint("b/", i), "1"))
		}
		time.Sleep(time.Minute)
		if n := s.count() - 500; n > 8+laneAhead {
			t.Errorf("%d more posts whose outcome nobody can store", n)
		}
		r.store.mu.Lock()
		r.store.refuseEnd = nil
		r.store.mu.Unlock()
		time.Sleep(10 * time.Second)
		if s.count() != 1000 || strings.Contains(r.states(), "pending") {
			t.Errorf("%d posts", s.count())
		}
	})
}

func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		charts := to("charts", s, func(w *Webhook) { w.Events = []string{"UPLOAD_CHART"} })
		r := newRig(t, newStore(t), to("w", s), charts)
		defer r.stop()
		for _, name := range []string{"w", "charts"} {
			if result, err := r.dispatcher.Ping(t.Context(), name); err != nil || result.Status != 200 {
				t.Errorf("%+v, %v", result, err)
			}
		}
		got := s.all()
		if len(got) != 2 || got[0].body != "PUSH_ARTIFACT bellbuoy/ping:v1.0.0 0" || !strings.HasPrefix(got[1].body, "UPLOAD_CHART") || r.states() != "" {
			t.Errorf("%+v", got)
		}
		if _, err := r.dispatcher.Ping(t.Context(), "nobody"); !errors.Is(err, ErrNoWebhook) {
			t.Errorf("got %v", err)
		}
	})
}

// Goroutines run only while there is work.
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
			if l.pumping || l.finishing || len(l.flying) > 0 {
				t.Errorf("lane %s is awake", l.name)
			}
			l.mu.Unlock()
		}
	})
}
