package store_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func TestDueByTag(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		epoch := w.TakeLane(t, "hook")
		for i, tag := range []string{"a", "a", "b", "a", "c"} {
			w.Push(t, fmt.Sprint(i), "r", tag, "hook")
		}
		w.Push(t, "other", "r", "a", "elsewhere")
		got := w.DueNow(t, store.DueQuery{})
		storetest.WantIDs(t, got, "0 2 4")
		if d := got[0]; d.TagKey != "r:a" || d.RepoKey != "r" || d.State != store.Pending || d.Payload != nil || string(d.Event.Data) != "data of 0" || d.Event.Type != "PUSH" || d.EventSeq == 0 {
			t.Errorf("%+v %+v", d, d.Event)
		}
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{Limit: 2}), "0 2")
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{Busy: map[string]bool{"r:a": true}, Except: map[int64]bool{got[0].ID: true}}), "2 4")
		later := time.Now().Add(time.Hour)
		w.Record(t, store.Outcome{DeliveryID: got[0].ID, Webhook: "hook", Epoch: epoch, NextAt: later, Burnt: true, Reason: "timeout", Status: 504,
			Payload: &store.Payload{ContentType: "text/x", Header: map[string]string{"A": "b"}, Body: []byte("body")},
			Attempt: &store.Attempt{DeliveryID: got[0].ID, At: time.Now(), Status: 504, Reason: "timeout", Error: "late\x00", Response: []byte{0, 255}, Latency: time.Second, Replica: "me"}})
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{}), "1 2 4") // one that waits holds up nothing
		_, next, err := w.DueDeliveries(ctx, store.DueQuery{Webhook: "hook", Now: time.Now()})
		if err != nil || next.Sub(later).Abs() > time.Second {
			t.Errorf("next due %v, want %v (%v)", next, later, err)
		}
		if w.IsFile { // the only one whose clock a query sets
			past := w.DueNow(t, store.DueQuery{Now: later.Add(time.Minute)})
			storetest.WantIDs(t, past, "0 2 4")
			if p := past[0].Payload; p == nil || p.ContentType != "text/x" || p.Header["A"] != "b" || string(p.Body) != "body" || past[0].Attempts != 1 || past[0].Reason != "timeout" {
				t.Errorf("%+v", past[0])
			}
		}
		tries, err := w.Attempts(ctx, got[0].ID)
		if err != nil || len(tries) != 1 || tries[0].Status != 504 || tries[0].Latency != time.Second || string(tries[0].Response) != "\x00\xff" || tries[0].Error != "late\uFFFD" {
			t.Errorf("%+v %v", tries, err)
		}
	})
}

func TestDueByRepository(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		epoch := w.TakeLane(t, "hook")
		for i, repo := range []string{"a", "a", "b", "a", "c", "b"} {
			w.Push(t, fmt.Sprint(i), repo, fmt.Sprint(i), "hook")
		}
		q := store.DueQuery{Order: store.ByRepository}
		got := w.DueNow(t, q)
		storetest.WantIDs(t, got, "0 2 4")
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{Order: store.Unordered}), "0 1 2 3 4 5")
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{Order: store.Unordered, Except: map[int64]bool{got[0].ID: true}, Limit: 2}), "1 2")
		w.Record(t, store.Outcome{DeliveryID: got[0].ID, Webhook: "hook", Epoch: epoch, NextAt: time.Now().Add(time.Hour)})
		storetest.WantIDs(t, w.DueNow(t, q), "2 4") // the head of a waits, and all of a with it
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{Order: store.ByRepository, Busy: map[string]bool{"b": true}}), "4")
		w.Record(t, store.Outcome{DeliveryID: got[1].ID, Webhook: "hook", Epoch: epoch, State: store.Delivered}, store.Outcome{DeliveryID: got[0].ID, Webhook: "hook", Epoch: epoch, State: store.Dead, Reason: "status"})
		storetest.WantIDs(t, w.DueNow(t, q), "1 4 5")
	})
}

// TestDueFindsKeysBehindABacklog: one key has more deliveries than are looked at.
func TestDueFindsKeysBehindABacklog(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		w.Write(t, func(tx store.Tx) {
			for i := range 2*engine.DueWindow + 100 {
				tx.Append(store.Event{ID: fmt.Sprint("big", i)}, store.Delivery{Webhook: "hook", TagKey: "big:t", RepoKey: "big"})
			}
		})
		w.Push(t, "small", "small", "t", "hook")
		w.Write(t, func(tx store.Tx) {
			tx.Append(store.Event{ID: "unkeyed"}, store.Delivery{Webhook: "hook"}, store.Delivery{Webhook: "hook"})
		})
		for _, order := range []store.Order{store.ByTag, store.ByRepository} {
			storetest.WantIDs(t, w.DueNow(t, store.DueQuery{Order: order}), "big0 small unkeyed unkeyed")
			busy := map[string]bool{"big:t": true, "big": true}
			storetest.WantIDs(t, w.DueNow(t, store.DueQuery{Order: order, Busy: busy, Limit: 2}), "small unkeyed")
		}
	})
}

// TestDeliveryStates walks every edge of the drawing in the package's comment, each across a
// reopened store.
func TestDeliveryStates(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		w.Push(t, "e", "r", "t", "hook")
		var id int64
		is := func(state store.State, pending, dead, parked int64) {
			t.Helper()
			w = w.Reopen(t)
			ds, err := w.Deliveries(ctx, store.DeliveryQuery{EventID: "e"})
			if err != nil || len(ds) != 1 || ds[0].State != state {
				t.Fatalf("got %+v %v, want state %d", ds, err, state)
			}
			id = ds[0].ID
			if d := w.Depth(t, "hook"); d.Pending != pending || d.Dead != dead || d.Parked != parked || d.Oldest.IsZero() != (pending == 0) {
				t.Fatalf("depth %+v, want %d %d %d", d, pending, dead, parked)
			}
		}
		finish := func(o store.Outcome) {
			t.Helper()
			o.DeliveryID, o.Webhook, o.Epoch = id, "hook", w.TakeLane(t, "hook")
			w.Record(t, o)
		}
		redeliver := func(want int) {
			t.Helper()
			if n, err := w.Redeliver(ctx, store.DeliveryQuery{Webhook: "hook"}); n != want || err != nil {
				t.Fatal(n, err)
			}
		}
		is(store.Pending, 1, 0, 0)
		finish(store.Outcome{State: store.Pending, NextAt: time.Now().Add(time.Hour), Burnt: true, Payload: &store.Payload{Body: []byte("first")}})
		is(store.Pending, 1, 0, 0)
		finish(store.Outcome{State: store.Dead, Reason: "status", Burnt: true, Payload: &store.Payload{Body: []byte("second")}})
		is(store.Dead, 0, 1, 0)
		finish(store.Outcome{State: store.Delivered}) // too late: it stays dead
		is(store.Dead, 0, 1, 0)
		redeliver(1)
		is(store.Pending, 1, 0, 0)
		if d := w.DueNow(t, store.DueQuery{})[0]; d.Attempts != 0 || string(d.Payload.Body) != "first" {
			t.Fatalf("%+v", d)
		}
		finish(store.Outcome{State: store.Delivered, Status: 200})
		is(store.Delivered, 0, 0, 0)
		redeliver(1)
		is(store.Pending, 1, 0, 0)
		finish(store.Outcome{State: store.Pending, NextAt: time.Now().Add(time.Hour), Burnt: true})
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{}), "")
		redeliver(1) // it waits no longer
		is(store.Pending, 1, 0, 0)
		if d := w.DueNow(t, store.DueQuery{})[0]; d.Attempts != 0 || !d.PendingSince.After(d.CreatedAt) {
			t.Fatalf("%+v", d)
		}
		for _, retry := range []bool{false, true} {
			if retry {
				finish(store.Outcome{State: store.Pending, NextAt: time.Now()})
			}
			if err := w.Park(ctx, "hook"); err != nil {
				t.Fatal(err)
			}
			is(store.Parked, 0, 0, 1)
			redeliver(0)
			storetest.WantIDs(t, w.DueNow(t, store.DueQuery{}), "")
			if err := w.Unpark(ctx, "hook"); err != nil {
				t.Fatal(err)
			}
			is(store.Pending, 1, 0, 0)
			storetest.WantIDs(t, w.DueNow(t, store.DueQuery{}), "e")
		}
		w.Park(ctx, "hook")
		finish(store.Outcome{State: store.Pending, NextAt: time.Now()})
		is(store.Parked, 0, 0, 1)
		if _, err := w.Purge(ctx, store.Retention{Dead: time.Hour}, nil, time.Now().Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		is(store.Dead, 0, 1, 0)
		redeliver(1)
		w.Park(ctx, "hook")
		finish(store.Outcome{State: store.Delivered})
		is(store.Delivered, 0, 0, 0)
		for _, parked := range []bool{false, true} {
			redeliver(1)
			if parked {
				w.Park(ctx, "hook")
			}
			if err := w.Bury(ctx, "hook"); err != nil {
				t.Fatal(err)
			}
			is(store.Dead, 0, 1, 0)
			finish(store.Outcome{State: store.Pending, NextAt: time.Now()}) // a POST that was under way
			is(store.Dead, 0, 1, 0)
		}
	})
}

// TestMakeDue: what waits is due at once, oldest first, as far as it waits for longer than was
// said; attempts and age stay.
func TestMakeDue(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		epoch := w.TakeLane(t, "hook")
		for i := range 5 {
			w.Push(t, fmt.Sprint(i), "r", fmt.Sprint(i), "hook", "elsewhere")
		}
		ids := map[string]int64{}
		for i, d := range w.DueNow(t, store.DueQuery{}) {
			ids[d.EventID] = d.ID
			if d.EventID != "4" { // the older, the longer it waits
				w.Record(t, store.Outcome{DeliveryID: d.ID, Webhook: "hook", Epoch: epoch, NextAt: time.Now().Add(time.Duration(5-i) * time.Hour), Burnt: true})
			}
		}
		made := func(want int, beyond time.Duration, except ...int64) {
			t.Helper()
			if n, err := w.MakeDue(ctx, "hook", beyond, except); n != want || err != nil {
				t.Fatal(n, err)
			}
		}
		made(0, 6*time.Hour)
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{}), "4")
		made(1, 270*time.Minute)
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{}), "0 4")
		made(2, 0, ids["2"], ids["0"])
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{}), "0 1 3 4")
		made(1, 0)
		due := w.DueNow(t, store.DueQuery{})
		storetest.WantIDs(t, due, "0 1 2 3 4")
		if d := due[2]; d.Attempts != 1 || !d.PendingSince.Equal(d.CreatedAt) {
			t.Errorf("%+v", d)
		}
		if d := w.Depth(t, "hook"); d.Pending != 5 {
			t.Errorf("%+v", d)
		}
	})
}

func TestFinishOfALostLane(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		w.Push(t, "1", "r", "a", "hook", "kept")
		old, kept := w.TakeLane(t, "hook"), w.TakeLane(t, "kept")
		if err := w.SetLane(ctx, "hook", old, []byte("open")); err != nil {
			t.Fatal(err)
		}
		if err := w.Release(ctx, []string{"hook"}); err != nil {
			t.Fatal(err)
		}
		outcomes := []store.Outcome{
			{DeliveryID: w.DueNow(t, store.DueQuery{})[0].ID, Webhook: "hook", Epoch: old, State: store.Delivered},
			{DeliveryID: w.DueNow(t, store.DueQuery{Webhook: "kept"})[0].ID, Webhook: "kept", Epoch: kept, State: store.Delivered},
		}
		if err := w.Finish(ctx, outcomes); !errors.Is(err, store.ErrFenced) {
			t.Error(err)
		}
		if w.Depth(t, "hook").Pending != 1 || w.Depth(t, "kept").Pending != 0 {
			t.Error(w.Depths(ctx))
		}
		fresh := w.TakeLane(t, "hook")
		if fresh <= old {
			t.Errorf("epoch %d after %d", fresh, old)
		}
		if err := w.SetLane(ctx, "hook", old, nil); !errors.Is(err, store.ErrFenced) {
			t.Error(err)
		}
		if states, err := w.LaneStates(ctx); err != nil || string(states["hook"]) != "open" {
			t.Error(states, err)
		}
	})
}

func TestWakeAndEventAppended(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		news := w.EventAppended()
		w.Push(t, "1", "r", "a", "x", "y")
		w.Push(t, "2", "r", "a", "x", "y")
		got := map[string]bool{}
		for !got["x"] || !got["y"] {
			select {
			case wake := <-w.Wake():
				got[wake.Webhook] = true
			case <-time.After(storetest.Patience):
				t.Fatal("no wake", got)
			}
		}
		select {
		case <-news:
		case <-time.After(storetest.Patience):
			t.Fatal("no news")
		}
	})
}

func TestNewerDelivered(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		epoch := w.TakeLane(t, "hook")
		w.Push(t, "1", "r", "a", "hook")
		w.Push(t, "2", "r", "b", "hook")
		w.Push(t, "3", "r", "a", "hook", "other")
		old := w.DueNow(t, store.DueQuery{})[0]
		newer := func(want bool) {
			t.Helper()
			if got, err := w.NewerDelivered(ctx, old); got != want || err != nil {
				t.Fatal(got, err)
			}
		}
		newer(false)
		ds, _ := w.Deliveries(ctx, store.DeliveryQuery{Webhook: "hook"})
		w.Record(t, store.Outcome{DeliveryID: ds[1].ID, Webhook: "hook", Epoch: epoch, State: store.Delivered})
		newer(false) // another tag
		w.Record(t, store.Outcome{DeliveryID: ds[0].ID, Webhook: "hook", Epoch: epoch, State: store.Delivered})
		newer(true)
	})
}

func TestDeliveries(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		epoch := w.TakeLane(t, "hook")
		for i := range 5 {
			w.Push(t, fmt.Sprint(i), "r", fmt.Sprint(i), "hook", "other")
		}
		due := w.DueNow(t, store.DueQuery{})
		w.Record(t, store.Outcome{DeliveryID: due[0].ID, Webhook: "hook", Epoch: epoch, State: store.Delivered, Payload: &store.Payload{Body: []byte("b")}},
			store.Outcome{DeliveryID: due[2].ID, Webhook: "hook", Epoch: epoch, State: store.Dead, Reason: "x"})
		for _, q := range []struct {
			store.DeliveryQuery
			want string
		}{
			{store.DeliveryQuery{Webhook: "hook"}, "4 3 2 1 0"},
			{store.DeliveryQuery{}, "4 4 3 3 2 2 1 1 0 0"},
			{store.DeliveryQuery{Limit: 3}, "4 4 3"},
			{store.DeliveryQuery{States: []store.State{store.Dead, store.Delivered}}, "2 0"},
			{store.DeliveryQuery{Webhook: "hook", States: []store.State{store.Pending}, Limit: 2}, "4 3"},
			{store.DeliveryQuery{Webhook: "other", States: []store.State{store.Dead}}, ""},
			{store.DeliveryQuery{EventID: "3"}, "3 3"},
			{store.DeliveryQuery{IDs: []int64{due[0].ID, due[1].ID}}, "1 0"},
			{store.DeliveryQuery{IDs: []int64{due[0].ID, due[1].ID}, States: []store.State{store.Pending}}, "1"},
			{store.DeliveryQuery{Webhook: "hook", BeforeID: due[1].ID}, "0"},
			{store.DeliveryQuery{Webhook: "hook", Since: time.Now().Add(time.Hour)}, ""},
			{store.DeliveryQuery{Webhook: "hook", Since: due[3].CreatedAt}, "4 3"},
			{store.DeliveryQuery{Webhook: "hook", Until: due[1].CreatedAt}, "0"},
		} {
			got, err := w.Deliveries(ctx, q.DeliveryQuery)
			if err != nil || storetest.EventIDs(got) != q.want {
				t.Errorf("%+v: got %q, want %q (%v)", q.DeliveryQuery, storetest.EventIDs(got), q.want, err)
			}
		}
		if ds, err := w.Deliveries(ctx, store.DeliveryQuery{IDs: []int64{due[0].ID}}); err != nil || string(ds[0].Payload.Body) != "b" || ds[0].FinishedAt.IsZero() {
			t.Errorf("%+v %v", ds, err)
		}
		if n, err := w.Redeliver(ctx, store.DeliveryQuery{IDs: []int64{due[0].ID, due[1].ID}}); n != 2 || err != nil {
			t.Error(n, err)
		}
	})
}
