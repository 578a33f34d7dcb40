package tagindex

import (
	"context"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Complete adds to the event of a pull or download what the caches hold of its digest and its
// repository. It reports false if the ledger may hold more.
func (t *Index) Complete(e *detect.Event) bool {
	p := Place{e.Upstream, e.Hint, e.Repository}
	repository, _, ok := get[RepositoryRow](t.rows, p.RepositoryKey())
	if !ok {
		return false
	}
	e.FirstSeen = repository.First
	if e.Type == detect.DownloadChart {
		return true
	}
	tags, at, ok := get[[]string](t.rows, p.taggedPrefix(e.Digest))
	if !ok || time.Since(at) > freshness {
		return false
	}
	e.KnownTags = knownTags(tags, e.Tags)
	t.completeSize(p, e)
	return true
}

// knownTags returns the tags known for a digest, with those asked for.
func knownTags(known, asked []string) []string {
	tags := slices.Clone(known)
	for _, tag := range asked {
		if !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return tags
}

// completeSize sets the size of a pulled index with all its children, if the cache has it.
func (t *Index) completeSize(p Place, e *detect.Event) {
	if e.Artifact == nil || e.Artifact.Kind != detect.Index {
		return
	}
	if size, known := t.CachedSize(p, e.Digest); known && size > e.Artifact.Size {
		a := *e.Artifact
		a.Size = size
		e.Artifact = &a
	}
}

// CompleteFromLedger looks up what Complete did not find, and completes the event. If the store
// fails, the event has less.
func (t *Index) CompleteFromLedger(ctx context.Context, e *detect.Event) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p := Place{e.Upstream, e.Hint, e.Repository}
	_ = t.ledger.View(ctx, func(v detect.View) error {
		row, ok, err := Read[RepositoryRow](v, p.RepositoryKey())
		if err != nil {
			return err
		}
		if !ok {
			// The repository was not seen before. The observation of the same read adds
			// the row.
			row.First = e.At
		}
		t.rows.set(p.RepositoryKey(), row)
		if e.Type == detect.DownloadChart {
			return nil
		}
		tags, err := tagsIn(v, p.taggedPrefix(e.Digest), maxKnownTags)
		if err == nil {
			t.rows.set(p.taggedPrefix(e.Digest), tags)
		}
		return err
	})
	t.Complete(e)
}
