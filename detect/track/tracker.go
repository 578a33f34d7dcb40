// Package track makes events out of operations: it finds out what the requests of one client in one
// repository add up to.
//
// A Tracker has three parts.
//
// Writes. Intend commits an intent before the last byte of a write goes upstream. Settle turns the
// intent into its event, or into none, before the client gets its answer. LeaveOpen leaves it open:
// the Tracker then asks the upstream until the upstream shows what became of the write. A push by
// digest waits, as a row of the ledger, for the index or the tag that it belongs to.
//
// Reads. Start, Answered and End observe a request. They never block and never fail. What waits for
// a later request (a tag resolved by HEAD, a manifest whose layers have not been read) is kept in
// bounded memory and lost with the process.
//
// The tag index. The Tracker learns from what upstreams answer: on which digest a tag stands, and
// what a digest is. Standing, TagsOf and SizeOf answer from the tag index, so that a delete can say
// what it deleted.
//
// Package track imports only detect. It opens no connection and writes no log: it asks upstreams
// through Asker and stores rows and events through detect.Ledger.
package track

import (
	"context"
	"hash/maphash"
	"io"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Config is how a Tracker behaves. A zero duration or bound stands for the default, which
// withDefaults sets.
type Config struct {
	Accessories bool // events of signatures, attestations, SBOMs and referrers
	// how long a manifest put by digest waits for its index or tag, from its client's last
	// request on
	UntaggedPush    time.Duration
	UntaggedPushMax time.Duration // the longest time that it waits in all
	// how long a HEAD's tag waits for its GET, and a manifest read for its first blob
	Pull time.Duration
	// within this time, the same reference read again is the same pull
	Repeat time.Duration

	// Visibility returns whether a repository is "public" or "private". It must be pure. Nil
	// leaves the visibility out of events.
	Visibility func(repository string) string

	// GivenUp is called for each write that is given up: for 7 days no upstream has shown
	// whether it was done. reference is a tag, a digest or a chart's name/version. It may be
	// nil.
	GivenUp func(upstream, repository, reference string)

	Bounds Bounds
}

// Bounds limit memory. Beyond a bound, events become plainer or fewer (pulls), never wrong.
type Bounds struct {
	Sessions     int // sessions: one for each client and repository
	SessionBytes int // … and their bytes in all
	Session      int // pulls, resolved tags and other items remembered for each session
	Index        int // entries of the tag index in memory
	IndexBytes   int // … and their bytes
	ContentBytes int // manifests that bellbuoy has read
	Learned      int // observations that wait to be stored
	LearnedBytes int // … and their bytes
}

func (c Config) withDefaults() Config {
	orDuration := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	orInt := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	orDuration(&c.UntaggedPush, 30*time.Second)
	orDuration(&c.UntaggedPushMax, 24*time.Hour)
	orDuration(&c.Pull, 30*time.Second)
	orDuration(&c.Repeat, 5*time.Second)
	orInt(&c.Bounds.Sessions, 1<<16)
	orInt(&c.Bounds.SessionBytes, 64<<20)
	orInt(&c.Bounds.Session, 64)
	orInt(&c.Bounds.Index, 1<<16)
	orInt(&c.Bounds.IndexBytes, 32<<20)
	orInt(&c.Bounds.ContentBytes, 16<<20)
	orInt(&c.Bounds.Learned, 4096)
	orInt(&c.Bounds.LearnedBytes, 16<<20)
	return c
}

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
	*tagIndex
	*reads
	*writes
	recovery *recovery
}

// services are what all parts of a Tracker use.
type services struct {
	cfg     atomic.Pointer[Config]
	ledger  detect.Ledger
	ask     Asker
	started time.Time
	jobs    chan func(context.Context) // look-ups in the ledger, for the worker
}

// New makes a Tracker. Run runs its timers.
func New(cfg Config, ledger detect.Ledger, ask Asker) *Tracker {
	all := &services{ledger: ledger, ask: ask, started: time.Now(), jobs: make(chan func(context.Context), 1024)}
	cfg = cfg.withDefaults()
	all.cfg.Store(&cfg)
	index := &tagIndex{services: all, rows: newRowCache(cfg.Bounds), contents: newContents(cfg.Bounds)}
	reads := &reads{services: all, tags: index}
	reads.sessions.seed = maphash.MakeSeed()
	writes := &writes{services: all, tags: index, reads: reads, reading: make(chan struct{}, readers)}
	writes.acknowledged.notEmpty = make(chan struct{}, 1)
	writes.lookAt(all.started) // rows of an earlier process may wait
	return &Tracker{services: all, tagIndex: index, reads: reads, writes: writes, recovery: &recovery{services: all, writes: writes}}
}

// Answered is called when the answer's status and headers are known. A read of a tag may show what
// became of an open intent.
func (t *Tracker) Answered(tr *Transfer, op *detect.Operation) {
	t.reads.Answered(tr, op)
	if t.concerns(op) && (op.Action == detect.ManifestHead || op.Action == detect.ManifestGet) {
		t.recovery.shown(op)
	}
}

// Configure changes the configuration. The bounds of the caches keep their first values.
func (t *Tracker) Configure(cfg Config) {
	cfg = cfg.withDefaults()
	t.cfg.Store(&cfg)
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
	Index        int
	ContentBytes int
	Hits, Misses int64 // of the row cache
	Dropped      int64 // observations for which memory or the store had no room
}

// Stats returns the counts of now.
func (t *Tracker) Stats() Stats {
	s := Stats{
		OpenIntents: t.open.len(), GivenUp: t.givenUp.Load(), InFlight: t.inFlight.len(), HeldPushes: int(t.untagged.Load()),
		Index: t.rows.len(), ContentBytes: t.contents.size(),
		Hits: t.rows.hits.Load(), Misses: t.rows.misses.Load(), Dropped: t.learned.dropped.Load(),
	}
	s.Sessions, s.SessionBytes = t.sessions.size()
	return s
}
