package notify

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func shared(name string) DispatcherOptions { return DispatcherOptions{Replica: name, Shared: true} }

func TestReplicasShareLanes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hooks []Webhook
		for i := range 90 {
			hooks = append(hooks, to(fmt.Sprint("w", i), &sink{}))
		}
		m := newMemory(t)
		a, b, c := m.replica("a"), m.replica("b"), m.replica("c")
		ra := newRigWith(t, a, shared("a"), hooks...)
		if n := ra.dispatcher.ownedLanes(); n != 90 {
			t.Fatalf("a lone replica has %d lanes at once", n)
		}
		rb := newRigWith(t, b, shared("b"), hooks...)
		rc := newRigWith(t, c, shared("c"), hooks...)
		time.Sleep(time.Minute)
		for _, r := range []*rig{ra, rb, rc} {
			if n := r.dispatcher.ownedLanes(); n < 27 || n > 33 {
				t.Errorf("%s has %d of 90", r.store.id, n)
			}
		}
		rb.stop() // releases its lanes
		m.mu.Lock()
		c.down = true // killed
		m.mu.Unlock()
		time.Sleep(15 * time.Second)
		if n := ra.dispatcher.ownedLanes(); n != 90 {
			t.Errorf("15 s later a has %d of 90", n)
		}
		rc.stop()
		ra.stop()
	})
}

// TestFencing moves a lane while its POST hangs: the old owner's outcome is fenced off, and the new
// owner delivers.
func TestFencing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		slow := &sink{answer: func(context.Context, webhook.Message) webhook.Result {
			time.Sleep(time.Minute)
			return fails(422, webhook.Permanent, 0)(nil, webhook.Message{})
		}}
		quick := &sink{}
		first := newRigWith(t, m.replica("first"), shared("first"), to("w", slow))
		first.commit(push("a/b", "1"))
		time.Sleep(time.Second)
		m.mu.Lock()
		m.lanes["w"].owner, m.lanes["w"].epoch = nil, m.lanes["w"].epoch+1 // the lease of first has ended
		m.mu.Unlock()
		second := newRigWith(t, m.replica("second"), shared("second"), to("w", quick))
		time.Sleep(2 * time.Minute)
		if first.states() != "delivered" || quick.count() != 1 {
			t.Errorf("%s, %d posts by the new owner", first.states(), quick.count())
		}
		if first.dispatcher.ownedLanes()+second.dispatcher.ownedLanes() != 1 {
			t.Errorf("owned %d times", first.dispatcher.ownedLanes()+second.dispatcher.ownedLanes())
		}
		first.stop()
		second.stop()
	})
}

// TestSwitchReachesOwner: a webhook that is disabled at one replica is disabled at the lane's
// owner.
func TestSwitchReachesOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		s := &sink{}
		owner := newRigWith(t, m.replica("owner"), shared("owner"), to("w", s))
		other := newRigWith(t, m.replica("other"), shared("other"), to("w", s))
		if err := other.dispatcher.Disable(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		other.commit(push("a/b", "1"))
		time.Sleep(time.Minute)
		if s.count() != 0 {
			t.Fatalf("%d posts", s.count())
		}
		if err := other.dispatcher.Enable(t.Context(), "w"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if s.count() != 1 {
			t.Errorf("%d posts after enable", s.count())
		}
		owner.stop()
		other.stop()
	})
}

// TestParkingNeedsTheLane: a replica without a webhook does not park its deliveries while another
// replica has the webhook.
func TestParkingNeedsTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(t)
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		newer := newRigWith(t, m.replica("newer"), shared("newer"), to("w", s))
		older := newRigWith(t, m.replica("older"), shared("older"))
		newer.commit(push("a/b", "1"))
		time.Sleep(3 * time.Minute)
		if newer.states() != "pending" {
			t.Errorf("%s while a replica has the webhook", newer.states())
		}
		newer.stop()
		time.Sleep(2 * time.Minute)
		if newer.states() != "parked" {
			t.Errorf("%s when no replica has it", newer.states())
		}
		older.stop()
	})
}

// TestCircuitSurvives: the circuit stays open over a restart and a change of the owner.
func TestCircuitSurvives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newStore(t)
		s := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRig(t, m, to("w", s))
		for i := range 50 {
			r.commit(push(fmt.Sprint("a/", i), "1"))
		}
		time.Sleep(time.Hour)
		r.stop()
		before := s.count()
		r = newRig(t, m, to("w", s))
		time.Sleep(time.Minute)
		if n := s.count() - before; n > 1 {
			t.Errorf("%d posts within a minute of the restart", n)
		}
		s.set(nil)
		time.Sleep(10 * time.Minute)
		if strings.Contains(r.states(), "pending") {
			t.Error(r.states())
		}
		r.stop()
		r = newRig(t, m, to("w", s))
		defer r.stop()
		if states, err := r.dispatcher.States(t.Context()); err != nil || states[0].Open {
			t.Errorf("%+v, %v", states, err)
		}
	})
}

// TestOnSQLite uses the real store: restart, 410, removal, redelivery.
func TestOnSQLite(t *testing.T) {
	dir := t.TempDir()
	open := func(hooks ...Webhook) (*Outbox, *Dispatcher, func()) {
		s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		out := NewOutbox(s, OutboxOptions{})
		d := NewDispatcher(s, out, DispatcherOptions{Grace: time.Second})
		set := compiled(t, hooks...)
		out.Configure(set)
		d.Configure(set)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- d.Run(ctx) }()
		return out, d, func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
	}
	states := func(d *Dispatcher, want func(WebhookState) bool) {
		t.Helper()
		var got []WebhookState
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
			var err error
			if got, err = d.States(t.Context()); err != nil {
				t.Fatal(err)
			}
			if want(got[0]) {
				return
			}
			<-time.After(5 * time.Millisecond)
		}
		t.Fatalf("states %+v", got)
	}
	s := &sink{answer: fails(410, webhook.Gone, 0)}
	out, d, stop := open(to("w", s))
	if err := out.Commit(t.Context(), "x", commits(push("a/b", "1", "2"))); err != nil {
		t.Fatal(err)
	}
	states(d, func(s WebhookState) bool { return s.Off == SwitchedByGone && s.Pending == 2 })
	stop()
	s.set(nil)
	other := hookNamed("other")
	_, d, stop = open(other)
	states(d, func(WebhookState) bool {
		parked, err := d.Deliveries(t.Context(), store.DeliveryQuery{States: []store.State{store.Parked}})
		return err == nil && len(parked) == 2
	})
	stop()
	_, d, stop = open(to("w", s))
	defer stop()
	states(d, func(s WebhookState) bool { return s.Off == SwitchedByGone && s.Parked == 0 && s.Pending == 2 })
	if err := d.Enable(t.Context(), "w"); err != nil {
		t.Fatal(err)
	}
	states(d, func(s WebhookState) bool { return s.Off == "" && s.Pending == 0 })
	if n, err := d.Redeliver(t.Context(), store.DeliveryQuery{Webhook: "w"}); n != 2 || err != nil {
		t.Fatal(n, err)
	}
	states(d, func(state WebhookState) bool { return state.Pending == 0 && s.count() >= 5 })
	events, err := d.Events(t.Context(), store.EventQuery{})
	if err != nil || len(events) != 1 || events[0].Seq == 0 || len(events[0].Tags) != 2 {
		t.Errorf("%+v, %v", events, err)
	}
}
