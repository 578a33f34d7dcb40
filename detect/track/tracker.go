// Package track makes events out of operations: it finds out what the requests of one client in one
// repository add up to.
//
// The Tracker has three parts.
//
// Writes. Intend commits an intent before the last byte of a write goes upstream. Settle turns it
// into its event or none, before the client gets its answer; Leave leaves it open, and the Tracker
// asks the upstream until that says what became of it. A push by digest waits, as a row of the
// Ledger, for the index or the tag that it belongs to.
//
// Reads. Start, Answered and End observe a request. They never block and never fail. What waits for
// a later request (a tag resolved by HEAD, a manifest whose layers have not been read) is bounded
// memory, and lost with the process.
//
// The tag index. What the upstreams answer is learned: which digest a tag stands on, and what a
// digest is. Standing, TagsOf and SizeOf answer from it, so that a delete can say what it deleted.
//
// track imports detect alone, opens no connection and writes no log: it asks upstreams through
// Asker, and stores through detect.Ledger.
package track

import (
	"context"
	"hash/maphash"
	"io"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Config is how a Tracker behaves. Zero durations mean DESIGN §3's defaults, zero bounds those below.
type Config struct {
	Accessories     bool          // events of signatures, attestations, SBOMs and referrers
	UntaggedPush    time.Duration // a manifest put by digest waits this long, counted from its client's last doing, for its index or tag
	UntaggedPushMax time.Duration // … and at most this long in all
	Pull            time.Duration // a HEAD's tag waits for its GET, a manifest read for its first blob
	Repeat          time.Duration // the same reference read again is the same pull

	// Visibility is a repository's, "public" or "private"; nil leaves it out. It must be pure.
	Visibility func(repository string) string

	// GivenUp is called for each write whose outcome no upstream has said for 7 days: whether there should have been an event will never
	// be known. reference is a tag, a digest or a chart's name/version. nil: nobody is told.
	GivenUp func(upstream, repository, reference string)

	Bounds Bounds
}

// Bounds limit memory. What does not fit makes events plainer or fewer (pulls), never wrong.
type Bounds struct {
	Sessions     int // clients by repository
	SessionBytes int // … and their bytes in all
	Session      int // pulls, resolved tags and the like remembered for each of them
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

// Asker asks an upstream with bellbuoy's own credentials. It is the consumer's view of proxy/upstream.
type Asker interface {
	// Manifest tells what stands at a tag or digest. Found.Absent only when it is gone for sure; any error means that the upstream does not say.
	Manifest(ctx context.Context, upstream, hint, repository, reference string) (detect.Found, error)
	// Read reads the manifest of a digest: Found.Manifest, whose digest the asker has checked. Any error means that it cannot be read now.
	Read(ctx context.Context, upstream, hint, repository, digest string) (detect.Found, error)
	// Chart does what Manifest does for a chart's version.
	Chart(ctx context.Context, upstream, tenant, name, version string) (detect.Found, error)
	// ChartIndex is a tenant's index.yaml.
	ChartIndex(ctx context.Context, upstream, tenant string) (io.ReadCloser, error)
}

// Tracker makes events out of operations. All its methods may be called at once from many goroutines.
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
	jobs    chan func(context.Context) // for the worker
}

// New makes a Tracker. Its timers run in Run.
func New(cfg Config, ledger detect.Ledger, ask Asker) *Tracker {
	all := &services{ledger: ledger, ask: ask, started: time.Now(), jobs: make(chan func(context.Context), 1024)}
	cfg = cfg.withDefaults()
	all.cfg.Store(&cfg)
	index := &tagIndex{services: all, rows: newRowCache(cfg.Bounds), contents: newContents(cfg.Bounds)}
	reads := &reads{services: all, index: index}
	reads.sessions.seed = maphash.MakeSeed()
	writes := &writes{services: all, index: index, reads: reads, reading: make(chan struct{}, readers)}
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

// Configure changes the configuration. The bounds of the index in memory stay what they were.
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
	OpenIntents  int   // their outcome is unknown, and the upstream has not said yet
	GivenUp      int64 // … nor did it for 7 days
	InFlight     int   // writes that wait for their answer
	Sessions     int
	SessionBytes int
	HeldPushes   int // as of the last look
	Index        int
	ContentBytes int
	Hits, Misses int64 // of the index in memory
	Dropped      int64 // observations that memory or the store had no room for
}

// Stats counts.
func (t *Tracker) Stats() Stats {
	s := Stats{
		OpenIntents: t.open.len(), GivenUp: t.givenUp.Load(), InFlight: t.inFlight.len(), HeldPushes: int(t.untagged.Load()),
		Index: t.rows.len(), ContentBytes: t.contents.size(),
		Hits: t.rows.hits.Load(), Misses: t.rows.misses.Load(), Dropped: t.learned.dropped.Load(),
	}
	s.Sessions, s.SessionBytes = t.sessions.size()
	return s
}
