package store

import lru "github.com/hashicorp/golang-lru/v2"

const (
	cacheRows  = 4096
	cacheValue = 1 << 10 // bytes; longer rows are not kept
)

// cache is rows as they are committed, of a file that only this process writes to: what one transaction has read or written the next one reads again,
// an intent and what settles it above all. nil: nothing is kept. It is the writer's.
type cache struct{ rows *lru.Cache[Key, *Row] } // of nil: that there is none

func newCache() *cache {
	rows, err := lru.New[Key, *Row](cacheRows)
	if err != nil { // only for a size below 1
		return nil
	}
	return &cache{rows}
}

func (c *cache) row(k Key) (row *Row, known bool) {
	if c == nil {
		return nil, false
	}
	return c.rows.Get(k)
}

// keep notes what is committed; nil: there is no such row.
func (c *cache) keep(k Key, row *Row) {
	switch {
	case c == nil:
	case row != nil && len(row.Value) > cacheValue:
		c.rows.Remove(k)
	case row == nil:
		c.rows.Add(k, nil)
	default:
		own := *row
		own.Due, own.Seen, own.Owner = fromMicros(micros(row.Due)), fromMicros(micros(row.Seen)), local
		c.rows.Add(k, &own)
	}
}

// clear is called when rows may have changed in another way.
func (c *cache) clear() {
	if c != nil {
		c.rows.Purge()
	}
}
