package notify

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/webhook"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

func TestReloadKeepsAttemptsInFlight(t *testing.T) {
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
			t.Errorf("%s, %d posts with the new settings", r.states(), after.count())
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
					r.configure(withHook(hook, func(w *Webhook) { w.Enabled = false }))
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
		r = newRig(t, m, to("w", &sink{}), to("stuck", &sink{})) // the lanes were released: the next start need not wait for the leases to end
		defer r.stop()
		if r.states() != "delivered delivered delivered delivered" {
			t.Error(r.states())
		}
	})
}

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
			t.Errorf("%d more posts while outcomes cannot be stored", n)
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

// TestInvalidOutcome: a delivery whose outcome cannot be stored becomes a dead letter. The lane's
// other outcomes are stored.
func TestInvalidOutcome(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		m := newStore(t)
		m.invalidEnd = func(o store.Outcome) bool { return o.DeliveryID == 7 && o.Payload != nil }
		r := newRig(t, m, to("w", s))
		defer r.stop()
		for i := range 20 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
		}
		time.Sleep(time.Minute)
		if s.count() != 20 || strings.Count(r.states(), "delivered") != 19 || r.delivery(7).State != store.Dead {
			t.Errorf("%d posts, %s", s.count(), r.states())
		}
	})
}
