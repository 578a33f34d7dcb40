package notify

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// TestReceiverRecovers: after an hour of failures, a receiver gets its 1,000 waiting deliveries
// within a minute of its first success, at its rate, the oldest first, each once.
func TestReceiverRecovers(t *testing.T) {
	down := map[string]func(context.Context, webhook.Message) webhook.Result{
		"refused": func(context.Context, webhook.Message) webhook.Result {
			return webhook.Result{Outcome: webhook.Retry, Reason: webhook.ReasonRefused}
		},
		"hangs": func(context.Context, webhook.Message) webhook.Result {
			time.Sleep(15 * time.Second)
			return webhook.Result{Outcome: webhook.Retry, Reason: webhook.ReasonTimeout}
		},
		"503": fails(503, webhook.Retry, 0),
		"404": fails(404, webhook.Retry, 0),
		"429": fails(429, webhook.Retry, time.Minute),
	}
	const pushes, perSecond = 1000, 50
	for name, answer := range down {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: answer}
				r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.RateLimit = rate.Limit(perSecond) }))
				defer r.stop()
				for i := range pushes {
					r.commit(push(fmt.Sprint("team/app", i), "v1"))
					time.Sleep(time.Hour / pushes)
				}
				s.set(nil)
				before := s.count()
				for s.count() == before && !t.Failed() {
					time.Sleep(time.Second)
				}
				time.Sleep(time.Minute)
				got := s.all()[before:]
				if n := strings.Count(r.states(), "delivered"); n != pushes || len(got) != pushes {
					t.Fatalf("%d of %d are delivered, by %d posts", n, pushes, len(got))
				}
				if took := got[len(got)-1].at.Sub(got[0].at); took < (pushes-10)*time.Second/perSecond {
					t.Errorf("all within %v: faster than its rate", took)
				}
				// the probe, and attempts in flight with it, need not be the oldest
				late := 0
				for i := 2; i < len(got); i++ {
					if eventNumber(t, got[i].id) < eventNumber(t, got[i-1].id) {
						late++
					}
				}
				if late > 1 {
					t.Errorf("%d came after younger ones", late)
				}
			})
		})
	}
}

func eventNumber(t *testing.T, id string) (n int) {
	t.Helper()
	if _, err := fmt.Sscanf(id, "event-%d", &n); err != nil {
		t.Fatal(id, err)
	}
	return n
}

// TestOwnFaultKeepsItsSchedule: a delivery that fails while others succeed stays on its schedule.
func TestOwnFaultKeepsItsSchedule(t *testing.T) {
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
		for i := range 60 {
			time.Sleep(time.Minute)
			r.commit(push(fmt.Sprint("fine", i), "v1"))
		}
		time.Sleep(time.Minute)
		poisoned := 0
		for _, p := range s.all() {
			if strings.Contains(p.body, "poison") {
				poisoned++
			}
		}
		if poisoned > 5 { // at 0 s, 5 s, 5 min, 35 min, and made due once
			t.Errorf("posted %d times within an hour", poisoned)
		}
		if d := r.delivery(1); d.State != store.Pending || d.Attempts != poisoned {
			t.Errorf("%+v", d)
		}
	})
}

// TestRedeliverPending: a delivery that waits for a retry is sent at once, with a new schedule.
func TestRedeliverPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.Retry = []time.Duration{0, 20 * time.Hour} }))
		defer r.stop()
		r.commit(push("team/app", "v1"))
		time.Sleep(time.Minute)
		if n, err := r.dispatcher.Redeliver(t.Context(), store.DeliveryQuery{IDs: []int64{1}}); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		time.Sleep(time.Minute)
		if d := r.delivery(1); s.count() != 2 || d.Attempts != 1 || d.State != store.Pending {
			t.Errorf("%d posts, %+v", s.count(), d)
		}
	})
}

// TestRedeliverWithOpenCircuit: a redelivery makes the next probe due now. If the probe succeeds,
// all waiting deliveries are sent.
func TestRedeliverWithOpenCircuit(t *testing.T) {
	for name, q := range map[string]store.DeliveryQuery{
		"by id":      {IDs: []int64{15}},
		"by webhook": {Webhook: "w", States: []store.State{store.Pending}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: fails(500, webhook.Retry, 0)}
				r := newRig(t, newStore(t), to("w", s))
				defer r.stop()
				for i := range 20 {
					r.commit(push(fmt.Sprint("team/app", i), "v1"))
				}
				time.Sleep(time.Hour) // the probes are minutes apart now
				before := s.count()
				redeliver := func() {
					t.Helper()
					if n, err := r.dispatcher.Redeliver(t.Context(), q); n == 0 || err != nil {
						t.Fatal(n, err)
					}
					time.Sleep(time.Second)
				}
				redeliver()
				if n := s.count() - before; n != 1 {
					t.Errorf("%d posts to a receiver that still fails, want 1", n)
				}
				s.set(nil)
				redeliver()
				if want := strings.TrimSpace(strings.Repeat("delivered ", 20)); r.states() != want {
					t.Errorf("a second later: %s", r.states())
				}
			})
		})
	}
}
