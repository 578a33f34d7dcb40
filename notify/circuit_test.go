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

// TestFirstFailureIsLogged: a receiver that fails seldom is known of long before its circuit opens, and fills no log.
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
		told := logs.FilterMessage("delivery failed, and will be tried again").All()
		if len(told) != 2 || told[0].ContextMap()["webhook"] != "w" || told[0].ContextMap()["status"] != int64(503) {
			t.Errorf("told %v of six failures in two minutes", told)
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
