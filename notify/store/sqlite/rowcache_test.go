package sqlite

import (
	"fmt"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
)

func TestTheCacheIsBounded(t *testing.T) {
	w := openFixture(t, t.TempDir())
	w.Write(t, func(tx store.Tx) {
		tx.Put(store.Row{Key: store.Key{Kind: "k", ID: "long"}, Value: make([]byte, engine.CacheValue+1)})
		for i := range engine.CacheRows + 100 {
			tx.Put(store.Row{Key: store.Key{Kind: "k", ID: fmt.Sprint(i)}})
		}
	})
	if n := w.sqlite.e.cache.Rows.Len(); n != engine.CacheRows {
		t.Errorf("%d rows are kept", n)
	}
	if w.sqlite.e.cache.Rows.Contains(store.Key{Kind: "k", ID: "long"}) {
		t.Error("a long row is kept")
	}
}

func TestALargeKindIsNotKeptWhole(t *testing.T) {
	w := openFixture(t, t.TempDir())
	kept := func(kind string) bool {
		return w.sqlite.e.cache.Kinds[kind] != nil && w.sqlite.e.cache.Kinds[kind].Rows != nil
	}
	put := func(kind string, n, size int) {
		w.Write(t, func(tx store.Tx) {
			if _, _, err := tx.Get(store.Key{Kind: kind, ID: "none"}); err != nil {
				t.Error(err)
			}
			for i := range n {
				tx.Put(store.Row{Key: store.Key{Kind: kind, ID: fmt.Sprint(i)}, Value: make([]byte, size)})
			}
		})
	}
	put("few", 10, 100)
	put("many", engine.KindRows+1, 1)
	put("heavy", 10, engine.KindBytes/9)
	if !kept("few") || kept("many") || kept("heavy") {
		t.Errorf("kept as a whole: few %t, many %t, heavy %t", kept("few"), kept("many"), kept("heavy"))
	}
	w.Write(t, func(tx store.Tx) {
		for i := range 10 {
			tx.Delete(store.Key{Kind: "few", ID: fmt.Sprint(i)})
		}
	})
	if k := w.sqlite.e.cache.Kinds["few"]; len(k.Rows) != 0 || k.Bytes != 0 {
		t.Errorf("%d rows of %d bytes are kept of none", len(k.Rows), k.Bytes)
	}
}
