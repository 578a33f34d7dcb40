package engine

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	CacheRows  = 4096
	CacheValue = 1 << 10 // bytes; longer rows are not kept
	KindRows   = 1024    // a kind of more rows, or more bytes, is not kept as a whole
	KindBytes  = 1 << 20
	kindAgain  = time.Minute // after this, a kind that was too large is read again
)

// RowCache holds committed rows of a file to which only this process writes. A transaction often
// reads what the one before has read or written, above all an intent and its settling. A nil
// RowCache holds nothing. Only the writer uses it.
//
// Most of the rows that are read do not exist (pushes that wait, tries to be joined). So kinds with
// few rows are cached as a whole.
type RowCache struct {
	Rows  *lru.Cache[store.Key, *store.Row] // nil stands for no row
	Kinds map[string]*kind                  // few, because the program chooses the kinds
}

// kind is all rows of a kind, by ID.
type kind struct {
	Rows  map[string]*store.Row // nil: there are too many
	Bytes int
	found time.Time // when that was found
}

// NewRowCache makes an empty cache.
func NewRowCache() *RowCache {
	rows, err := lru.New[store.Key, *store.Row](CacheRows)
	if err != nil { // only for a size below 1
		return nil
	}
	return &RowCache{Rows: rows, Kinds: make(map[string]*kind)}
}

func (c *RowCache) row(k store.Key) (row *store.Row, known bool) {
	if c == nil {
		return nil, false
	}
	return c.Rows.Get(k)
}

// whole returns a kind with all its rows, or nil if there are too many. load reads the rows, at
// most limit, if they are not cached yet.
func (c *RowCache) whole(name string, load func(limit int) ([]store.Row, error)) (*kind, error) {
	if c == nil {
		return nil, nil
	}
	k := c.Kinds[name]
	switch {
	case k != nil && k.Rows != nil:
		return k, nil
	case k != nil && time.Since(k.found) < kindAgain:
		return nil, nil
	}
	rows, err := load(KindRows + 1)
	if err != nil {
		return nil, err
	}
	k = &kind{Rows: make(map[string]*store.Row, len(rows))}
	c.Kinds[name] = k
	for i := range rows {
		k.keep(rows[i].ID, &rows[i])
	}
	if k.Rows == nil {
		return nil, nil
	}
	return k, nil
}

// keep caches a committed row. nil stands for no row.
func (c *RowCache) keep(k store.Key, row *store.Row) {
	if c == nil {
		return
	}
	if of := c.Kinds[k.Kind]; of != nil && of.Rows != nil {
		of.keep(k.ID, committed(row))
		c.Rows.Remove(k)
		return
	}
	if row != nil && len(row.Value) > CacheValue {
		c.Rows.Remove(k)
		return
	}
	c.Rows.Add(k, committed(row))
}

// committed returns a row as it would be read. nil stays nil.
func committed(row *store.Row) *store.Row {
	if row == nil {
		return nil
	}
	own := *row
	own.Due, own.Seen, own.Owner = FromMicros(Micros(row.Due)), FromMicros(Micros(row.Seen)), Local
	return &own
}

// keep caches a row of the kind, and drops all of them when there are too many.
func (k *kind) keep(id string, row *store.Row) {
	if old := k.Rows[id]; old != nil {
		k.Bytes -= len(id) + len(old.Value)
		delete(k.Rows, id)
	}
	if row == nil || k.Rows == nil {
		return
	}
	k.Rows[id] = row
	k.Bytes += len(id) + len(row.Value)
	if len(k.Rows) > KindRows || k.Bytes > KindBytes {
		k.Rows, k.found = nil, time.Now()
	}
}

// Clear empties the cache, because rows may have changed in another way. It still remembers which
// kinds have too many rows.
func (c *RowCache) Clear() {
	if c == nil {
		return
	}
	c.Rows.Purge()
	for name, k := range c.Kinds {
		if k.Rows != nil {
			delete(c.Kinds, name)
		}
	}
}

// Local is the owner of every row of a SQLite file.
const Local = "local"
