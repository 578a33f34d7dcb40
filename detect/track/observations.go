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

// Learned is something that an upstream showed: bellbuoy index hands them in, and reads give them.
type Learned struct {
	Upstream, Hint, Repository string

	Tag       string // "" where a manifest was read by its digest
	Digest    string
	MediaType string
	Manifest  *detect.Manifest // nil where only the digest is known
	Size      int64            // of the manifest's bytes, where they were read
	At        time.Time        // when the upstream was asked: what it said before a later write does not undo that write
	Read      bool             // a client's read: it never replaces an index by an image
}

func (l *Learned) place() place { return place{l.Upstream, l.Hint, l.Repository} }

// learned are observations of reads on their way into the ledger.
type observations struct {
	mu      sync.Mutex
	byScope map[string][]Learned
	taken   map[string][]Learned // what the last flush took, and what writes took since: it may be on its way still
	n       int
	bytes   int // of what waits
	dropped atomic.Int64
}

// Learn stores what an index walk found, without any event. Observations of one repository share a transaction.
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

// observe notes what a read's answer showed, unless that is known already. It waits in bounded memory for the next flush.
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
		l.Manifest, l.Size = c.manifest, c.own // only under the digest that its bytes have
	}
	if !t.learned.add(l, t.cfg.Load().Bounds) {
		return
	}
	t.rows.set(p.manifestKey(digest), seenManifest{full: l.Manifest != nil, size: manifestSize(l.Manifest)})
	if _, _, ok := get[tagRow](t.rows, p.tagKey(tag)); tag != "" && !ok {
		t.rows.set(p.tagKey(tag), tagRow{Digest: digest, At: op.At})
	}
}

// fresh tells whether a read showed nothing new, or what a later write has overtaken.
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

// maxTaken bounds what is remembered of what writes took, in repositories and in each of them.
const maxTaken = 4096

// takeScope takes what was seen of one repository.
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

// withoutManifests is what of observations is remembered when they are on their way into the ledger.
func withoutManifests(list []Learned) []Learned {
	kept := slices.Clone(list)
	for i := range kept {
		kept[i].Manifest = nil
	}
	return kept
}

// tagsOn are the tags that reads have shown on a digest and that may not be stored yet.
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

// flush stores what reads taught. What the store refuses is dropped: the next read shows it again.
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

// lesson makes rows of the observations of one scope, within a decision.
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
	for i := len(list) - 1; i >= 0; i-- { // the newest first: what it settles, older ones leave alone
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
			return err // some registries answer an image for an index, by Accept
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
	case ok && known.Artifact.Kind != "": // a sign of life
	default:
		known = manifestRow{Artifact: detect.Artifact{MediaType: l.MediaType}, Book: book}
	}
	tx.put(newRow(k, known, tx.now))
	tx.stands(l.Digest, &known, l.At)
	return nil
}
