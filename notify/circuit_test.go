package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

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
				t.Errorf("an attempt was used up while waiting: %+v", d)
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

// TestFirstFailureIsLogged: the log mentions a receiver that fails occasionally, once a minute at
// most, before its circuit opens.
func TestFirstFailureIsLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.WarnLevel)
		s := &sink{answer: fails(503, webhook.Retry, 0)}
		store := newStore(t)
		r := newRigWith(t, store, DispatcherOptions{Replica: store.id, Log: zap.New(core)}, to("w", s))
		defer r.stop()
		for range 2 {
			for range 3 { // fails, is delivered, fails, …
				s.set(fails(503, webhook.Retry, 0))
				r.commit(push("team/app", "v1"))
				synctest.Wait()
				s.set(nil)
				time.Sleep(10 * time.Second)
			}
			time.Sleep(time.Minute)
		}
		warnings := logs.FilterMessage("delivery failed, and will be tried again").All()
		if len(warnings) != 2 || warnings[0].ContextMap()["webhook"] != "w" || warnings[0].ContextMap()["status"] != int64(503) {
			t.Errorf("logged %v for six failures in two minutes, want 2 warnings", warnings)
		}
	})
}

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

// TestOldDeliveriesExpire: a delivery that has waited for 7 days, or for twice the length of its
// schedule if that is longer, becomes a dead letter. A redelivery starts that time again.
func TestOldDeliveriesExpire(t *testing.T) {
	for name, p := range map[string]struct {
		retry []time.Duration
		life  time.Duration
	}{
		"7 days": {[]time.Duration{0, time.Hour, time.Hour}, 7 * 24 * time.Hour},
		"twice":  {[]time.Duration{0, 48 * time.Hour, 48 * time.Hour}, 8 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: fails(500, webhook.Retry, 0)}
				r := newRig(t, newStore(t), to("w", s, func(w *Webhook) { w.Concurrency, w.Retry = 1, p.retry }))
				defer r.stop()
				for i := range 100 {
					r.commit(push(fmt.Sprint("team/app", i), "v1"))
				}
				time.Sleep(p.life - 10*time.Minute)
				if d := r.delivery(100); d.State != store.Pending {
					t.Fatalf("%+v too early", d)
				}
				time.Sleep(20 * time.Minute)
				if d := r.delivery(100); d.State != store.Dead || d.Reason != ReasonExpired || d.Attempts != 0 {
					t.Errorf("%+v", d)
				}
				if n, err := r.dispatcher.Redeliver(t.Context(), store.DeliveryQuery{IDs: []int64{100}}); n != 1 || err != nil {
					t.Fatal(n, err)
				}
				time.Sleep(24 * time.Hour)
				if d := r.delivery(100); d.State != store.Pending {
					t.Fatalf("redelivered: %+v", d)
				}
				s.set(nil)
				time.Sleep(50 * time.Hour)
				if d := r.delivery(100); d.State != store.Delivered {
					t.Errorf("redelivered: %+v", d)
				}
			})
		})
	}
}

// TestScheduleSetsAttempts: there is one attempt for each entry of the schedule, after its wait,
// however long the attempts take.
func TestScheduleSetsAttempts(t *testing.T) {
	for name, p := range map[string]struct {
		retry []time.Duration
		takes time.Duration
	}{
		"hangs":      {[]time.Duration{0, 300 * time.Millisecond, 300 * time.Millisecond, 300 * time.Millisecond}, time.Second},
		"long steps": {[]time.Duration{0, 72 * time.Hour, 72 * time.Hour, 72 * time.Hour}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				core, logs := observer.New(zap.WarnLevel)
				s := &sink{answer: func(context.Context, webhook.Message) webhook.Result {
					time.Sleep(p.takes)
					return webhook.Result{Outcome: webhook.Retry, Reason: webhook.ReasonTimeout}
				}}
				m := newStore(t)
				r := newRigWith(t, m, DispatcherOptions{Replica: m.id, Log: zap.New(core)}, to("w", s, func(w *Webhook) { w.Retry = p.retry }))
				defer r.stop()
				r.commit(push("team/app", "v1"))
				time.Sleep(20 * 24 * time.Hour)
				posts := s.all()
				if len(posts) != len(p.retry) {
					t.Fatalf("%d attempts of %d", len(posts), len(p.retry))
				}
				for i, step := range p.retry[1:] {
					gap := posts[i+1].at.Sub(posts[i].at) - p.takes
					if gap < step-step/5 || gap > step+step/5 {
						t.Errorf("attempt %d came after %v, not %v", i+2, gap, step)
					}
				}
				if d := r.delivery(1); d.State != store.Dead || d.Reason != ReasonExhausted || d.Attempts != len(p.retry) {
					t.Errorf("%+v", d)
				}
				again := logs.FilterMessage("delivery failed, and will be tried again").All()
				dead := logs.FilterMessage("dead letter").All()
				if len(again) != 1 || len(dead) != 1 || dead[0].Time.Equal(again[0].Time) {
					t.Errorf("logged %v", logs.All())
				}
			})
		})
	}
}

// TestOverdueDeliveriesAreSent: deliveries that would wait longer than their schedule allows are
// sent, after the clock was set back or the schedule became shorter.
func TestOverdueDeliveriesAreSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		steps := func(step time.Duration) Webhook {
			return to("w", s, func(w *Webhook) { w.Retry = []time.Duration{0, step, step} })
		}
		r := newRig(t, newStore(t), steps(20*24*time.Hour))
		defer r.stop()
		r.commit(push("team/app", "v1"))
		time.Sleep(time.Hour)
		r.configure(steps(20 * time.Hour))
		time.Sleep(2 * time.Minute)
		if s.count() != 2 {
			t.Fatalf("%d posts", s.count())
		}
		time.Sleep(10 * time.Hour)
		if s.count() != 2 {
			t.Errorf("%d posts: a delivery that kept to its schedule was made due", s.count())
		}
	})
}

// TestRetryAfterHoldsAllDeliveries: until the Retry-After has passed, a receiver gets no delivery
// at all, even after a restart. Then it gets all of them.
func TestRetryAfterHoldsAllDeliveries(t *testing.T) {
	for _, concurrency := range []int{1, 8} {
		for _, status := range []int{429, 503} {
			t.Run(fmt.Sprint(concurrency, " ", status), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					const retryAfter = 10 * time.Minute
					s := &sink{answer: fails(status, webhook.Retry, retryAfter)}
					m := newStore(t)
					hook := to("w", s, func(w *Webhook) {
						w.Concurrency, w.Retry = concurrency, []time.Duration{0, time.Second, time.Second}
					})
					r := newRig(t, m, hook)
					for i := range 20 {
						r.commit(push(fmt.Sprint("team/app", i), "v1"))
					}
					time.Sleep(retryAfter / 2)
					r.stop()
					r = newRig(t, m, hook)
					defer r.stop()
					r.commit(push("team/late", "v1"))
					time.Sleep(30 * time.Hour)
					posts := s.all()
					for i := concurrency; i < len(posts); i++ {
						if gap := posts[i].at.Sub(posts[i-1].at); gap < retryAfter {
							t.Errorf("post %d came %v after the one before", i, gap)
						}
					}
					if len(posts) != 3*21 || strings.Trim(r.states(), "dea ") != "" {
						t.Errorf("%d posts, %s", len(posts), r.states())
					}
				})
			})
		}
	}
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
