// Package track makes events out of operations: it finds out what the requests of one client in one
// repository add up to.
//
// A Tracker has three parts.
//
// Writes are in this package. Intend commits an intent before the last byte of a write goes
// upstream. Settle turns the intent into its event, or into none, before the client gets its
// answer. LeaveOpen leaves it open: the Tracker then asks the upstream until the upstream shows
// what became of the write. A push by digest waits, as a row of the ledger, for the index or the
// tag that it belongs to.
//
// Reads are in package pulls: Start, Answered and End observe a request.
//
// The tag index is in package tagindex: it learns from what upstreams answer on which digest a tag
// stands, and what a digest is, so that a delete can say what it deleted.
//
// No part opens a connection or writes a log: the Tracker asks upstreams through Asker, and stores
// rows and events through detect.Ledger.
package track

import (
	"context"
	"io"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/pulls"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// Asker asks an upstream with bellbuoy's own credentials. It is the consumer's view of
// proxy/upstream.
type Asker interface {
	// Manifest returns what stands at a tag or digest. Found.Absent is only set when the
	// upstream says that nothing stands there. An error means that the upstream does not say.
	Manifest(ctx context.Context, upstream, hint, repository, reference string) (detect.Found, error)
	// Read reads the manifest of a digest into Found.Manifest and checks its digest. An error
	// means that the manifest cannot be read now.
	Read(ctx context.Context, upstream, hint, repository, digest string) (detect.Found, error)
	// Chart does what Manifest does for a chart's version.
	Chart(ctx context.Context, upstream, tenant, name, version string) (detect.Found, error)
	// ChartIndex opens the index.yaml of a tenant.
	ChartIndex(ctx context.Context, upstream, tenant string) (io.ReadCloser, error)
}

// Tracker makes events out of operations. All its methods are safe for concurrent use.
type Tracker struct {
	*services
	*writes
	tags     *tagindex.Index
	pulls    *pulls.Pulls
	recovery *recovery
}

// services are what all parts of a Tracker use.
type services struct {
	cfg    atomic.Pointer[Config]
	ledger detect.Ledger
	ask    Asker
}

// New makes a Tracker. Run runs its timers.
func New(cfg Config, ledger detect.Ledger, ask Asker) *Tracker {
	all := &services{ledger: ledger, ask: ask}
	cfg = cfg.withDefaults()
	all.cfg.Store(&cfg)
	tags := tagindex.New(ledger, cfg.Bounds.index())
	reads := pulls.New(cfg.pulls(), tags, ledger.Record)
	writes := &writes{services: all, tags: tags, pulls: reads, reading: make(chan struct{}, readers)}
	writes.acknowledged.notEmpty = make(chan struct{}, 1)
	writes.lookAt(time.Now()) // rows of an earlier process may wait
	return &Tracker{services: all, writes: writes, tags: tags, pulls: reads, recovery: &recovery{services: all, tags: tags, writes: writes}}
}

// Transfer is what the Tracker remembers of one request between Start and End.
type Transfer = pulls.Transfer

// Start begins a transfer: the request is about to be forwarded. The caller hands the Transfer to
// Answered and End.
func (t *Tracker) Start(op *detect.Operation) Transfer { return t.pulls.Start(op) }

// Answered is called when the answer's status and headers are known. A read of a tag may show what
// became of an open intent.
func (t *Tracker) Answered(tr *Transfer, op *detect.Operation) {
	t.pulls.Answered(tr, op)
	if op.Action == detect.ManifestHead || op.Action == detect.ManifestGet {
		t.recovery.settleShown(op)
	}
}

// End observes the end of the answer's body, whole or broken off. op.Got and op.Complete are set.
func (t *Tracker) End(tr *Transfer, op *detect.Operation) { t.pulls.End(tr, op) }

// Observation is what bellbuoy index has read of a tag or a digest.
type Observation = tagindex.Observation

// Learn stores what bellbuoy index has read, without any event. The observations of one repository
// share a transaction.
func (t *Tracker) Learn(ctx context.Context, all ...Observation) error {
	return t.tags.Learn(ctx, all...)
}

// MarkIndexed stores that bellbuoy index has read every tag of a repository.
func (t *Tracker) MarkIndexed(ctx context.Context, upstream, repository string) error {
	return t.tags.MarkIndexed(ctx, upstream, repository)
}

// Indexed reports whether every tag of a repository is known: bellbuoy index has read it, or each
// tag of a list that the upstream answered to a client was known. Only then does TagsOf return all
// tags that exist.
func (t *Tracker) Indexed(ctx context.Context, upstream, hint, repository string) bool {
	return t.tags.Indexed(ctx, place(upstream, hint, repository))
}

// Standing returns the digest on which a tag stands, as far as bellbuoy knows. absent means that
// nothing stands there.
func (t *Tracker) Standing(upstream, hint, repository, tag string) (digest string, absent, known bool) {
	return t.tags.Standing(place(upstream, hint, repository), tag)
}

// TagsOf returns the tags that stand on a digest, as far as bellbuoy knows, sorted.
func (t *Tracker) TagsOf(ctx context.Context, upstream, hint, repository, digest string) []string {
	return t.tags.TagsOf(ctx, place(upstream, hint, repository), digest)
}

// ManifestKnown reports whether bellbuoy has seen a manifest in a repository.
func (t *Tracker) ManifestKnown(ctx context.Context, upstream, hint, repository, digest string) bool {
	return t.tags.ManifestKnown(ctx, place(upstream, hint, repository), digest)
}

// Tags returns tags of the tag index behind a cursor, at most limit, and the cursor behind them.
// The first cursor is "", and so is the one behind the last tag. rows are those of the ledger.
func (t *Tracker) Tags(ctx context.Context, rows tagindex.Pager, after string, limit int) ([]tagindex.TagStanding, string, error) {
	return tagindex.Page(ctx, rows, after, limit)
}

// Kind returns what a digest is, as far as bellbuoy knows; else "".
func (t *Tracker) Kind(ctx context.Context, upstream, repository, digest string) detect.ArtifactKind {
	return t.tags.Kind(ctx, place(upstream, "", repository), digest)
}

// SizeOf returns the size of an artifact if bellbuoy knows it, so that a delete needs no GET for
// it.
func (t *Tracker) SizeOf(ctx context.Context, upstream, hint, repository, digest string) (size int64, known bool) {
	return t.tags.SizeOf(ctx, place(upstream, hint, repository), digest)
}

func place(upstream, hint, repository string) tagindex.Place {
	return tagindex.Place{Upstream: upstream, Hint: hint, Repository: repository}
}

// Configure changes the configuration. The bounds of the tag index keep their first values.
func (t *Tracker) Configure(cfg Config) {
	cfg = cfg.withDefaults()
	t.cfg.Store(&cfg)
	t.pulls.Configure(cfg.pulls())
}

func (t *services) config() Config { return *t.cfg.Load() }

func (t *services) visibility(repository string) string {
	if f := t.cfg.Load().Visibility; f != nil {
		return f(repository)
	}
	return ""
}

// Stats are counts for metrics.
type Stats struct {
	OpenIntents  int   // writes whose outcome is unknown
	GivenUp      int64 // writes whose outcome the upstream has not shown for 7 days
	InFlight     int   // writes that wait for their answer
	Sessions     int
	SessionBytes int
	HeldPushes   int // when rows were last looked at
	Index        int // entries of the cache of the tag index
	ContentBytes int
	Hits, Misses int64 // of the cache of the tag index
	Dropped      int64 // observations for which memory or the store had no room
}

// Stats returns the counts of now.
func (t *Tracker) Stats() Stats {
	x := t.tags.Stats()
	s := Stats{
		OpenIntents: t.open.len(), GivenUp: t.givenUp.Load(), InFlight: t.inFlight.len(), HeldPushes: int(t.untagged.Load()),
		Index: x.Rows, ContentBytes: x.ContentBytes, Hits: x.Hits, Misses: x.Misses, Dropped: x.Dropped,
	}
	s.Sessions, s.SessionBytes = t.pulls.Sessions()
	return s
}
