package track

import (
	"hash/maphash"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/bellbuoy/bellbuoy/detect"
)

// contents keeps in memory what manifests hold, by their digests. It is bounded in entries and in
// bytes.
type contents struct {
	mu       sync.Mutex
	lru      *simplelru.LRU[string, *content]
	bytes    int
	maxBytes int
}

func newContents(b Bounds) *contents {
	c := &contents{maxBytes: b.ContentBytes}
	// fails for sizes below 1 only
	c.lru, _ = simplelru.NewLRU(b.Index, func(_ string, old *content) { c.bytes -= old.cost })
	return c
}

// size returns the bytes of all contents, about.
func (c *contents) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

// get returns the content of a manifest, or nil.
func (c *contents) get(digest string) *content {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, _ := c.lru.Get(digest)
	return found
}

// keep remembers a content under its digest, which the caller has computed from the bytes.
func (c *contents) keep(digest string, content *content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.lru.Get(digest)
	if ok && (known.noted || !content.noted) || content.cost > c.maxBytes/4 {
		return
	}
	c.lru.Remove(digest)
	c.bytes += content.cost
	c.lru.Add(digest, content)
	for c.bytes > c.maxBytes {
		c.lru.RemoveOldest()
	}
}

// blobID stands for the digest of a blob where millions of them may be remembered. If two digests
// have the same, a blob may be counted for the wrong one of two pulls.
type blobID uint64

var blobSeed = maphash.MakeSeed()

func idOf(digest string) blobID { return blobID(maphash.String(blobSeed, digest)) }

// content is what is remembered of the bytes of a manifest, whatever repository it is in. It is
// shared and never changed.
type content struct {
	manifest *detect.Manifest
	artifact *detect.Artifact // the manifest's
	index    bool
	config   blobID
	layers   []blobID
	own      int64 // bytes of the manifest
	noted    bool  // read from the bytes, with annotations; not from a row
	cost     int   // bytes of memory, about
}

func (c *content) lists(b blobID) bool { return c.config == b && b != 0 || c.isLayer(b) }

// downloads reports whether a pull of this content is a download once the blob moves. A layer makes
// it one, and any blob of an artifact without layers.
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
		if child := &m.Children[i]; !detect.IsManifestType(child.MediaType) {
			// a blob: the caches of BuildKit are indexes that list blobs
			c.layers = append(c.layers, idOf(child.Digest))
		}
	}
	return c
}

// costOf is about how many bytes of memory a manifest's content takes.
func costOf(m *detect.Manifest) int {
	const text, child, note = 16, 88, 64
	n := 512 + len(m.MediaType) + len(m.ArtifactType) + len(m.ConfigType) + 8*len(m.Sizes)
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
