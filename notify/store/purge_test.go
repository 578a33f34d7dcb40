package store

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func (w *world) events(t *testing.T) string {
	t.Helper()
	evs, err := w.Events(ctx, EventQuery{Ascending: true, Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for _, e := range evs {
		ids = append(ids, e.ID)
	}
	return strings.Join(ids, " ")
}

func (w *world) purge(t *testing.T, r Retention, in time.Duration, trims ...Trim) int {
	t.Helper()
	n, err := w.Purge(ctx, r, trims, time.Now().Add(in))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// settle finishes the deliveries of the named events.
func (w *world) settle(t *testing.T, state State, events ...string) {
	t.Helper()
	epoch := w.lease(t, "hook")
	for _, id := range events {
		ds, err := w.Deliveries(ctx, DeliveryQuery{EventID: id})
		if err != nil || len(ds) == 0 {
			t.Fatal(ds, err)
		}
		w.finish(t, Outcome{DeliveryID: ds[0].ID, Webhook: "hook", Epoch: epoch, State: state, Payload: &Payload{Body: []byte("b")}, Attempt: &Attempt{At: time.Now()}})
	}
}

func (w *world) count(t *testing.T, table string) (n int64) {
	t.Helper()
	if err := w.core.query(ctx, "SELECT count(*) FROM "+table, nil, func(s scanner) error { return s.Scan(&n) }); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestRetention(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		for _, id := range []string{"pending", "delivered", "dead"} {
			w.push(t, id, "r", id, "hook")
		}
		pull := func(id string, ds ...Delivery) {
			w.update(t, func(tx Tx) { tx.Append(Event{ID: id, At: time.Now(), Transient: true}, ds...) })
		}
		pull("pull")
		pull("pull-delivered", Delivery{Webhook: "hook"})
		pull("pull-pending", Delivery{Webhook: "hook"})
		w.update(t, func(tx Tx) { tx.Append(Event{ID: "unmatched", At: time.Now()}) })
		w.settle(t, Delivered, "delivered", "pull-delivered")
		w.settle(t, Dead, "dead")
		r := Retention{Delivered: 7 * 24 * time.Hour, Pulls: 24 * time.Hour, Unmatched: 48 * time.Hour, Dead: 30 * 24 * time.Hour, Attempts: 5 * 24 * time.Hour}
		const all = "pending delivered dead pull pull-delivered pull-pending unmatched"
		w.purge(t, Retention{}, 1000*time.Hour)
		w.purge(t, r, 23*time.Hour)
		if got := w.events(t); got != all {
			t.Fatalf("too early: %s", got)
		}
		for _, step := range []struct {
			in       time.Duration
			want     string
			attempts int64
		}{
			{25 * time.Hour, "pending delivered dead pull-pending unmatched", 2},
			{49 * time.Hour, "pending delivered dead pull-pending", 2},
			{6 * 24 * time.Hour, "pending delivered dead pull-pending", 0},
			{8 * 24 * time.Hour, "pending dead pull-pending", 0},
			{31 * 24 * time.Hour, "pending pull-pending", 0},
			{1000 * 24 * time.Hour, "pending pull-pending", 0},
		} {
			w.purge(t, r, step.in)
			if got := w.events(t); got != step.want || w.count(t, "attempts") != step.attempts {
				t.Errorf("after %v: %s, %d attempts; want %s, %d", step.in, got, w.count(t, "attempts"), step.want, step.attempts)
			}
		}
		if n := w.count(t, "payloads"); n != 0 {
			t.Errorf("%d payloads of nothing", n)
		}
		if d := w.depth(t, "hook"); d.Pending != 2 || d.Dead != 0 {
			t.Errorf("%+v", d)
		}
	})
}

func TestPurgeOfManyChunks(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		const n = 2*chunk + 50
		w.update(t, func(tx Tx) {
			for i := range n {
				tx.Append(Event{ID: fmt.Sprint(i), At: time.Now()}, Delivery{Webhook: "hook"})
			}
		})
		if err := w.Park(ctx, "hook"); err != nil {
			t.Fatal(err)
		}
		if d := w.depth(t, "hook"); d.Parked != n || d.Pending != 0 {
			t.Errorf("%+v", d)
		}
		if got := w.purge(t, Retention{Dead: time.Hour}, 2*time.Hour); got != n {
			t.Errorf("%d expired, want %d", got, n)
		}
		dead, err := w.Deliveries(ctx, DeliveryQuery{States: []State{Dead}, Limit: 1})
		if err != nil || len(dead) != 1 || dead[0].Reason != ReasonExpired {
			t.Errorf("%+v %v", dead, err)
		}
		if got, err := w.Redeliver(ctx, DeliveryQuery{States: []State{Dead}, Limit: chunk + 10}); got != chunk+10 || err != nil {
			t.Error(got, err)
		}
		if got, err := w.Redeliver(ctx, DeliveryQuery{Webhook: "hook", States: []State{Dead}}); got != n-chunk-10 || err != nil {
			t.Error(got, err)
		}
		if d := w.depth(t, "hook"); d.Parked+d.Dead != 0 || d.Pending != n {
			t.Errorf("%+v", d)
		}
	})
}

func TestMaxSize(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		w.push(t, "pending", "r", "t", "other")
		epoch := w.lease(t, "hook")
		for i := range 2 * chunk {
			w.push(t, fmt.Sprint(i), "r", fmt.Sprint(i), "hook")
		}
		var outcomes []Outcome
		for _, d := range w.due(t, DueQuery{Limit: 2 * chunk}) {
			outcomes = append(outcomes, Outcome{DeliveryID: d.ID, Webhook: "hook", Epoch: epoch, State: Delivered, Payload: &Payload{Body: kilobyte}})
		}
		w.finish(t, outcomes...)
		if !w.isFile { // whose counts are statistics
			if _, err := w.sqlOf(t, "ANALYZE"); err != nil {
				t.Fatal(err)
			}
		}
		size, err := w.core.size(ctx)
		if err != nil {
			t.Fatal(err)
		}
		full := size.all
		left := func() int { return strings.Count(w.events(t), " ") }
		w.purge(t, Retention{MaxSize: 2 * full}, 0)
		if left() != 2*chunk {
			t.Errorf("%d events left of %d that fit", left(), 2*chunk)
		}
		w.purge(t, Retention{MaxSize: full * 3 / 4}, 0)
		if got := w.events(t); !strings.HasPrefix(got, fmt.Sprintf("pending %d ", 2*chunk-left())) || left() != chunk {
			t.Errorf("left: %s", got)
		}
		w.update(t, func(tx Tx) { tx.Append(Event{ID: "pull", At: time.Now(), Transient: true}) })
		for w.purge(t, Retention{MaxSize: 1}, 0) > 0 {
		}
		if got := w.events(t); got != "pending" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestTrim(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		now := time.Now()
		w.update(t, func(tx Tx) {
			for i := range 2 * chunk {
				tx.Put(Row{Key: Key{"k", fmt.Sprintf("%04d", i)}, Seen: now.Add(time.Duration(-i) * time.Second)})
			}
			tx.Put(Row{Key: Key{"k", "unseen"}}, Row{Key: Key{"other", "x"}, Seen: now.Add(-time.Hour)})
		})
		if n := w.purge(t, Retention{}, 0, Trim{Kind: "k", Max: 3}); n != 2*chunk-3 {
			t.Errorf("%d removed", n)
		}
		w.View(ctx, func(r Reader) error {
			rows, err := r.Scan("k", "", 0)
			if err != nil || len(rows) != 4 || rows[2].ID != "0002" {
				t.Errorf("%v %v", rows, err)
			}
			if rows, _ = r.Scan("other", "", 0); len(rows) != 1 {
				t.Errorf("%v", rows)
			}
			return nil
		})
	})
}
