package store_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func TestRetention(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		for _, id := range []string{"pending", "delivered", "dead"} {
			w.Push(t, id, "r", id, "hook")
		}
		pull := func(id string, ds ...store.Delivery) {
			w.Write(t, func(tx store.Tx) { tx.Append(store.Event{ID: id, At: time.Now(), Transient: true}, ds...) })
		}
		pull("pull")
		pull("pull-delivered", store.Delivery{Webhook: "hook"})
		pull("pull-pending", store.Delivery{Webhook: "hook"})
		w.Write(t, func(tx store.Tx) { tx.Append(store.Event{ID: "unmatched", At: time.Now()}) })
		w.FinishAll(t, store.Delivered, "delivered", "pull-delivered")
		w.FinishAll(t, store.Dead, "dead")
		r := store.Retention{Delivered: 7 * 24 * time.Hour, Pulls: 24 * time.Hour, Unmatched: 48 * time.Hour, Dead: 30 * 24 * time.Hour, Attempts: 5 * 24 * time.Hour}
		const all = "pending delivered dead pull pull-delivered pull-pending unmatched"
		w.PurgeIn(t, store.Retention{}, 1000*time.Hour)
		w.PurgeIn(t, r, 23*time.Hour)
		if got := w.EventIDs(t); got != all {
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
			w.PurgeIn(t, r, step.in)
			if got := w.EventIDs(t); got != step.want || w.Count(t, "attempts") != step.attempts {
				t.Errorf("after %v: %s, %d attempts; want %s, %d", step.in, got, w.Count(t, "attempts"), step.want, step.attempts)
			}
		}
		if n := w.Count(t, "payloads"); n != 0 {
			t.Errorf("%d payloads of nothing", n)
		}
		if d := w.Depth(t, "hook"); d.Pending != 2 || d.Dead != 0 {
			t.Errorf("%+v", d)
		}
	})
}

func TestPurgeOfManyChunks(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		const n = 2*engine.Chunk + 50
		w.Write(t, func(tx store.Tx) {
			for i := range n {
				tx.Append(store.Event{ID: fmt.Sprint(i), At: time.Now()}, store.Delivery{Webhook: "hook"})
			}
		})
		if err := w.Park(ctx, "hook"); err != nil {
			t.Fatal(err)
		}
		if d := w.Depth(t, "hook"); d.Parked != n || d.Pending != 0 {
			t.Errorf("%+v", d)
		}
		if got := w.PurgeIn(t, store.Retention{Dead: time.Hour}, 2*time.Hour); got != n {
			t.Errorf("%d expired, want %d", got, n)
		}
		dead, err := w.Deliveries(ctx, store.DeliveryQuery{States: []store.State{store.Dead}, Limit: 1})
		if err != nil || len(dead) != 1 || dead[0].Reason != store.ReasonExpired {
			t.Errorf("%+v %v", dead, err)
		}
		if got, err := w.Redeliver(ctx, store.DeliveryQuery{States: []store.State{store.Dead}, Limit: engine.Chunk + 10}); got != engine.Chunk+10 || err != nil {
			t.Error(got, err)
		}
		if got, err := w.Redeliver(ctx, store.DeliveryQuery{Webhook: "hook", States: []store.State{store.Dead}}); got != n-engine.Chunk-10 || err != nil {
			t.Error(got, err)
		}
		if d := w.Depth(t, "hook"); d.Parked+d.Dead != 0 || d.Pending != n {
			t.Errorf("%+v", d)
		}
	})
}

func TestMaxSize(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		w.Push(t, "pending", "r", "t", "other")
		epoch := w.TakeLane(t, "hook")
		for i := range 2 * engine.Chunk {
			w.Push(t, fmt.Sprint(i), "r", fmt.Sprint(i), "hook")
		}
		var outcomes []store.Outcome
		for _, d := range w.DueNow(t, store.DueQuery{Limit: 2 * engine.Chunk}) {
			outcomes = append(outcomes, store.Outcome{DeliveryID: d.ID, Webhook: "hook", Epoch: epoch, State: store.Delivered, Payload: &store.Payload{Body: storetest.Kilobyte}})
		}
		w.Record(t, outcomes...)
		if !w.IsFile { // whose counts are statistics
			if _, err := w.SQL(t, "ANALYZE"); err != nil {
				t.Fatal(err)
			}
		}
		size, err := w.Core.DB.Size(ctx)
		if err != nil {
			t.Fatal(err)
		}
		full := size.All
		left := func() int { return strings.Count(w.EventIDs(t), " ") }
		w.PurgeIn(t, store.Retention{MaxSize: 2 * full}, 0)
		if left() != 2*engine.Chunk {
			t.Errorf("%d events left of %d that fit", left(), 2*engine.Chunk)
		}
		w.PurgeIn(t, store.Retention{MaxSize: full * 3 / 4}, 0)
		if got := w.EventIDs(t); !strings.HasPrefix(got, fmt.Sprintf("pending %d ", 2*engine.Chunk-left())) || left() != engine.Chunk {
			t.Errorf("left: %s", got)
		}
		w.Write(t, func(tx store.Tx) { tx.Append(store.Event{ID: "pull", At: time.Now(), Transient: true}) })
		for w.PurgeIn(t, store.Retention{MaxSize: 1}, 0) > 0 {
		}
		if got := w.EventIDs(t); got != "pending" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestTrim(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		now := time.Now()
		w.Write(t, func(tx store.Tx) {
			for i := range 2 * engine.Chunk {
				tx.Put(store.Row{Key: store.Key{Kind: "k", ID: fmt.Sprintf("%04d", i)}, Seen: now.Add(time.Duration(-i) * time.Second)})
			}
			tx.Put(store.Row{Key: store.Key{Kind: "k", ID: "unseen"}}, store.Row{Key: store.Key{Kind: "other", ID: "x"}, Seen: now.Add(-time.Hour)})
		})
		if n := w.PurgeIn(t, store.Retention{}, 0, store.Trim{Kind: "k", Max: 3}); n != 2*engine.Chunk-3 {
			t.Errorf("%d removed", n)
		}
		w.View(ctx, func(r store.Reader) error {
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
