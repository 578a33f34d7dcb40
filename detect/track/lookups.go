package track

import (
	"context"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// patience is how long a look-up in the ledger may take, where the caller set no bound.
const patience = 500 * time.Millisecond

// tagIndex is what the answers of upstreams have shown: on which digests tags stand, and what
// digests are. The rows of the ledger hold it; caches hold what was used lately.
type tagIndex struct {
	*services
	rows     *rowCache
	contents *contents
	learned  observations // observations on their way into the ledger
}

// Standing returns the digest on which a tag stands, as far as bellbuoy knows. absent means that
// nothing stands there.
func (t *tagIndex) Standing(upstream, hint, repository, tag string) (digest string, absent, known bool) {
	k := place{upstream, hint, repository}.tagKey(tag)
	row, at, ok := get[tagRow](t.rows, k)
	if !ok || time.Since(at) > freshness {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		found, err := t.view(ctx, func(v detect.View) (err error) {
			row, ok, err = read[tagRow](v, k)
			return err
		})
		if !found || err != nil || !ok {
			return "", false, false
		}
		t.rows.set(k, row)
	}
	return row.Digest, row.Digest == "", true
}

// view reads the ledger. It reports whether it could: callers go on without what a failing store
// would have shown.
func (t *services) view(ctx context.Context, look func(detect.View) error) (bool, error) {
	if err := t.ledger.View(ctx, look); err != nil {
		return false, err
	}
	return true, nil
}

// TagsOf returns the tags that stand on a digest, as far as bellbuoy knows, sorted: those in the
// ledger, and those that were observed just now.
func (t *tagIndex) TagsOf(ctx context.Context, upstream, hint, repository, digest string) []string {
	p := place{upstream, hint, repository}
	tags := t.tagsStored(ctx, p, digest)
	for _, tag := range t.learned.tagsOn(p, digest) {
		row, _, ok := get[tagRow](t.rows, p.tagKey(tag))
		moved := ok && row.Digest != digest
		if !moved && !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	slices.Sort(tags)
	return tags
}

func (t *tagIndex) tagsStored(ctx context.Context, p place, digest string) []string {
	prefix := p.taggedPrefix(digest)
	if tags, at, ok := get[[]string](t.rows, prefix); ok && time.Since(at) < freshness {
		return slices.Clone(tags)
	}
	tags := []string{}
	ok, err := t.view(ctx, func(v detect.View) error {
		var err error
		tags, err = tagsIn(v, prefix, maxTags)
		return err
	})
	if !ok || err != nil {
		return nil
	}
	if len(tags) <= maxKnownTags {
		t.rows.set(prefix, tags)
	}
	return slices.Clone(tags)
}

// maxKnownTags bounds the tags in the event of a pull, and in an entry of the cache.
const maxKnownTags = 100

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
func (t *tagIndex) ManifestKnown(ctx context.Context, upstream, hint, repository, digest string) bool {
	k := place{upstream, hint, repository}.manifestKey(digest)
	if _, _, ok := get[seenManifest](t.rows, k); ok {
		return true
	}
	_, known := t.manifestRow(ctx, k)
	return known
}

// SizeOf returns the size of an artifact if bellbuoy knows it, so that a delete needs no GET for
// it.
func (t *tagIndex) SizeOf(ctx context.Context, upstream, hint, repository, digest string) (size int64, known bool) {
	k := place{upstream, hint, repository}.manifestKey(digest)
	if m, _, ok := get[seenManifest](t.rows, k); ok && m.full {
		return m.size, true
	}
	row, known := t.manifestRow(ctx, k)
	return row.Artifact.Size, known && row.Artifact.Kind != ""
}

func (t *tagIndex) manifestRow(ctx context.Context, k detect.Key) (row manifestRow, known bool) {
	ok, err := t.view(ctx, func(v detect.View) (err error) {
		row, known, err = read[manifestRow](v, k)
		return err
	})
	if !ok || err != nil {
		return manifestRow{}, false
	}
	if known {
		t.rows.set(k, seenManifest{full: row.Artifact.Kind != "", size: row.Artifact.Size})
	}
	return row, known
}

// subjectSeen reports whether the manifest that an accessory belongs to is in the cache.
func (t *tagIndex) subjectSeen(w *write) bool {
	if w.Manifest == nil || w.Manifest.Artifact.Subject == "" {
		return false
	}
	_, _, ok := get[seenManifest](t.rows, w.manifestKey(w.Manifest.Artifact.Subject))
	return ok
}

// childSizes returns the sizes of the children of an index, as far as they are in the cache.
func (t *tagIndex) childSizes(w *write) map[string]int64 {
	if w.Manifest == nil || len(w.Manifest.Artifact.Children) == 0 {
		return nil
	}
	sizes := map[string]int64{}
	for i := range w.Manifest.Artifact.Children {
		digest := w.Manifest.Artifact.Children[i].Digest
		if m, _, ok := get[seenManifest](t.rows, w.manifestKey(digest)); ok && m.full {
			sizes[digest] = m.size
		}
	}
	return sizes
}

// MarkIndexed stores that bellbuoy index has read every tag of a repository.
func (t *tagIndex) MarkIndexed(ctx context.Context, upstream, repository string) error {
	row := detect.Row{Key: rowKey(rowIndexed, upstream, repository), Seen: time.Now()}
	return t.ledger.Commit(ctx, place{upstream, "", repository}.scope(), func(detect.View) (detect.Changes, error) {
		return detect.Changes{Put: []detect.Row{row}}, nil
	})
}

// Indexed reports whether bellbuoy index has read every tag of a repository. Only then does TagsOf
// return all tags that exist.
func (t *tagIndex) Indexed(ctx context.Context, upstream, hint, repository string) (indexed bool) {
	if hint != "" {
		return false
	}
	_, _ = t.view(ctx, func(v detect.View) (err error) {
		_, indexed, err = v.Get(rowKey(rowIndexed, upstream, repository))
		return err
	})
	return indexed
}
