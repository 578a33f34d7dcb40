package track

import (
	"encoding/json"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/bellbuoy/bellbuoy/detect"
)

// index is a bounded memory of the ledger's tag index, and of manifests' contents. What it does not hold may still be in the ledger.
type index struct {
	rows         rowCache
	hits, misses atomic.Int64

	mu       sync.Mutex
	contents *simplelru.LRU[string, *content]
	bytes    int
	maxBytes int
}

// indexed is a cached row: a tagRow, repositoryRow or chartRow, []string (the tags of a digest, under their prefix), or seenManifest.
type indexed struct {
	value any
	at    time.Time
}

// seenManifest says that a manifest is there; full when its row holds what its bytes say.
type seenManifest struct {
	full bool
	size int64
}

// freshness is how long what is cached needs no further look, and a row no sign of life.
const freshness = 5 * time.Minute

// blobID stands for a blob's digest where millions of them may be remembered. Two digests that share one would only confuse
// which of two pulls a blob belongs to.
type blobID uint64

var blobSeed = maphash.MakeSeed()

func idOf(digest string) blobID { return blobID(maphash.String(blobSeed, digest)) }

// content is what is remembered of a manifest's bytes, whatever repository it is in. It is shared and never changed.
type content struct {
	manifest *detect.Manifest
	artifact *detect.Artifact // the manifest's
	index    bool
	config   blobID
	layers   []blobID
	own      int64 // bytes of the manifest
	noted    bool  // with its annotations: not from a row
	cost     int   // bytes of memory, about
}

func (c *content) lists(b blobID) bool { return c.config == b && b != 0 || c.isLayer(b) }

// downloads reports whether a pull of this content is a download once the blob moves: a layer does
// that, and any blob of an artifact without layers.
func (c *content) downloads(b blobID) bool {
	return c.isLayer(b) || len(c.layers) == 0 && c.config == b && b != 0
}

func (c *content) isLayer(b blobID) bool {
	for _, l := range c.layers {
		if l == b {
			return true
		}
	}
	return false
}

func (c *content) child(digest string) bool {
	if c == nil || !c.index {
		return false
	}
	for i := range c.artifact.Children {
		if c.artifact.Children[i].Digest == digest {
			return true
		}
	}
	_, other := slices.BinarySearch(c.manifest.Others, digest)
	return other
}

func contentOf(m *detect.Manifest, own int64) *content {
	c := &content{manifest: m, artifact: &m.Artifact, index: isIndexKind(&m.Artifact), own: own, cost: costOf(m)}
	if m.Config != "" {
		c.config = idOf(m.Config)
	}
	if len(m.Layers) > 0 {
		c.layers = make([]blobID, len(m.Layers))
		for i, l := range m.Layers {
			c.layers[i] = idOf(l)
		}
	}
	for i := range m.Children {
		if child := &m.Children[i]; !detect.IsManifestType(child.MediaType) { // a blob, as BuildKit's caches list them
			c.layers = append(c.layers, idOf(child.Digest))
		}
	}
	return c
}

// costOf is about how many bytes of memory a manifest's content takes.
func costOf(m *detect.Manifest) int {
	const text, child, note = 16, 88, 64
	n := 512 + len(m.MediaType) + len(m.ArtifactType) + len(m.ConfigType)
	for _, l := range m.Layers {
		n += text + 8 + len(l)
	}
	for _, o := range m.Others {
		n += text + len(o)
	}
	for _, p := range m.Platforms {
		n += text + len(p)
	}
	for i := range m.Children {
		c := &m.Children[i]
		n += child + len(c.Digest) + len(c.MediaType) + len(c.ArtifactType) + len(c.Platform)
	}
	for k, v := range m.Annotations {
		n += note + len(k) + len(v)
	}
	return n
}

func newIndex(b Bounds) *index {
	x := &index{maxBytes: b.ContentBytes}
	x.rows.maxBytes = b.IndexBytes
	x.rows.lru, _ = simplelru.NewLRU(b.Index, x.rows.evicted) // fails for sizes below 1 only
	x.contents, _ = simplelru.NewLRU(b.Index, func(_ string, c *content) { x.bytes -= c.cost })
	return x
}

func (x *index) contentBytes() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.bytes
}

func (x *index) content(digest string) *content {
	x.mu.Lock()
	defer x.mu.Unlock()
	c, _ := x.contents.Get(digest)
	return c
}

// keep remembers a content under its digest; the caller has computed that digest from the bytes.
func (x *index) keep(digest string, c *content) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if known, ok := x.contents.Get(digest); ok && (known.noted || !c.noted) || c.cost > x.maxBytes/4 {
		return
	}
	x.contents.Remove(digest)
	x.bytes += c.cost
	x.contents.Add(digest, c)
	for x.bytes > x.maxBytes {
		x.contents.RemoveOldest()
	}
}

// get reads a cached row.
func get[T any](x *index, k detect.Key) (value T, at time.Time, ok bool) {
	e, ok := x.rows.get(k)
	if ok {
		value, ok = e.value.(T)
	}
	if !ok {
		x.misses.Add(1)
		return value, time.Time{}, false
	}
	x.hits.Add(1)
	return value, e.at, true
}

func (x *index) set(k detect.Key, value any) { x.rows.add(k, indexed{value, time.Now()}) }

// apply brings the memory up to what was committed.
func (x *index) apply(c detect.Changes) {
	for _, k := range c.Delete {
		x.forget(k)
	}
	for _, row := range c.Put {
		switch row.Kind {
		case rowTag:
			applyRow[tagRow](x, row)
		case rowRepository:
			applyRow[repositoryRow](x, row)
		case rowChart:
			applyRow[chartRow](x, row)
		case rowManifest:
			var m manifestRow
			if json.Unmarshal(row.Value, &m) == nil {
				x.set(row.Key, seenManifest{full: m.Artifact.Kind != "", size: m.Artifact.Size})
			}
		case rowTagged:
			x.forget(row.Key)
		}
	}
}

func applyRow[T any](x *index, row detect.Row) {
	var value T
	if json.Unmarshal(row.Value, &value) == nil {
		x.set(row.Key, value)
	}
}

func (x *index) forget(k detect.Key) {
	if k.Kind == rowTagged { // the list of its digest's tags is cached
		k.ID = k.ID[:strings.LastIndex(k.ID, separator)+1]
	}
	x.rows.remove(k)
}
