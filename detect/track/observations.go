package track

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

// Learned is what an upstream has shown of a tag or a digest, to a client or to bellbuoy index.
type Learned struct {
	Upstream, Hint, Repository string

	Tag       string // "" where a manifest was read by its digest
	Digest    string
	MediaType string
	Manifest  *detect.Manifest // nil where only the digest is known
	Size      int64            // size of the manifest in bytes; 0 where it was not read
	// when the upstream was asked; later writes win over what it said then
	At   time.Time
	Read bool // a client has read it: such an observation never replaces an index by an image
}

func (l *Learned) place() place { return place{l.Upstream, l.Hint, l.Repository} }

// observations wait in bounded memory until they are stored.
type observations struct {
	mu      sync.Mutex
	byScope map[string][]Learned
	// what the last flush took, and what writes took since: it may not be stored yet
	taken   map[string][]Learned
	n       int
	bytes   int // of the observations that wait
	dropped atomic.Int64
}

// Learn stores what an index walk has found, without any event. The observations of one repository
// share a transaction.
func (t *tagIndex) Learn(ctx context.Context, all ...Learned) error {
	byScope := map[string][]Learned{}
	for _, l := range all {
		s := l.place().scope()
		byScope[s] = append(byScope[s], l)
	}
	for s, list := range byScope {
		if err := t.store(ctx, s, list); err != nil {
			return err
		}
	}
	return nil
}

// observe adds what the answer to a read has shown, unless it is known already.
func (t *tagIndex) observe(op *detect.Operation, tag, digest string, c *content) {
	if digest == "" || len(digest) > detect.MaxDigest {
		return
	}
	p := placeOf(op)
	if t.fresh(p, tag, digest, op, c) {
		return
	}
	l := Learned{Upstream: p.Upstream, Hint: p.Hint, Repository: p.Repository, Tag: tag, Digest: digest, MediaType: op.MediaType, At: op.At, Read: true}
	if c != nil && (digest == op.Got.Digest || digestAlgorithm(digest) != digestAlgorithm(op.Got.Digest)) {
		// the content belongs to the digest of its bytes alone
		l.Manifest, l.Size = c.manifest, c.own
	}
	if !t.learned.add(l, t.cfg.Load().Bounds) {
		return
	}
	t.rows.set(p.manifestKey(digest), seenManifest{full: l.Manifest != nil, size: manifestSize(l.Manifest)})
	if _, _, ok := get[tagRow](t.rows, p.tagKey(tag)); tag != "" && !ok {
		t.rows.set(p.tagKey(tag), tagRow{Digest: digest, At: op.At})
	}
}

// fresh reports whether a read has shown nothing new, or something that a later write has
// overtaken.
func (t *tagIndex) fresh(p place, tag, digest string, op *detect.Operation, c *content) bool {
	if tag != "" {
		row, at, ok := get[tagRow](t.rows, p.tagKey(tag))
		if ok && row.Digest != digest && row.At.After(op.At) {
			return true
		}
		if !ok || row.Digest != digest || time.Since(at) > freshness {
			return false
		}
	}
	m, at, ok := get[seenManifest](t.rows, p.manifestKey(digest))
	return ok && time.Since(at) < freshness && (m.full || c == nil)
}

func manifestSize(m *detect.Manifest) int64 {
	if m == nil {
		return 0
	}
	return m.Artifact.Size
}

// cost is about how many bytes of memory an observation takes.
func (l *Learned) cost() int {
	n := 256 + len(l.Upstream) + len(l.Hint) + len(l.Repository) + len(l.Tag) + len(l.Digest) + len(l.MediaType)
	if l.Manifest != nil {
		n += costOf(l.Manifest)
	}
	return n
}

func (q *observations) add(l Learned, b Bounds) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	cost := l.cost()
	if q.n >= b.Learned || q.bytes+cost > b.LearnedBytes {
		q.dropped.Add(1)
		return false
	}
	if q.byScope == nil {
		q.byScope = map[string][]Learned{}
	}
	s := l.place().scope()
	q.byScope[s] = append(q.byScope[s], l)
	q.n++
	q.bytes += cost
	return true
}

func (q *observations) take() map[string][]Learned {
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
func (q *observations) takeScope(s string) []Learned {
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
			q.taken = map[string][]Learned{}
		}
		q.taken[s] = append(slices.Clip(q.taken[s]), withoutManifests(list)...)
	}
	return list
}

// withoutManifests returns what is remembered of observations while they are being stored.
func withoutManifests(list []Learned) []Learned {
	kept := slices.Clone(list)
	for i := range kept {
		kept[i].Manifest = nil
	}
	return kept
}

// tagsOn returns the tags that were observed on a digest and may not be stored yet.
func (q *observations) tagsOn(p place, digest string) (tags []string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, list := range [...][]Learned{q.byScope[p.scope()], q.taken[p.scope()]} {
		for i := range list {
			if l := &list[i]; l.Tag != "" && l.Digest == digest && l.place() == p {
				tags = append(tags, l.Tag)
			}
		}
	}
	return tags
}

// flush stores the observations. What the store refuses is dropped: the next read shows it again.
func (t *tagIndex) flush(ctx context.Context) {
	failed := false
	for s, list := range t.learned.take() {
		if !failed {
			failed = t.store(ctx, s, list) != nil
		}
		if failed {
			t.learned.dropped.Add(int64(len(list)))
		}
	}
}

func (t *tagIndex) store(ctx context.Context, s string, list []Learned) error {
	var final commitResult[detect.Changes]
	now := time.Now()
	err := t.ledger.Commit(ctx, s, func(v detect.View) (detect.Changes, error) {
		tx := transaction{view: v, now: now}
		err := learnAll(&tx, list)
		final.set(tx.Changes)
		return tx.Changes, err
	})
	if err != nil {
		return fmt.Errorf("storing what was learned: %w", err)
	}
	if changes, ok := final.get(); ok {
		t.rows.apply(changes)
	}
	return nil
}

// lesson makes rows of the observations of one scope, within a transaction.
type lesson struct {
	*transaction
	done map[detect.Key]bool // rows that an observation has decided
}

// learnAll makes rows of observations of one scope.
func learnAll(tx *transaction, list []Learned) error {
	at := tx.w.place
	tx.learning = true
	defer func() { tx.w.place, tx.learning = at, false }()
	l := lesson{tx, map[detect.Key]bool{}}
	for i := len(list) - 1; i >= 0; i-- {
		// the newest first: it decides its rows, and older observations leave them alone
		if err := l.learn(&list[i]); err != nil {
			return err
		}
	}
	return nil
}

// learn makes rows of one observation. Later writes win over it.
func (tx lesson) learn(l *Learned) error {
	p := l.place()
	tx.w.place = p
	if k := p.repositoryKey(); !tx.done[k] {
		tx.done[k] = true
		if _, ok, err := tx.Get(k); err != nil {
			return err
		} else if !ok {
			tx.put(newRow(k, repositoryRow{First: l.At}, tx.now))
		}
	}
	if l.Tag != "" && !tx.done[p.tagKey(l.Tag)] {
		tx.done[p.tagKey(l.Tag)] = true
		if err := tx.tag(l); err != nil {
			return err
		}
	}
	if k := p.manifestKey(l.Digest); !tx.done[k] {
		tx.done[k] = true
		return tx.manifest(l, k)
	}
	return nil
}

func (tx lesson) tag(l *Learned) error {
	row, ok, err := read[tagRow](tx, tx.w.tagKey(l.Tag))
	if err != nil {
		return err
	}
	if ok && row.At.After(l.At) {
		return nil
	}
	if ok && l.Read && row.Digest != "" && row.Digest != l.Digest {
		stood, known, err := read[manifestRow](tx, tx.w.manifestKey(row.Digest))
		if err != nil || known && isIndexKind(&stood.Artifact) && !l.isIndex() {
			return err // some registries answer with an image instead of an index, by Accept
		}
	}
	now := tx.now
	tx.now = l.At
	_, err = tx.putTag(l.Tag, l.Digest)
	tx.now = now
	return err
}

func (l *Learned) isIndex() bool {
	if l.Manifest != nil {
		return isIndexKind(&l.Manifest.Artifact)
	}
	return detect.IsIndexType(l.MediaType)
}

func (tx lesson) manifest(l *Learned, k detect.Key) error {
	known, ok, err := read[manifestRow](tx, k)
	if err != nil {
		return err
	}
	_, suffix, fallback := detect.FallbackTag(l.Tag)
	book := l.isIndex() && fallback && suffix == "" && (!ok || known.Book)
	if l.Tag == "" {
		book = known.Book
	}
	switch {
	case l.Manifest != nil:
		row := rowOf(l.Manifest, l.Size)
		row.Artifact.Annotations, row.Book = nil, book
		known = *row
	case ok && known.Artifact.Kind != "": // the row was used
	default:
		known = manifestRow{Artifact: detect.Artifact{MediaType: l.MediaType}, Book: book}
	}
	tx.put(newRow(k, known, tx.now))
	tx.stands(l.Digest, &known, l.At)
	return nil
}
