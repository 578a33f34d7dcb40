package store

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

func TestDueByTag(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		epoch := w.lease(t, "hook")
		for i, tag := range []string{"a", "a", "b", "a", "c"} {
			w.push(t, fmt.Sprint(i), "r", tag, "hook")
		}
		w.push(t, "other", "r", "a", "elsewhere")
		got := w.due(t, DueQuery{})
		wantIDs(t, got, "0 2 4")
		if d := got[0]; d.TagKey != "r:a" || d.RepoKey != "r" || d.State != Pending || d.Payload != nil || string(d.Event.Data) != "data of 0" || d.Event.Type != "PUSH" || d.EventSeq == 0 {
			t.Errorf("%+v %+v", d, d.Event)
		}
		wantIDs(t, w.due(t, DueQuery{Limit: 2}), "0 2")
		wantIDs(t, w.due(t, DueQuery{Busy: map[string]bool{"r:a": true}, Except: map[int64]bool{got[0].ID: true}}), "2 4")
		later := time.Now().Add(time.Hour)
		w.finish(t, Outcome{DeliveryID: got[0].ID, Webhook: "hook", Epoch: epoch, NextAt: later, Burnt: true, Reason: "timeout", Status: 504,
			Payload: &Payload{ContentType: "text/x", Header: map[string]string{"A": "b"}, Body: []byte("body")},
			Attempt: &Attempt{DeliveryID: got[0].ID, At: time.Now(), Status: 504, Reason: "timeout", Error: "late\x00", Response: []byte{0, 255}, Latency: time.Second, Replica: "me"}})
		wantIDs(t, w.due(t, DueQuery{}), "1 2 4") // one that waits holds up nothing
		_, next, err := w.DueDeliveries(ctx, DueQuery{Webhook: "hook", Now: time.Now()})
		if err != nil || next.Sub(later).Abs() > time.Second {
			t.Errorf("next due %v, want %v (%v)", next, later, err)
		}
		if w.isFile { // the only one whose clock a query sets
			past := w.due(t, DueQuery{Now: later.Add(time.Minute)})
			wantIDs(t, past, "0 2 4")
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
	conform(t, func(t *testing.T, w *world) {
		epoch := w.lease(t, "hook")
		for i, repo := range []string{"a", "a", "b", "a", "c", "b"} {
			w.push(t, fmt.Sprint(i), repo, fmt.Sprint(i), "hook")
		}
		q := DueQuery{Order: ByRepository}
		got := w.due(t, q)
		wantIDs(t, got, "0 2 4")
		wantIDs(t, w.due(t, DueQuery{Order: Unordered}), "0 1 2 3 4 5")
		wantIDs(t, w.due(t, DueQuery{Order: Unordered, Except: map[int64]bool{got[0].ID: true}, Limit: 2}), "1 2")
		w.finish(t, Outcome{DeliveryID: got[0].ID, Webhook: "hook", Epoch: epoch, NextAt: time.Now().Add(time.Hour)})
		wantIDs(t, w.due(t, q), "2 4") // the head of a waits, and all of a with it
		wantIDs(t, w.due(t, DueQuery{Order: ByRepository, Busy: map[string]bool{"b": true}}), "4")
		w.finish(t, Outcome{DeliveryID: got[1].ID, Webhook: "hook", Epoch: epoch, State: Delivered}, Outcome{DeliveryID: got[0].ID, Webhook: "hook", Epoch: epoch, State: Dead, Reason: "status"})
		wantIDs(t, w.due(t, q), "1 4 5")
	})
}

// TestDueFindsKeysBehindABacklog: one key has more deliveries than are looked at.
func TestDueFindsKeysBehindABacklog(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		w.update(t, func(tx Tx) {
			for i := range 2*dueWindow + 100 {
				tx.Append(Event{ID: fmt.Sprint("big", i)}, Delivery{Webhook: "hook", TagKey: "big:t", RepoKey: "big"})
			}
		})
		w.push(t, "small", "small", "t", "hook")
		w.update(t, func(tx Tx) { tx.Append(Event{ID: "unkeyed"}, Delivery{Webhook: "hook"}, Delivery{Webhook: "hook"}) })
		for _, order := range []Order{ByTag, ByRepository} {
			wantIDs(t, w.due(t, DueQuery{Order: order}), "big0 small unkeyed unkeyed")
			busy := map[string]bool{"big:t": true, "big": true}
			wantIDs(t, w.due(t, DueQuery{Order: order, Busy: busy, Limit: 2}), "small unkeyed")
		}
	})
}

// TestDeliveryStates walks every edge of the drawing in the package's comment, each across a reopened store.
func TestDeliveryStates(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		w.push(t, "e", "r", "t", "hook")
		var id int64
		is := func(state State, pending, dead, parked int64) {
			t.Helper()
			w = w.reopen(t)
			ds, err := w.Deliveries(ctx, DeliveryQuery{EventID: "e"})
			if err != nil || len(ds) != 1 || ds[0].State != state {
				t.Fatalf("got %+v %v, want state %d", ds, err, state)
			}
			id = ds[0].ID
			if d := w.depth(t, "hook"); d.Pending != pending || d.Dead != dead || d.Parked != parked || d.Oldest.IsZero() != (pending == 0) {
				t.Fatalf("depth %+v, want %d %d %d", d, pending, dead, parked)
			}
		}
		finish := func(o Outcome) {
			t.Helper()
			o.DeliveryID, o.Webhook, o.Epoch = id, "hook", w.lease(t, "hook")
			w.finish(t, o)
		}
		redeliver := func(want int) {
			t.Helper()
			if n, err := w.Redeliver(ctx, DeliveryQuery{Webhook: "hook"}); n != want || err != nil {
				t.Fatal(n, err)
			}
		}
		is(Pending, 1, 0, 0)
		finish(Outcome{State: Pending, NextAt: time.Now().Add(time.Hour), Burnt: true, Payload: &Payload{Body: []byte("first")}})
		is(Pending, 1, 0, 0)
		finish(Outcome{State: Dead, Reason: "status", Burnt: true, Payload: &Payload{Body: []byte("second")}})
		is(Dead, 0, 1, 0)
		finish(Outcome{State: Delivered}) // too late: it stays dead
		is(Dead, 0, 1, 0)
		redeliver(1)
		is(Pending, 1, 0, 0)
		if d := w.due(t, DueQuery{})[0]; d.Attempts != 0 || string(d.Payload.Body) != "first" {
			t.Fatalf("%+v", d)
		}
		finish(Outcome{State: Delivered, Status: 200})
		is(Delivered, 0, 0, 0)
		redeliver(1)
		is(Pending, 1, 0, 0)
		finish(Outcome{State: Pending, NextAt: time.Now().Add(time.Hour), Burnt: true})
		wantIDs(t, w.due(t, DueQuery{}), "")
		redeliver(1) // it waits no longer
		is(Pending, 1, 0, 0)
		if d := w.due(t, DueQuery{})[0]; d.Attempts != 0 || !d.PendingSince.After(d.CreatedAt) {
			t.Fatalf("%+v", d)
		}
		for _, retry := range []bool{false, true} {
			if retry {
				finish(Outcome{State: Pending, NextAt: time.Now()})
			}
			if err := w.Park(ctx, "hook"); err != nil {
				t.Fatal(err)
			}
			is(Parked, 0, 0, 1)
			redeliver(0)
			wantIDs(t, w.due(t, DueQuery{}), "")
			if err := w.Unpark(ctx, "hook"); err != nil {
				t.Fatal(err)
			}
			is(Pending, 1, 0, 0)
			wantIDs(t, w.due(t, DueQuery{}), "e")
		}
		w.Park(ctx, "hook")
		finish(Outcome{State: Pending, NextAt: time.Now()})
		is(Parked, 0, 0, 1)
		if _, err := w.Purge(ctx, Retention{Dead: time.Hour}, nil, time.Now().Add(2*time.Hour)); err != nil {
			t.Fatal(err)
		}
		is(Dead, 0, 1, 0)
		redeliver(1)
		w.Park(ctx, "hook")
		finish(Outcome{State: Delivered})
		is(Delivered, 0, 0, 0)
	})
}

// TestMakeDue: what waits is due at once, oldest first, as far as it waits for longer than was said; attempts and age stay.
func TestMakeDue(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		epoch := w.lease(t, "hook")
		for i := range 5 {
			w.push(t, fmt.Sprint(i), "r", fmt.Sprint(i), "hook", "elsewhere")
		}
		ids := map[string]int64{}
		for i, d := range w.due(t, DueQuery{}) {
			ids[d.EventID] = d.ID
			if d.EventID != "4" { // the older, the longer it waits
				w.finish(t, Outcome{DeliveryID: d.ID, Webhook: "hook", Epoch: epoch, NextAt: time.Now().Add(time.Duration(5-i) * time.Hour), Burnt: true})
			}
		}
		made := func(want int, beyond time.Duration, except ...int64) {
			t.Helper()
			if n, err := w.MakeDue(ctx, "hook", beyond, except); n != want || err != nil {
				t.Fatal(n, err)
			}
		}
		made(0, 6*time.Hour)
		wantIDs(t, w.due(t, DueQuery{}), "4")
		made(1, 270*time.Minute)
		wantIDs(t, w.due(t, DueQuery{}), "0 4")
		made(2, 0, ids["2"], ids["0"])
		wantIDs(t, w.due(t, DueQuery{}), "0 1 3 4")
		made(1, 0)
		due := w.due(t, DueQuery{})
		wantIDs(t, due, "0 1 2 3 4")
		if d := due[2]; d.Attempts != 1 || !d.PendingSince.Equal(d.CreatedAt) {
			t.Errorf("%+v", d)
		}
		if d := w.depth(t, "hook"); d.Pending != 5 {
			t.Errorf("%+v", d)
		}
	})
}

func TestFinishOfALostLane(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		w.push(t, "1", "r", "a", "hook", "kept")
		old, kept := w.lease(t, "hook"), w.lease(t, "kept")
		if err := w.SetLane(ctx, "hook", old, []byte("open")); err != nil {
			t.Fatal(err)
		}
		if err := w.Release(ctx, []string{"hook"}); err != nil {
			t.Fatal(err)
		}
		outcomes := []Outcome{
			{DeliveryID: w.due(t, DueQuery{})[0].ID, Webhook: "hook", Epoch: old, State: Delivered},
			{DeliveryID: w.due(t, DueQuery{Webhook: "kept"})[0].ID, Webhook: "kept", Epoch: kept, State: Delivered},
		}
		if err := w.Finish(ctx, outcomes); !errors.Is(err, ErrFenced) {
			t.Error(err)
		}
		if w.depth(t, "hook").Pending != 1 || w.depth(t, "kept").Pending != 0 {
			t.Error(w.Depths(ctx))
		}
		fresh := w.lease(t, "hook")
		if fresh <= old {
			t.Errorf("epoch %d after %d", fresh, old)
		}
		if err := w.SetLane(ctx, "hook", old, nil); !errors.Is(err, ErrFenced) {
			t.Error(err)
		}
		if states, err := w.LaneStates(ctx); err != nil || string(states["hook"]) != "open" {
			t.Error(states, err)
		}
	})
}

func TestWakeAndEventAppended(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		news := w.EventAppended()
		w.push(t, "1", "r", "a", "x", "y")
		w.push(t, "2", "r", "a", "x", "y")
		got := map[string]bool{}
		for !got["x"] || !got["y"] {
			select {
			case wake := <-w.Wake():
				got[wake.Webhook] = true
			case <-time.After(patience):
				t.Fatal("no wake", got)
			}
		}
		select {
		case <-news:
		case <-time.After(patience):
			t.Fatal("no news")
		}
	})
}

func TestNewerDelivered(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		epoch := w.lease(t, "hook")
		w.push(t, "1", "r", "a", "hook")
		w.push(t, "2", "r", "b", "hook")
		w.push(t, "3", "r", "a", "hook", "other")
		old := w.due(t, DueQuery{})[0]
		newer := func(want bool) {
			t.Helper()
			if got, err := w.NewerDelivered(ctx, old); got != want || err != nil {
				t.Fatal(got, err)
			}
		}
		newer(false)
		ds, _ := w.Deliveries(ctx, DeliveryQuery{Webhook: "hook"})
		w.finish(t, Outcome{DeliveryID: ds[1].ID, Webhook: "hook", Epoch: epoch, State: Delivered})
		newer(false) // another tag
		w.finish(t, Outcome{DeliveryID: ds[0].ID, Webhook: "hook", Epoch: epoch, State: Delivered})
		newer(true)
	})
}

func TestDeliveries(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		epoch := w.lease(t, "hook")
		for i := range 5 {
			w.push(t, fmt.Sprint(i), "r", fmt.Sprint(i), "hook", "other")
		}
		due := w.due(t, DueQuery{})
		w.finish(t, Outcome{DeliveryID: due[0].ID, Webhook: "hook", Epoch: epoch, State: Delivered, Payload: &Payload{Body: []byte("b")}},
			Outcome{DeliveryID: due[2].ID, Webhook: "hook", Epoch: epoch, State: Dead, Reason: "x"})
		for _, q := range []struct {
			DeliveryQuery
			want string
		}{
			{DeliveryQuery{Webhook: "hook"}, "4 3 2 1 0"},
			{DeliveryQuery{}, "4 4 3 3 2 2 1 1 0 0"},
			{DeliveryQuery{Limit: 3}, "4 4 3"},
			{DeliveryQuery{States: []State{Dead, Delivered}}, "2 0"},
			{DeliveryQuery{Webhook: "hook", States: []State{Pending}, Limit: 2}, "4 3"},
			{DeliveryQuery{Webhook: "other", States: []State{Dead}}, ""},
			{DeliveryQuery{EventID: "3"}, "3 3"},
			{DeliveryQuery{IDs: []int64{due[0].ID, due[1].ID}}, "1 0"},
			{DeliveryQuery{IDs: []int64{due[0].ID, due[1].ID}, States: []State{Pending}}, "1"},
			{DeliveryQuery{Webhook: "hook", BeforeID: due[1].ID}, "0"},
			{DeliveryQuery{Webhook: "hook", Since: time.Now().Add(time.Hour)}, ""},
			{DeliveryQuery{Webhook: "hook", Since: due[3].CreatedAt}, "4 3"},
			{DeliveryQuery{Webhook: "hook", Until: due[1].CreatedAt}, "0"},
		} {
			got, err := w.Deliveries(ctx, q.DeliveryQuery)
			if err != nil || eventIDs(got) != q.want {
				t.Errorf("%+v: got %q, want %q (%v)", q.DeliveryQuery, eventIDs(got), q.want, err)
			}
		}
		if ds, err := w.Deliveries(ctx, DeliveryQuery{IDs: []int64{due[0].ID}}); err != nil || string(ds[0].Payload.Body) != "b" || ds[0].FinishedAt.IsZero() {
			t.Errorf("%+v %v", ds, err)
		}
		if n, err := w.Redeliver(ctx, DeliveryQuery{IDs: []int64{due[0].ID, due[1].ID}}); n != 2 || err != nil {
			t.Error(n, err)
		}
	})
}
