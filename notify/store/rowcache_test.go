package store_test

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func TestATransactionReadsWhatIsCommitted(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		k := store.Key{Kind: "k", ID: "a"}
		step := func(want string) {
			t.Helper()
			for range 2 {
				if got := w.Value(t, k); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		}
		put := func(v string) error {
			return w.Update(ctx, nil, func(tx store.Tx) error {
				tx.Put(store.Row{Key: k, Value: []byte(v), Seen: time.Unix(1, 0)})
				return nil
			})
		}
		step("none")
		put("1")
		step("1")
		w.Core.Updates.Fault = func(func() error) error { return errors.New("no room") }
		if w.IsFile && put("2") == nil { // PostgreSQL's writer tries again
			t.Error("the commit that failed succeeded")
		}
		w = w.Reopen(t)
		step("1")
		w.Write(t, func(tx store.Tx) { tx.Delete(k) })
		step("none")
		put("3")
		step("3")
		if _, err := w.Purge(ctx, store.Retention{}, []store.Trim{{Kind: "k"}}, time.Now()); err != nil {
			t.Error(err)
		}
		step("none")
	})
}

// TestTransactionsReadAKindLargeOrSmall: what transactions read of a kind that grows, shrinks and
// is trimmed is what was committed, in order.
func TestTransactionsReadAKindLargeOrSmall(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		is, random := map[string]string{}, rand.New(rand.NewPCG(1, 2))
		grow := func(n int) {
			w.Write(t, func(tx store.Tx) {
				for range n {
					id := fmt.Sprintf("%c/%d", 'a'+random.IntN(3), random.IntN(2*engine.KindRows))
					is[id] = fmt.Sprint(random.Int())
					tx.Put(store.Row{Key: store.Key{Kind: "k", ID: id}, Value: []byte(is[id]), Seen: time.Unix(int64(random.IntN(100)+1), 0)})
				}
			})
		}
		shrink := func(to int) {
			w.Write(t, func(tx store.Tx) {
				for id := range is {
					if len(is) <= to {
						return
					}
					delete(is, id)
					tx.Delete(store.Key{Kind: "k", ID: id})
				}
			})
		}
		steps := []func(){
			func() {}, func() { grow(20) }, func() { shrink(10) }, func() { grow(2 * engine.KindRows) }, func() { grow(1) }, func() { shrink(5) }, func() { grow(5) },
			func() {
				if _, err := w.Purge(ctx, store.Retention{}, []store.Trim{{Kind: "k"}}, time.Now()); err != nil {
					t.Error(err)
				}
				clear(is)
			},
			func() { grow(3) },
		}
		for i, step := range steps {
			step()
			w.Write(t, func(tx store.Tx) { sees(t, i, tx, is) })
		}
	})
}

// sees compares what a transaction reads of kind k with what is.
func sees(t *testing.T, step int, r store.Reader, is map[string]string) {
	t.Helper()
	for _, id := range append(slices.Collect(maps.Keys(is)), "a/none", "") {
		row, ok, err := r.Get(store.Key{Kind: "k", ID: id})
		if want, there := is[id]; ok != there || string(row.Value) != want || err != nil {
			t.Fatalf("step %d: %q: got %q %t %v, want %q %t", step, id, row.Value, ok, err, want, there)
		}
	}
	for _, q := range []struct {
		prefix string
		limit  int
	}{{"", 10_000}, {"b/", 10_000}, {"", 7}, {"c/1", 3}, {"z", 0}} {
		var want, got []string
		for _, id := range slices.Sorted(maps.Keys(is)) {
			if strings.HasPrefix(id, q.prefix) && len(want) < engine.OrDefault(q.limit, 1000) {
				want = append(want, id+"="+is[id])
			}
		}
		rows, err := r.Scan("k", q.prefix, q.limit)
		for _, row := range rows {
			got = append(got, row.ID+"="+string(row.Value))
		}
		if !slices.Equal(got, want) || err != nil {
			t.Fatalf("step %d: scanning %+v: got %d rows %.100v (%v), want %d %.100v", step, q, len(got), got, err, len(want), want)
		}
	}
}
