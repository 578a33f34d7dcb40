package store

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	cacheRows  = 4096
	cacheValue = 1 << 10 // bytes; longer rows are not kept
	kindRows   = 1024    // a kind of more rows, or more bytes, is not kept as a whole
	kindBytes  = 1 << 20
	kindAgain  = time.Minute // until a kind that was too large is looked at again
)

// cache is rows as they are committed, of a file that only this process writes to: what one transaction has read or written the next one reads again,
// an intent and what settles it above all. nil: nothing is kept. It is the writer's.
//
// Most of what is asked for is not there: writes that wait, tries to be joined. Kinds that have few rows are therefore kept as a whole, which answers that too.
type cache struct {
	rows  *lru.Cache[Key, *Row] // of nil: that there is none
	kinds map[string]*kind      // the program's own words, so they are few
}

// kind is all rows of a kind, by ID.
type kind struct {
	rows  map[string]*Row // nil: they are too many
	bytes int
	found time.Time // when that was found
}

func newCache() *cache {
	rows, err := lru.New[Key, *Row](cacheRows)
	if err != nil { // only for a size below 1
		return nil
	}
	return &cache{rows: rows, kinds: make(map[string]*kind)}
}

func (c *cache) row(k Key) (row *Row, known bool) {
	if c == nil {
		return nil, false
	}
	return c.rows.Get(k)
}

// whole is a kind with all its rows, which load reads, as many as it is told, where they are not known yet; nil: they are too many.
func (c *cache) whole(name string, load func(limit int) ([]Row, error)) (*kind, error) {
	if c == nil {
		return nil, nil
	}
	k := c.kinds[name]
	switch {
	case k != nil && k.rows != nil:
		return k, nil
	case k != nil && time.Since(k.found) < kindAgain:
		return nil, nil
	}
	rows, err := load(kindRows + 1)
	if err != nil {
		return nil, err
	}
	k = &kind{rows: make(map[string]*Row, len(rows))}
	c.kinds[name] = k
	for i := range rows {
		k.keep(rows[i].ID, &rows[i])
	}
	if k.rows == nil {
		return nil, nil
	}
	return k, nil
}

// keep notes what is committed; nil: there is no such row.
func (c *cache) keep(k Key, row *Row) {
	if c == nil {
		return
	}
	if of := c.kinds[k.Kind]; of != nil && of.rows != nil {
		of.keep(k.ID, committed(row))
		c.rows.Remove(k)
		return
	}
	if row != nil && len(row.Value) > cacheValue {
		c.rows.Remove(k)
		return
	}
	c.rows.Add(k, committed(row))
}

// committed is a row as it would be read; nil stays nil.
func committed(row *Row) *Row {
	if row == nil {
		return nil
	}
	own := *row
	own.Due, own.Seen, own.Owner = fromMicros(micros(row.Due)), fromMicros(micros(row.Seen)), local
	return &own
}

// keep notes a row of the kind, and gives all of them up when they become too many.
func (k *kind) keep(id string, row *Row) {
	if old := k.rows[id]; old != nil {
		k.bytes -= len(id) + len(old.Value)
		delete(k.rows, id)
	}
	if row == nil || k.rows == nil {
		return
	}
	k.rows[id] = row
	k.bytes += len(id) + len(row.Value)
	if len(k.rows) > kindRows || k.bytes > kindBytes {
		k.rows, k.found = nil, time.Now()
	}
}

// clear is called when rows may have changed in another way. That a kind has many is remembered.
func (c *cache) clear() {
	if c == nil {
		return
	}
	c.rows.Purge()
	for name, k := range c.kinds {
		if k.rows != nil {
			delete(c.kinds, name)
		}
	}
}
