package track

import (
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/bellbuoy/bellbuoy/detect"
)

// rowCache is the index's memory of rows. It is bounded in entries and in bytes: names and lists of
// tags are chosen by clients.
type rowCache struct {
	mu       sync.Mutex
	lru      *simplelru.LRU[detect.Key, indexed]
	bytes    int
	maxBytes int
}

// evicted is told of every entry that leaves.
func (c *rowCache) evicted(k detect.Key, e indexed) { c.bytes -= entryCost(k, e) }

func (c *rowCache) get(k detect.Key) (indexed, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lru.Get(k)
}

func (c *rowCache) add(k detect.Key, e indexed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old, ok := c.lru.Peek(k); ok { // the cache tells of no entry that is replaced
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
func entryCost(k detect.Key, e indexed) int {
	const text, entry = 16, 256
	n := entry + len(k.ID)
	switch v := e.value.(type) {
	case []string:
		for _, tag := range v {
			n += text + len(tag)
		}
	case tagRow:
		n += len(v.Digest)
	case chartRow:
		n += len(v.Chart.Name) + len(v.Chart.Version) + len(v.Chart.AppVersion) + len(v.Chart.Digest)
	case string:
		n += len(v)
	}
	return n
}
