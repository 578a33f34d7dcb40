package tagindex

import (
	"encoding/json"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/bellbuoy/bellbuoy/detect"
)

// rowCache holds rows of the tag index in memory. What it does not hold may still be in the ledger.
type rowCache struct {
	hits, misses atomic.Int64

	mu       sync.Mutex
	lru      *simplelru.LRU[detect.Key, cachedRow]
	bytes    int
	maxBytes int
}

// cachedRow is a TagRow, RepositoryRow or ChartRow, the []string of the tags of a
// digest under their prefix, or a seenManifest.
type cachedRow struct {
	value any
	at    time.Time
}

// seenManifest stands for a manifest that is there. full means that its row holds what its bytes
// say.
type seenManifest struct {
	full bool
	size int64
}

// freshness is how long a cached row counts without being read again, and how long a row in use is
// not written again.
const freshness = 5 * time.Minute

func newRowCache(b Bounds) *rowCache {
	c := &rowCache{maxBytes: b.RowBytes}
	c.lru, _ = simplelru.NewLRU(b.Rows, c.evicted) // fails for sizes below 1 only
	return c
}

// get reads a cached row.
func get[T any](c *rowCache, k detect.Key) (value T, at time.Time, ok bool) {
	e, ok := c.lookup(k)
	if ok {
		value, ok = e.value.(T)
	}
	if !ok {
		c.misses.Add(1)
		return value, time.Time{}, false
	}
	c.hits.Add(1)
	return value, e.at, true
}

func (c *rowCache) set(k detect.Key, value any) { c.add(k, cachedRow{value, time.Now()}) }

// apply updates the cache by what was committed.
func (c *rowCache) apply(changes detect.Changes) {
	for _, k := range changes.Delete {
		c.forget(k)
	}
	for _, row := range changes.Put {
		switch row.Kind {
		case rowTag:
			applyRow[TagRow](c, row)
		case rowRepository:
			applyRow[RepositoryRow](c, row)
		case rowChart:
			applyRow[ChartRow](c, row)
		case rowManifest:
			var m ManifestRow
			if json.Unmarshal(row.Value, &m) == nil {
				c.set(row.Key, seenManifest{full: m.Artifact.Kind != "", size: m.Artifact.Size})
			}
		case rowTagged:
			c.forget(row.Key)
		}
	}
}

func applyRow[T any](c *rowCache, row detect.Row) {
	var value T
	if json.Unmarshal(row.Value, &value) == nil {
		c.set(row.Key, value)
	}
}

func (c *rowCache) forget(k detect.Key) {
	if k.Kind == rowTagged { // the cache has the list of the tags of a digest
		k.ID = k.ID[:strings.LastIndex(k.ID, Separator)+1]
	}
	c.remove(k)
}

// evicted is called for every entry that leaves the cache.
func (c *rowCache) evicted(k detect.Key, e cachedRow) { c.bytes -= entryCost(k, e) }

func (c *rowCache) lookup(k detect.Key) (cachedRow, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(k)
}

func (c *rowCache) add(k detect.Key, e cachedRow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.lru.Peek(k); ok {
		// the cache does not call evicted for an entry that is replaced
		c.bytes -= entryCost(k, old)
	}
	c.bytes += entryCost(k, e)
	c.lru.Add(k, e)
	for c.bytes > c.maxBytes {
		c.lru.RemoveOldest()
	}
}

func (c *rowCache) remove(k detect.Key) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lru.Remove(k)
}

func (c *rowCache) len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Len()
}

// entryCost is about how many bytes of memory an entry takes.
func entryCost(k detect.Key, e cachedRow) int {
	const text, entry = 16, 256
	n := entry + len(k.ID)
	switch v := e.value.(type) {
	case []string:
		for _, tag := range v {
			n += text + len(tag)
		}
	case TagRow:
		n += len(v.Digest)
	case ChartRow:
		n += len(v.Chart.Name) + len(v.Chart.Version) + len(v.Chart.AppVersion) + len(v.Chart.Digest)
	case string:
		n += len(v)
	}
	return n
}
