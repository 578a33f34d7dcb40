package track

import (
	"context"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// emit records the events of pulls and downloads. No request waits for that: the worker looks up
// what is not in memory.
func (t *reads) emit(events []detect.Event) {
	if len(events) == 0 {
		return
	}
	cfg := t.cfg.Load()
	known := events[:0]
	for i := range events {
		e := &events[i]
		if !cfg.Accessories && e.Artifact != nil && e.Artifact.Kind.Accessory() {
			continue
		}
		e.Visibility = t.visibility(e.Repository)
		if t.completeFromMemory(e) || !t.later(t.completing(*e)) {
			known = append(known, *e)
		}
	}
	if len(known) > 0 {
		t.ledger.Record(known...)
	}
}

// completeFromMemory adds what the caches hold of a pulled digest and its repository. It reports
// false if the ledger may hold more.
func (t *reads) completeFromMemory(e *detect.Event) bool {
	p := place{e.Upstream, e.Hint, e.Repository}
	repository, _, ok := get[repositoryRow](t.tags.rows, p.repositoryKey())
	if !ok {
		return false
	}
	e.FirstSeen = repository.First
	if e.Type == detect.DownloadChart {
		return true
	}
	tags, at, ok := get[[]string](t.tags.rows, p.taggedPrefix(e.Digest))
	if !ok || time.Since(at) > freshness {
		return false
	}
	e.KnownTags = knownTags(tags, e.Tags)
	t.sizeFromMemory(p, e)
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

// sizeFromMemory sets the size of a pulled index with all its children, if the cache has it.
func (t *reads) sizeFromMemory(p place, e *detect.Event) {
	if e.Artifact == nil || e.Artifact.Kind != detect.Index {
		return
	}
	if m, _, ok := get[seenManifest](t.tags.rows, p.manifestKey(e.Digest)); ok && m.full && m.size > e.Artifact.Size {
		a := *e.Artifact
		a.Size = m.size
		e.Artifact = &a
	}
}

// completing returns the job that looks up what the caches do not hold, and records the event.
func (t *reads) completing(e detect.Event) func(context.Context) {
	return func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		p := place{e.Upstream, e.Hint, e.Repository}
		_, _ = t.view(ctx, func(v detect.View) error { // a store that fails makes events plainer
			row, ok, err := read[repositoryRow](v, p.repositoryKey())
			if err != nil {
				return err
			}
			if !ok {
				// the repository was not seen before; the observation of the same
				// read adds the row
				row.First = e.At
			}
			t.tags.rows.set(p.repositoryKey(), row)
			if e.Type == detect.DownloadChart {
				return nil
			}
			tags, err := tagsIn(v, p.taggedPrefix(e.Digest), maxKnownTags)
			if err == nil {
				t.tags.rows.set(p.taggedPrefix(e.Digest), tags)
			}
			return err
		})
		t.completeFromMemory(&e)
		t.ledger.Record(e)
	}
}
