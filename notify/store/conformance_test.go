package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// world is what a conformance test runs on.
type world struct {
	Store
	core   *core
	sqlite *sqliteStore              // nil on PostgreSQL
	pg     *postgresStore            // nil on SQLite
	url    string                    // its
	reopen func(t *testing.T) *world // as after a stop; closes this one
}

// engines are how the suite gets a fresh store.
var engines = map[string]func(t *testing.T) *world{
	"sqlite":   func(t *testing.T) *world { return sqliteWorld(t, t.TempDir()) },
	"postgres": func(t *testing.T) *world { return postgresWorld(t, database(t), "one") },
}

func sqliteWorld(t *testing.T, dir string) *world {
	t.Helper()
	s, err := openSQLite(context.Background(), SQLiteOptions{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	w := &world{Store: s, core: &s.core, sqlite: s}
	w.reopen = func(t *testing.T) *world {
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		return sqliteWorld(t, dir)
	}
	return w
}

// conform runs test on both engines.
func conform(t *testing.T, test func(t *testing.T, w *world)) {
	for name, open := range engines {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
}

var ctx = context.Background()

func (w *world) update(t testing.TB, fn func(Tx)) {
	t.Helper()
	if err := w.Update(ctx, nil, func(tx Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// push appends an event with one delivery to each webhook.
func (w *world) push(t *testing.T, id, repo, tag string, webhooks ...string) {
	t.Helper()
	w.update(t, func(tx Tx) {
		var ds []Delivery
		for _, h := range webhooks {
			ds = append(ds, Delivery{Webhook: h, TagKey: repo + ":" + tag, RepoKey: repo})
		}
		tx.Append(Event{ID: id, Type: "PUSH", At: time.Now(), Upstream: "up", Repository: repo, Data: []byte("data of " + id)}, ds...)
	})
}

func (w *world) lease(t *testing.T, webhook string) int64 {
	t.Helper()
	lanes, err := w.Lease(ctx, []string{webhook}, 15*time.Second, 0)
	if err != nil || len(lanes) != 1 {
		t.Fatal(lanes, err)
	}
	return lanes[0].Epoch
}

func (w *world) due(t *testing.T, q DueQuery) []Delivery {
	t.Helper()
	if q.Now.IsZero() {
		q.Now = time.Now()
	}
	if q.Webhook == "" {
		q.Webhook = "hook"
	}
	ds, _, err := w.DueDeliveries(ctx, q)
	if err != nil {
		t.Fatal(err)
	}
	return ds
}

func eventIDs(ds []Delivery) string {
	var ids []string
	for _, d := range ds {
		ids = append(ids, d.EventID)
	}
	return strings.Join(ids, " ")
}

func (w *world) finish(t *testing.T, o ...Outcome) {
	t.Helper()
	if err := w.Finish(ctx, o); err != nil {
		t.Fatal(err)
	}
}

func wantIDs(t *testing.T, got []Delivery, want string) {
	t.Helper()
	if eventIDs(got) != want {
		t.Fatalf("got %q, want %q", eventIDs(got), want)
	}
}

func (w *world) depth(t *testing.T, webhook string) Depth {
	t.Helper()
	ds, err := w.Depths(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range ds {
		if d.Webhook == webhook {
			return d
		}
	}
	return Depth{}
}

func TestRows(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		now := time.Now().Truncate(time.Microsecond)
		w.update(t, func(tx Tx) {
			for _, id := range []string{"a/1", "a/3", "a/2", "b/1", "a\xff\x00"} {
				tx.Put(Row{Key: Key{"k", id}, Value: []byte(id), Due: now, Seen: now})
			}
			tx.Put(Row{Key: Key{"other", "a/1"}, Value: nil})
			tx.Delete(Key{"k", "a/3"})
			tx.Put(Row{Key: Key{"k", "a/1"}, Value: []byte("last"), Due: now.Add(time.Hour)})
		})
		w = w.reopen(t)
		err := w.View(ctx, func(r Reader) error {
			row, ok, err := r.Get(Key{"k", "a/1"})
			if !ok || err != nil || string(row.Value) != "last" || !row.Due.Equal(now.Add(time.Hour)) || !row.Seen.IsZero() {
				t.Errorf("got %+v %v %v", row, ok, err)
			}
			if _, ok, err = r.Get(Key{"k", "a/3"}); ok || err != nil {
				t.Error("a/3 is there", err)
			}
			rows, err := r.Scan("k", "a/", 0)
			if err != nil || len(rows) != 2 || rows[0].ID != "a/1" || rows[1].ID != "a/2" {
				t.Errorf("got %v %v", rows, err)
			}
			if rows, _ = r.Scan("k", "", 0); len(rows) != 4 || rows[2].ID != "a\xff\x00" {
				t.Errorf("got %v", rows)
			}
			if rows, _ = r.Scan("k", "a\xff", 0); len(rows) != 1 {
				t.Errorf("got %v", rows)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := w.Due(ctx, "k", now, 0)
		if err != nil || len(rows) != 3 {
			t.Errorf("due: %v %v", rows, err)
		}
		if rows, err = w.Own(ctx, "k", 0); err != nil || len(rows) != 4 {
			t.Errorf("own: %v %v", rows, err)
		}
	})
}

func TestUpdateReadsEarlierCallersOfItsTransaction(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		hold := w.hold(t)
		errs := make(chan error, 20)
		for range 20 {
			go func() {
				errs <- w.Update(ctx, []string{"counter"}, func(tx Tx) error {
					row, _, err := tx.Get(Key{"n", "n"})
					if err != nil {
						return err
					}
					rows, err := tx.Scan("list", "", 0)
					if err != nil || len(rows) != len(row.Value) {
						return fmt.Errorf("%d rows after %d updates: %w", len(rows), len(row.Value), err)
					}
					tx.Put(Row{Key: Key{"n", "n"}, Value: append(row.Value, 'x')}, Row{Key: Key{"list", fmt.Sprintf("%03d", len(rows))}})
					return nil
				})
			}()
		}
		hold()
		for range 20 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		w.View(ctx, func(r Reader) error {
			row, _, _ := r.Get(Key{"n", "n"})
			if len(row.Value) != 20 {
				t.Errorf("%d of 20", len(row.Value))
			}
			return nil
		})
	})
}

// hold keeps the writer busy until the returned function is called.
func (w *world) hold(t *testing.T) func() {
	t.Helper()
	begun, end := make(chan bool), make(chan bool)
	go w.Update(ctx, nil, func(Tx) error { close(begun); <-end; return nil })
	<-begun
	return func() { close(end) }
}

func TestUpdateThatFailsHarmsNobodyElse(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		boom := errors.New("boom")
		release := w.hold(t)
		good, bad, panicking := make(chan error), make(chan error), make(chan error)
		put := func(tx Tx, id string) { tx.Put(Row{Key: Key{"k", id}}) }
		go func() { good <- w.Update(ctx, nil, func(tx Tx) error { put(tx, "good"); return nil }) }()
		go func() { bad <- w.Update(ctx, nil, func(tx Tx) error { put(tx, "bad"); return boom }) }()
		go func() { panicking <- w.Update(ctx, nil, func(tx Tx) error { put(tx, "panic"); panic("no") }) }()
		for len(w.core.updates.queue) < 3 {
			time.Sleep(time.Millisecond)
		}
		release()
		if err := <-bad; !errors.Is(err, boom) {
			t.Error(err)
		}
		if err := <-good; err != nil {
			t.Error(err)
		}
		if err := <-panicking; err == nil || !strings.Contains(err.Error(), "panic") {
			t.Error(err)
		}
		w.View(ctx, func(r Reader) error {
			rows, err := r.Scan("k", "", 0)
			if err != nil || len(rows) != 1 || rows[0].ID != "good" {
				t.Error(rows, err)
			}
			return nil
		})
	})
}

func TestUpdateGivenUp(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		release := w.hold(t)
		short, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() {
			done <- w.Update(short, nil, func(tx Tx) error { t.Error("it ran"); return nil })
		}()
		for len(w.core.updates.queue) < 1 {
			time.Sleep(time.Millisecond)
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) || errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		release()
		short, cancel = context.WithCancel(ctx)
		err := w.Update(short, nil, func(tx Tx) error { cancel(); time.Sleep(10 * time.Millisecond); return nil })
		if !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

func TestAppendIsIdempotent(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		for range 3 {
			w.push(t, "e1", "repo", "tag", "hook")
			w.update(t, func(tx Tx) { tx.Append(Event{ID: "pull", Type: "PULL", At: time.Now(), Transient: true}) })
		}
		w.update(t, func(tx Tx) {
			tx.Append(Event{ID: "pull", Transient: true})
			tx.Append(Event{ID: "twice", Transient: true, At: time.Now()})
			tx.Append(Event{ID: "twice", Transient: true, At: time.Now()})
			tx.Append(Event{ID: "e1"}, Delivery{Webhook: "hook"})
		})
		evs, err := w.Events(ctx, EventQuery{Ascending: true})
		if err != nil || len(evs) != 3 || evs[0].ID != "e1" || evs[1].ID != "pull" || evs[2].ID != "twice" {
			t.Fatal(evs, err)
		}
		if d := w.depth(t, "hook"); d.Pending != 1 {
			t.Errorf("%+v", d)
		}
	})
}

func TestEvents(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		base := time.Now().Add(-time.Hour).Truncate(time.Microsecond)
		for i := range 10 {
			w.update(t, func(tx Tx) {
				at := base.Add(time.Duration(i) * time.Minute)
				tx.Append(Event{ID: fmt.Sprintf("push%d", i), Type: "PUSH", At: at, Upstream: "u", Repository: "r1", Data: []byte("d")})
				tx.Append(Event{ID: fmt.Sprintf("pull%d", i), Type: "PULL", At: at, Upstream: "u", Repository: "r2", Data: []byte{byte(i)}, Transient: true})
				tx.Append(Event{ID: fmt.Sprintf("pulled%d", i), Type: "PULL", At: at, Upstream: "v", Repository: "r\x002\xff", Transient: true}, Delivery{Webhook: "h"})
			})
		}
		all, err := w.Events(ctx, EventQuery{Ascending: true})
		if err != nil || len(all) != 30 {
			t.Fatal(len(all), err)
		}
		for _, q := range []struct {
			EventQuery
			want string
		}{
			{EventQuery{Limit: 3, Types: []string{"PULL"}, Upstream: "u"}, "pull9 pull8 pull7"},
			{EventQuery{ID: "pull4"}, "pull4"},
			{EventQuery{ID: "push4"}, "push4"},
			{EventQuery{ID: "none"}, ""},
			{EventQuery{Types: []string{"PULL", "X"}, Since: base.Add(8 * time.Minute), Ascending: true}, "pulled8 pull8 pulled9 pull9"},
			{EventQuery{Repository: "r1", Until: base.Add(2 * time.Minute)}, "push1 push0"},
			{EventQuery{After: all[27].Seq, Ascending: true}, all[28].ID + " " + all[29].ID},
			{EventQuery{Before: all[1].Seq}, all[0].ID},
			{EventQuery{Ascending: true, Limit: 1}, all[0].ID},
			{EventQuery{Repository: "r\uFFFD2\uFFFD", Limit: 1}, "pulled9"},
		} {
			got, err := w.Events(ctx, q.EventQuery)
			var ids []string
			for _, e := range got {
				ids = append(ids, e.ID)
			}
			if err != nil || strings.Join(ids, " ") != q.want {
				t.Errorf("%+v: got %v, want %s (%v)", q.EventQuery, ids, q.want, err)
			}
		}
		if e := all[slices.IndexFunc(all, func(e Event) bool { return e.ID == "pull4" })]; string(e.Data) != "\x04" || !e.Transient || !e.At.Equal(base.Add(4*time.Minute)) || e.Upstream != "u" || e.Repository != "r2" {
			t.Errorf("%+v", e)
		}
	})
}

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
		if w.sqlite != nil { // the only one whose clock a query sets
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
		redeliver(0)
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
			case name := <-w.Wake():
				got[name] = true
			case <-time.After(10 * time.Second):
				t.Fatal("no wake", got)
			}
		}
		select {
		case <-news:
		case <-time.After(10 * time.Second):
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
		if n, err := w.Redeliver(ctx, DeliveryQuery{IDs: []int64{due[0].ID, due[1].ID}}); n != 1 || err != nil {
			t.Error(n, err)
		}
	})
}
