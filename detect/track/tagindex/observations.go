package tagindex

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Observation is what an upstream has shown of a tag or a digest, to a client or to bellbuoy index.
type Observation struct {
	Upstream, Hint, Repository string

	Tag       string // "" where a manifest was read by its digest
	Digest    string
	MediaType string
	Manifest  *detect.Manifest // nil where only the digest is known
	// when the upstream was asked; later writes win over what it said then
	At   time.Time
	Read bool // a client has read it: such an observation never replaces an index by an image
}

func (o *Observation) place() Place { return Place{o.Upstream, o.Hint, o.Repository} }

// observations wait in bounded memory until they are stored.
type observations struct {
	mu      sync.Mutex
	byScope map[string][]Observation
	// what the last flush took, and what writes took since: it may not be stored yet
	taken   map[string][]Observation
	n       int
	bytes   int // of the observations that wait
	dropped atomic.Int64
}

// Learn stores what bellbuoy index has read, without any event. The observations of one repository
// share a transaction.
func (t *Index) Learn(ctx context.Context, all ...Observation) error {
	byScope := map[string][]Observation{}
	for _, o := range all {
		s := o.place().Scope()
		byScope[s] = append(byScope[s], o)
	}
	for s, list := range byScope {
		if err := t.store(ctx, s, list); err != nil {
			return err
		}
	}
	return nil
}

// Observe remembers what the answer to a client's read of a manifest has shown, until Flush or a
// write stores it. c is what the manifest says, or nil. A whole list of tags shows whether all tags
// of a repository are known.
func (t *Index) Observe(op *detect.Operation, c *Content) {
	switch {
	case !op.WholeAnswer():
	case op.Action == detect.ManifestHead, op.Action == detect.ManifestGet && op.Complete:
		t.observeManifest(op, c)
	case op.Action == detect.TagsList && op.Complete:
		t.observeTagsList(op)
	}
}

func (t *Index) observeManifest(op *detect.Operation, c *Content) {
	tag, digest := op.Reference, op.DigestRead()
	if detect.IsDigest(tag) {
		tag = ""
	}
	p := PlaceOf(op)
	if digest == "" || len(digest) > detect.MaxDigest || t.fresh(p, tag, digest, op, c) {
		return
	}
	o := Observation{Upstream: p.Upstream, Hint: p.Hint, Repository: p.Repository, Tag: tag, Digest: digest, MediaType: op.MediaType, At: op.At, Read: true}
	if c != nil && (digest == op.Got.Digest || detect.DigestAlgorithm(digest) != detect.DigestAlgorithm(op.Got.Digest)) {
		// the content belongs to the digest of its bytes alone
		o.Manifest = c.manifest
	}
	if !t.observed.add(o, t.bounds) {
		return
	}
	t.rows.set(p.ManifestKey(digest), seenManifest{full: o.Manifest != nil, size: manifestSize(o.Manifest)})
	if _, _, ok := get[TagRow](t.rows, p.TagKey(tag)); tag != "" && !ok {
		t.rows.set(p.TagKey(tag), TagRow{Digest: digest, At: op.At})
	}
}

// fresh reports whether a read has shown nothing new, or something that a later write has
// overtaken.
func (t *Index) fresh(p Place, tag, digest string, op *detect.Operation, c *Content) bool {
	if tag != "" {
		row, at, ok := get[TagRow](t.rows, p.TagKey(tag))
		if ok && row.Digest != digest && row.At.After(op.At) {
			return true
		}
		if !ok || row.Digest != digest || time.Since(at) > freshness {
			return false
		}
	}
	m, at, ok := get[seenManifest](t.rows, p.ManifestKey(digest))
	return ok && time.Since(at) < freshness && (m.full || c == nil)
}

func manifestSize(m *detect.Manifest) int64 {
	if m == nil {
		return 0
	}
	return m.Artifact.Size
}

// cost is about how many bytes of memory an observation takes.
func (o *Observation) cost() int {
	n := 256 + len(o.Upstream) + len(o.Hint) + len(o.Repository) + len(o.Tag) + len(o.Digest) + len(o.MediaType)
	if o.Manifest != nil {
		n += costOf(o.Manifest)
	}
	return n
}

func (q *observations) add(o Observation, b Bounds) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost := o.cost()
	if q.n >= b.Observed || q.bytes+cost > b.ObservedBytes {
		q.dropped.Add(1)
		return false
	}
	if q.byScope == nil {
		q.byScope = map[string][]Observation{}
	}
	s := o.place().Scope()
	q.byScope[s] = append(q.byScope[s], o)
	q.n++
	q.bytes += cost
	return true
}

func (q *observations) take() map[string][]Observation {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := q.byScope
	q.byScope, q.n, q.bytes = nil, 0, 0
	q.taken = maps.Clone(all)
	return all
}

// maxTaken bounds what is remembered of the observations that are being stored: the repositories,
// and the observations of each.
const maxTaken = 4096

// takeScope takes the observations of one repository.
func (q *observations) takeScope(s string) []Observation {
	q.mu.Lock()
	defer q.mu.Unlock()
	list := q.byScope[s]
	delete(q.byScope, s)
	q.n -= len(list)
	for i := range list {
		q.bytes -= list[i].cost()
	}
	if len(list) > 0 && len(q.taken) < maxTaken && len(q.taken[s])+len(list) < maxTaken {
		if q.taken == nil {
			q.taken = map[string][]Observation{}
		}
		q.taken[s] = append(slices.Clip(q.taken[s]), withoutManifests(list)...)
	}
	return list
}

// withoutManifests returns what is remembered of observations while they are being stored.
func withoutManifests(list []Observation) []Observation {
	kept := slices.Clone(list)
	for i := range kept {
		kept[i].Manifest = nil
	}
	return kept
}

// tagsOn returns the tags that were observed on a digest and may not be stored yet.
func (q *observations) tagsOn(p Place, digest string) (tags []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, list := range [...][]Observation{q.byScope[p.Scope()], q.taken[p.Scope()]} {
		for i := range list {
			if o := &list[i]; o.Tag != "" && o.Digest == digest && o.place() == p {
				tags = append(tags, o.Tag)
			}
		}
	}
	return tags
}

// TakeObserved takes the observations of one scope, which the caller is about to store.
func (t *Index) TakeObserved(scope string) []Observation { return t.observed.takeScope(scope) }

// Flush stores the observations. What the store refuses is dropped: the next read shows it again.
func (t *Index) Flush(ctx context.Context) {
	failed := false
	for s, list := range t.observed.take() {
		if !failed {
			failed = t.store(ctx, s, list) != nil
		}
		if failed {
			t.observed.dropped.Add(int64(len(list)))
		}
	}
}

func (t *Index) store(ctx context.Context, s string, list []Observation) error {
	var final CommitResult[detect.Changes]
	now := time.Now()
	err := t.ledger.Commit(ctx, s, func(v detect.View) (detect.Changes, error) {
		tx := NewTransaction(v, now)
		err := tx.Learn(list)
		final.Set(tx.Changes)
		return tx.Changes, err
	})
	if err != nil {
		return fmt.Errorf("storing what was learned: %w", err)
	}
	if changes, ok := final.Get(); ok {
		t.rows.apply(changes)
	}
	return nil
}
