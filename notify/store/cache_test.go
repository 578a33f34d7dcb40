package store

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// value is what the next transaction sees of a row.
func (w *world) value(t *testing.T, k Key) string {
	t.Helper()
	seen := "none"
	w.update(t, func(tx Tx) {
		row, ok, err := tx.Get(k)
		if err != nil {
			t.Error(err)
		}
		if ok {
			seen = string(row.Value)
		}
	})
	return seen
}

func TestATransactionReadsWhatIsCommitted(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		k := Key{"k", "a"}
		step := func(want string) {
			t.Helper()
			for range 2 {
				if got := w.value(t, k); got != want {
					t.Errorf("%s, want %s", got, want)
				}
			}
		}
		put := func(v string) error {
			return w.Update(ctx, nil, func(tx Tx) error { tx.Put(Row{Key: k, Value: []byte(v), Seen: time.Unix(1, 0)}); return nil })
		}
		step("none")
		put("1")
		step("1")
		w.core.updates.fault = func(func() error) error { return errors.New("no room") }
		if w.isFile && put("2") == nil { // PostgreSQL's writer tries again
			t.Error("the commit that failed succeeded")
		}
		w = w.reopen(t)
		step("1")
		w.update(t, func(tx Tx) { tx.Delete(k) })
		step("none")
		put("3")
		step("3")
		if _, err := w.Purge(ctx, Retention{}, []Trim{{Kind: "k"}}, time.Now()); err != nil {
			t.Error(err)
		}
		step("none")
	})
}

// TestTransactionsReadAKindLargeOrSmall: what transactions read of a kind that grows, shrinks and is trimmed is what was committed, in order.
func TestTransactionsReadAKindLargeOrSmall(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		is, random := map[string]string{}, rand.New(rand.NewPCG(1, 2))
		grow := func(n int) {
			w.update(t, func(tx Tx) {
				for range n {
					id := fmt.Sprintf("%c/%d", 'a'+random.IntN(3), random.IntN(2*kindRows))
					is[id] = fmt.Sprint(random.Int())
					tx.Put(Row{Key: Key{"k", id}, Value: []byte(is[id]), Seen: time.Unix(int64(random.IntN(100)+1), 0)})
				}
			})
		}
		shrink := func(to int) {
			w.update(t, func(tx Tx) {
				for id := range is {
					if len(is) <= to {
						return
					}
					delete(is, id)
					tx.Delete(Key{"k", id})
				}
			})
		}
		steps := []func(){
			func() {}, func() { grow(20) }, func() { shrink(10) }, func() { grow(2 * kindRows) }, func() { grow(1) }, func() { shrink(5) }, func() { grow(5) },
			func() {
				if _, err := w.Purge(ctx, Retention{}, []Trim{{Kind: "k"}}, time.Now()); err != nil {
					t.Error(err)
				}
				clear(is)
			},
			func() { grow(3) },
		}
		for i, step := range steps {
			step()
			w.update(t, func(tx Tx) { sees(t, i, tx, is) })
		}
	})
}

// sees compares what a transaction reads of kind k with what is.
func sees(t *testing.T, step int, r Reader, is map[string]string) {
	t.Helper()
	for _, id := range append(slices.Collect(maps.Keys(is)), "a/none", "") {
		row, ok, err := r.Get(Key{"k", id})
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
			if strings.HasPrefix(id, q.prefix) && len(want) < orDefault(q.limit, 1000) {
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
