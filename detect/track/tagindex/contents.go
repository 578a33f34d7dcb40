package tagindex

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/bellbuoy/bellbuoy/detect"
)

// contents holds what manifests say, by their digests. It is bounded in entries and in bytes.
type contents struct {
	mu       sync.Mutex
	lru      *simplelru.LRU[string, *Content]
	bytes    int
	maxBytes int
}

func newContents(b Bounds) *contents {
	c := &contents{maxBytes: b.ContentBytes}
	// fails for sizes below 1 only
	c.lru, _ = simplelru.NewLRU(b.Rows, func(_ string, old *Content) { c.bytes -= old.Cost })
	return c
}

// size returns the bytes of all contents, about.
func (c *contents) size() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.bytes
}

func (c *contents) get(digest string) *Content {
	c.mu.Lock()
	defer c.mu.Unlock()
	found, _ := c.lru.Get(digest)
	return found
}

// add remembers a content under its digest, which the caller has computed from the bytes.
func (c *contents) add(digest string, content *Content) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.lru.Get(digest)
	if ok && (known.whole || !content.whole) || content.Cost > c.maxBytes/4 {
		return
	}
	c.lru.Remove(digest)
	c.bytes += content.Cost
	c.lru.Add(digest, content)
	for c.bytes > c.maxBytes {
		c.lru.RemoveOldest()
	}
}

// Content returns what a manifest says if it is in memory, or nil.
func (t *Index) Content(digest string) *Content { return t.contents.get(digest) }

// ContentRead returns what the manifest says that an answer has shown, or nil. The bytes of a
// digest are parsed once.
func (t *Index) ContentRead(op *detect.Operation) *Content {
	digest := op.Got.Digest
	if digest == "" {
		digest = op.DigestRead()
	}
	c := t.contents.get(digest)
	if c != nil && c.whole || op.Got.Bytes == nil {
		return c
	}
	m, err := detect.ReadManifest(op.Got.Bytes, op.Got.MediaType)
	if err != nil {
		return c
	}
	c = newContent(m, true)
	if op.Got.Digest != "" {
		t.contents.add(op.Got.Digest, c)
	}
	return c
}

// KeepPut remembers the content of a manifest that was put, because its client or others will read
// it.
func (t *Index) KeepPut(digest string, m *detect.Manifest) {
	t.contents.add(digest, newContent(m, len(m.Layers) > 0 || len(m.Children) > 0))
}

// maxLoaded bounds the manifests that one call of LoadContents brings into memory.
const maxLoaded = 512

// LoadContents brings the contents of manifests and of their children from the ledger into memory.
// It reports whether there were any. If the store fails there are fewer.
func (t *Index) LoadContents(ctx context.Context, p Place, digests []string) (found bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_ = t.ledger.View(ctx, func(v detect.View) error {
		for len(digests) > 0 && len(digests) < maxLoaded {
			digest := digests[0]
			digests = digests[1:]
			if t.contents.get(digest) != nil {
				continue
			}
			row, ok, err := Read[ManifestRow](v, p.ManifestKey(digest))
			if err != nil {
				return err
			}
			if !ok || row.Artifact.Kind == "" {
				continue
			}
			found = true
			t.contents.add(digest, newContent(row.Manifest(), false))
			for i := range row.Artifact.Children {
				digests = append(digests, row.Artifact.Children[i].Digest)
			}
		}
		return nil
	})
	return found
}

// BlobID stands for the digest of a blob where millions of them may be remembered. If two digests
// have the same BlobID, a blob may be counted for the wrong one of two pulls.
type BlobID uint64

var blobSeed = maphash.MakeSeed()

// IDOf returns the BlobID of a digest.
func IDOf(digest string) BlobID { return BlobID(maphash.String(blobSeed, digest)) }

// Content is what the bytes of a manifest say, whatever repository it is in. It is shared and never
// changed. A nil *Content lists nothing.
type Content struct {
	Artifact *detect.Artifact // the manifest's
	IsIndex  bool
	Cost     int // bytes of memory, about

	manifest *detect.Manifest
	config   BlobID
	layers   []BlobID
	whole    bool // read from the bytes, with annotations; not from a row
}

func newContent(m *detect.Manifest, whole bool) *Content {
	c := &Content{manifest: m, Artifact: &m.Artifact, IsIndex: m.Artifact.IsIndex(), Cost: costOf(m), whole: whole}
	if m.Config != "" {
		c.config = IDOf(m.Config)
	}
	if len(m.Layers) > 0 {
		c.layers = make([]BlobID, len(m.Layers))
		for i, l := range m.Layers {
			c.layers[i] = IDOf(l)
		}
	}
	for i := range m.Children {
		if child := &m.Children[i]; !detect.IsManifestType(child.MediaType) {
			// a blob: the caches of BuildKit are indexes that list blobs
			c.layers = append(c.layers, IDOf(child.Digest))
		}
	}
	return c
}

// Lists reports whether a blob is the config or a layer of the manifest.
func (c *Content) Lists(b BlobID) bool {
	return c != nil && (c.config == b && b != 0 || c.isLayer(b))
}

// Downloads reports whether a pull of this content is a download once the blob moves. A layer makes
// it one, and any blob of an artifact without layers.
func (c *Content) Downloads(b BlobID) bool {
	return c != nil && (c.isLayer(b) || len(c.layers) == 0 && c.config == b && b != 0)
}

func (c *Content) isLayer(b BlobID) bool {
	for _, l := range c.layers {
		if l == b {
			return true
		}
	}
	return false
}

// HasChild reports whether a digest is that of a child of this index.
func (c *Content) HasChild(digest string) bool {
	if c == nil || !c.IsIndex {
		return false
	}
	for i := range c.Artifact.Children {
		if c.Artifact.Children[i].Digest == digest {
			return true
		}
	}
	_, other := slices.BinarySearch(c.manifest.Others, digest)
	return other
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
