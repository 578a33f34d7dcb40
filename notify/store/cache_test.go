package store

import (
	"errors"
	"fmt"
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
		if w.sqlite != nil && put("2") == nil { // PostgreSQL's writer tries again
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

func TestTheCacheIsBounded(t *testing.T) {
	w := sqliteWorld(t, t.TempDir())
	w.update(t, func(tx Tx) {
		tx.Put(Row{Key: Key{"k", "long"}, Value: make([]byte, cacheValue+1)})
		for i := range cacheRows + 100 {
			tx.Put(Row{Key: Key{"k", fmt.Sprint(i)}})
		}
	})
	if n := w.sqlite.e.cache.rows.Len(); n != cacheRows {
		t.Errorf("%d rows are kept", n)
	}
	if w.sqlite.e.cache.rows.Contains(Key{"k", "long"}) {
		t.Error("a long row is kept")
	}
}
