package store

import (
	"fmt"
	"testing"
)

func TestTheCacheIsBounded(t *testing.T) {
	w := openFixture(t, t.TempDir())
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

func TestALargeKindIsNotKeptWhole(t *testing.T) {
	w := openFixture(t, t.TempDir())
	kept := func(kind string) bool {
		return w.sqlite.e.cache.kinds[kind] != nil && w.sqlite.e.cache.kinds[kind].rows != nil
	}
	put := func(kind string, n, size int) {
		w.update(t, func(tx Tx) {
			if _, _, err := tx.Get(Key{kind, "none"}); err != nil {
				t.Error(err)
			}
			for i := range n {
				tx.Put(Row{Key: Key{kind, fmt.Sprint(i)}, Value: make([]byte, size)})
			}
		})
	}
	put("few", 10, 100)
	put("many", kindRows+1, 1)
	put("heavy", 10, kindBytes/9)
	if !kept("few") || kept("many") || kept("heavy") {
		t.Errorf("kept as a whole: few %t, many %t, heavy %t", kept("few"), kept("many"), kept("heavy"))
	}
	w.update(t, func(tx Tx) {
		for i := range 10 {
			tx.Delete(Key{"few", fmt.Sprint(i)})
		}
	})
	if k := w.sqlite.e.cache.kinds["few"]; len(k.rows) != 0 || k.bytes != 0 {
		t.Errorf("%d rows of %d bytes are kept of none", len(k.rows), k.bytes)
	}
}
