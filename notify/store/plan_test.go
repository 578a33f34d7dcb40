package store_test

import (
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// TestPlan: events that are recorded already get deliveries: one that nobody wanted, one that
// another webhook got, and a pull, which stood in a pack with others until then. Nothing is planned
// twice, nothing shows twice.
func TestPlan(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		w.Write(t, func(tx store.Tx) {
			tx.Append(store.Event{ID: "unwanted", Type: "PUSH", At: time.Now(), Data: []byte("a")})
			tx.Append(store.Event{ID: "pull", Type: "PULL", At: time.Now(), Transient: true, Data: []byte("b")})
			tx.Append(store.Event{ID: "pull2", Type: "PULL", At: time.Now(), Transient: true, Data: []byte("c")})
		})
		w.Push(t, "wanted", "r", "t", "elsewhere")
		events, err := w.Events(ctx, store.EventQuery{Ascending: true})
		if err != nil || len(events) != 4 {
			t.Fatal(events, err)
		}
		var planned []store.Planned
		for _, e := range events {
			if e.ID != "pull2" {
				planned = append(planned, store.Planned{Event: e, Deliveries: []store.Delivery{{Webhook: "hook", Number: 1, TagKey: "k", RepoKey: "r"}, {Webhook: "hook", Number: 2}}})
			}
		}
		if n, err := w.Plan(ctx, planned); n != 6 || err != nil {
			t.Fatal(n, err)
		}
		w = w.Reopen(t)
		if n, err := w.Plan(ctx, planned); n != 0 || err != nil {
			t.Errorf("a second time: %d, %v", n, err)
		}
		w.Push(t, "new", "r", "t2", "hook")
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{Order: store.Unordered}), "unwanted unwanted pull pull wanted wanted new")
		if due := w.DueNow(t, store.DueQuery{Order: store.Unordered}); string(due[2].Event.Data) != "b" || due[2].Number != 1 || due[2].TagKey != "k" {
			t.Errorf("%+v", due[2])
		}
		if d := w.Depth(t, "hook"); d.Pending != 7 {
			t.Errorf("%+v", d)
		}
		if n := w.PurgeIn(t, store.Retention{Unmatched: time.Hour}, 2*time.Hour); n != 0 {
			t.Errorf("%d purged", n)
		}
		if again, err := w.Events(ctx, store.EventQuery{Ascending: true}); err != nil || len(again) != 5 || again[1].ID != "pull" || again[2].ID != "pull2" {
			t.Errorf("%+v, %v", again, err)
		}
	})
}
