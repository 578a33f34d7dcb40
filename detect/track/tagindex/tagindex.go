// Package tagindex knows on which digests tags stand, and what digests are.
//
// An Index learns that from what upstreams answer: Observe is given the answers to clients, Learn
// what bellbuoy index has read, and the transactions of writes store what writes have done. The
// rows of the ledger hold it. Caches hold what was used lately, bounded in entries and in bytes,
// because clients choose names and lists of tags.
//
// The rest of the tracker shares three things of this package: Place, which names a repository and
// makes the keys of rows; Transaction, one run of a function within a commit of the ledger; and
// Content, what the bytes of a manifest say.
package tagindex

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Bounds limit the memory of an Index.
type Bounds struct {
	Rows          int // entries of the cache of rows, and of that of manifests
	RowBytes      int // bytes of the cache of rows
	ContentBytes  int // bytes of the cache of manifests
	Observed      int // observations that wait to be stored
	ObservedBytes int // … and their bytes
}

// Index answers on which digests tags stand, and what digests are. Its methods are safe for
// concurrent use.
type Index struct {
	ledger   detect.Ledger
	bounds   Bounds
	rows     *rowCache
	contents *contents
	observed observations // on their way into the ledger
	jobs     chan func(context.Context)
	bodies   atomic.Int64 // bytes of the bodies in jobs
}

// New makes an Index. Work must run for what no request waits for, and Flush must be called from
// time to time.
func New(ledger detect.Ledger, b Bounds) *Index {
	return &Index{ledger: ledger, bounds: b, rows: newRowCache(b), contents: newContents(b), jobs: make(chan func(context.Context), maxJobs)}
}

// Stats are counts for metrics.
type Stats struct {
	Rows         int   // entries of the cache of rows
	ContentBytes int   // bytes of the cache of manifests
	Hits, Misses int64 // of the cache of rows
	Dropped      int64 // observations for which memory or the store had no room
}

// Stats returns the counts of now.
func (t *Index) Stats() Stats {
	return Stats{
		Rows: t.rows.len(), ContentBytes: t.contents.size(),
		Hits: t.rows.hits.Load(), Misses: t.rows.misses.Load(), Dropped: t.observed.dropped.Load(),
	}
}

// patience is how long a look-up in the ledger may take, where the caller set no bound.
const patience = 500 * time.Millisecond

// Standing returns the digest on which a tag stands, as far as bellbuoy knows. absent means that
// nothing stands there.
func (t *Index) Standing(p Place, tag string) (digest string, absent, known bool) {
	k := p.TagKey(tag)
	row, at, ok := get[TagRow](t.rows, k)
	if !ok || time.Since(at) > freshness {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		err := t.ledger.View(ctx, func(v detect.View) (err error) {
			row, ok, err = Read[TagRow](v, k)
			return err
		})
		if err != nil || !ok {
			return "", false, false
		}
		t.rows.set(k, row)
	}
	return row.Digest, row.Digest == "", true
}

// TagsOf returns the tags that stand on a digest, as far as bellbuoy knows, sorted: those in the
// ledger, and those that were observed and are not stored yet.
func (t *Index) TagsOf(ctx context.Context, p Place, digest string) []string {
	tags := t.tagsStored(ctx, p, digest)
	for _, tag := range t.observed.tagsOn(p, digest) {
		row, _, ok := get[TagRow](t.rows, p.TagKey(tag))
		moved := ok && row.Digest != digest
		if !moved && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

func (t *Index) tagsStored(ctx context.Context, p Place, digest string) []string {
	prefix := p.taggedPrefix(digest)
	if tags, at, ok := get[[]string](t.rows, prefix); ok && time.Since(at) < freshness {
		return slices.Clone(tags)
	}
	tags := []string{}
	err := t.ledger.View(ctx, func(v detect.View) (err error) {
		tags, err = tagsIn(v, prefix, MaxTags)
		return err
	})
	if err != nil {
		return nil
	}
	if len(tags) <= maxKnownTags {
		t.rows.set(prefix, tags)
	}
	return slices.Clone(tags)
}

// maxKnownTags bounds the tags in the event of a pull, and in an entry of the cache.
const maxKnownTags = 100

// tagsIn returns the tags in the keys of rows that begin with a prefix, sorted.
func tagsIn(v detect.View, prefix detect.Key, limit int) ([]string, error) {
	rows, err := v.Scan(rowTagged, prefix.ID, limit)
	if err != nil {
		return nil, err
	}
	tags := make([]string, 0, len(rows))
	for _, row := range rows {
		tags = append(tags, tagOf(row.Key))
	}
	slices.Sort(tags)
	return tags, nil
}

// ManifestKnown reports whether bellbuoy has seen a manifest in a repository.
func (t *Index) ManifestKnown(ctx context.Context, p Place, digest string) bool {
	k := p.ManifestKey(digest)
	if _, _, ok := get[seenManifest](t.rows, k); ok {
		return true
	}
	_, known := t.manifestRow(ctx, k)
	return known
}

// SizeOf returns the size of an artifact if bellbuoy knows it, so that a delete needs no GET for
// it.
func (t *Index) SizeOf(ctx context.Context, p Place, digest string) (size int64, known bool) {
	if size, known := t.CachedSize(p, digest); known {
		return size, true
	}
	row, known := t.manifestRow(ctx, p.ManifestKey(digest))
	return row.Artifact.Size, known && row.Artifact.Kind != ""
}

// CachedSize does what SizeOf does, without a look-up in the ledger.
func (t *Index) CachedSize(p Place, digest string) (size int64, known bool) {
	m, _, ok := get[seenManifest](t.rows, p.ManifestKey(digest))
	return m.size, ok && m.full
}

// Cached reports whether a manifest is in the cache of rows.
func (t *Index) Cached(p Place, digest string) bool {
	_, _, ok := get[seenManifest](t.rows, p.ManifestKey(digest))
	return ok
}

// Kind returns what a digest is, as far as bellbuoy knows; else "".
func (t *Index) Kind(ctx context.Context, p Place, digest string) detect.ArtifactKind {
	row, _ := t.manifestRow(ctx, p.ManifestKey(digest))
	return row.Artifact.Kind
}

func (t *Index) manifestRow(ctx context.Context, k detect.Key) (row ManifestRow, known bool) {
	err := t.ledger.View(ctx, func(v detect.View) (err error) {
		row, known, err = Read[ManifestRow](v, k)
		return err
	})
	if err != nil {
		return ManifestRow{}, false
	}
	if known {
		t.rows.set(k, seenManifest{full: row.Artifact.Kind != "", size: row.Artifact.Size})
	}
	return row, known
}

// MarkIndexed stores that bellbuoy index has read every tag of a repository.
func (t *Index) MarkIndexed(ctx context.Context, upstream, repository string) error {
	p := Place{Upstream: upstream, Repository: repository}
	row := detect.Row{Key: p.indexedKey(), Seen: time.Now()}
	return t.ledger.Commit(ctx, p.Scope(), func(detect.View) (detect.Changes, error) {
		return detect.Changes{Put: []detect.Row{row}}, nil
	})
}

// Indexed reports whether every tag of a repository is known: bellbuoy index has read it, or each
// tag of a list that the upstream answered to a client was known. Only then does TagsOf return all
// tags that exist.
func (t *Index) Indexed(ctx context.Context, p Place) (indexed bool) {
	if p.Hint != "" {
		return false
	}
	err := t.ledger.View(ctx, func(v detect.View) (err error) {
		_, indexed, err = v.Get(p.indexedKey())
		return err
	})
	return indexed && err == nil
}

// Apply updates the cache of rows by what was committed.
func (t *Index) Apply(c detect.Changes) { t.rows.apply(c) }
