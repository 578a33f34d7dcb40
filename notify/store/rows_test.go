package store_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// TestRowsAreTheSameEverywhere: what is read is what was committed last: by views, by transactions,
// as due rows and after a restart.
func TestRowsAreTheSameEverywhere(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		is, due, random := map[string]string{}, map[string]time.Time{}, rand.New(rand.NewPCG(3, 4))
		now := time.Now().UTC().Truncate(time.Second)
		change := func(tx store.Tx) {
			for range 30 {
				id := fmt.Sprintf("%c/%d", 'a'+random.IntN(3), random.IntN(40))
				delete(due, id)
				if random.IntN(3) == 0 {
					delete(is, id)
					tx.Delete(store.Key{Kind: "k", ID: id})
					continue
				}
				row := store.Row{Key: store.Key{Kind: "k", ID: id}, Value: []byte(fmt.Sprint(random.Int()))}
				if at := random.IntN(5); at > 0 {
					row.Due = now.Add(time.Duration(at-3) * time.Hour)
					due[id] = row.Due
				}
				is[id] = string(row.Value)
				tx.Put(row)
			}
		}
		for step := range 25 {
			w.Write(t, change)
			if step%10 == 9 {
				w = w.Reopen(t)
			}
			if err := w.View(ctx, func(r store.Reader) error { sees(t, step, r, is); return nil }); err != nil {
				t.Fatal(err)
			}
			w.Write(t, func(tx store.Tx) { sees(t, step, tx, is) })
			dueRows(t, w, now, due)
			if rows, err := w.Own(ctx, "k", "", 0); err != nil || len(rows) != len(is) {
				t.Fatalf("step %d: %d rows are its own (%v), want %d", step, len(rows), err, len(is))
			} else if middle := rows[len(rows)/2].ID; len(rows) > 1 {
				behind, err := w.Own(ctx, "k", middle, 0)
				if err != nil || len(behind) != len(rows)-len(rows)/2-1 || len(behind) > 0 && behind[0].ID <= middle {
					t.Fatalf("step %d: %d rows behind the middle of %d (%v)", step, len(behind), len(rows), err)
				}
			}
		}
	})
}

// dueRows compares the rows that are due with those that should be.
func dueRows(t *testing.T, w *storetest.World, now time.Time, due map[string]time.Time) {
	t.Helper()
	rows, err := w.Due(ctx, "k", now, 0)
	if err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, at := range due {
		if !at.After(now) {
			want++
		}
	}
	for _, r := range rows {
		if !due[r.ID].Equal(r.Due) || r.Due.After(now) {
			t.Fatalf("%s is due at %s, want %s", r.ID, r.Due, due[r.ID])
		}
	}
	inOrder := slices.IsSortedFunc(rows, func(a, b store.Row) int { return a.Due.Compare(b.Due) })
	if len(rows) != want || !inOrder {
		t.Fatalf("%d rows are due, want %d; in order: %t", len(rows), want, inOrder)
	}
	if few, err := w.Due(ctx, "k", now, 2); err != nil || len(few) != min(2, want) {
		t.Fatalf("%d rows (%v)", len(few), err)
	}
}
