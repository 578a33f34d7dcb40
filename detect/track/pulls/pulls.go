// Package pulls makes the events of pulls and downloads: it finds out what the reads of one client
// in one repository add up to.
//
// Start, Answered and End observe a request. They never block and never fail. What waits for a
// later request (a tag resolved by HEAD, a manifest whose layers have not been read) is kept in the
// session of its client, in bounded memory, and lost with the process: a read has changed nothing.
//
// A write keeps its client busy from Busy to Done. Reads that were part of the write are no pulls.
package pulls

import (
	"context"
	"hash/maphash"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// Config is how Pulls behave. Every field must be set, except Visibility.
type Config struct {
	Accessories bool // events of signatures, attestations, SBOMs and referrers
	// how long a HEAD's tag waits for its GET, and a manifest read for its first blob
	Pull time.Duration
	// within this time, the same reference read again is the same pull
	Repeat time.Duration
	// Visibility returns whether a repository is "public" or "private". It must be pure. Nil
	// leaves the visibility out of events.
	Visibility func(repository string) string
	Bounds     Bounds
}

// Bounds limit the memory of Pulls. Beyond a bound there are fewer events, never wrong ones.
type Bounds struct {
	Sessions     int // sessions: one for each client and repository
	SessionBytes int // … and their bytes in all
	Session      int // pulls, resolved tags and other items remembered for each session
}

// Pulls observe what clients read. Their methods are safe for concurrent use.
type Pulls struct {
	cfg      atomic.Pointer[Config]
	record   func(...detect.Event)
	tags     *tagindex.Index
	started  time.Time
	sessions sessions
}

// New makes Pulls that learn into tags and hand their events to record, which must not block.
// EndQuiet must be called from time to time.
func New(cfg Config, tags *tagindex.Index, record func(...detect.Event)) *Pulls {
	t := &Pulls{record: record, tags: tags, started: time.Now()}
	t.sessions.seed = maphash.MakeSeed()
	t.Configure(cfg)
	return t
}

// Configure changes the configuration.
func (t *Pulls) Configure(cfg Config) { t.cfg.Store(&cfg) }

// Sessions returns how many sessions there are, and their bytes, about.
func (t *Pulls) Sessions() (n, bytes int) { return t.sessions.size() }

// EndQuiet emits what waited for its client to be quiet.
func (t *Pulls) EndQuiet(now time.Time) {
	quiet := t.cfg.Load().Pull
	for i := range t.sessions.shards {
		sh := &t.sessions.shards[i]
		sh.mu.Lock()
		events := sh.endQuiet(now, quiet, late)
		sh.mu.Unlock()
		t.emit(events)
	}
}

// emit records the events of pulls and downloads. No request waits for that: what is not in memory
// is looked up later.
func (t *Pulls) emit(events []detect.Event) {
	if len(events) == 0 {
		return
	}
	cfg := t.cfg.Load()
	complete := events[:0]
	for i := range events {
		e := &events[i]
		if !cfg.Accessories && e.Artifact != nil && e.Artifact.Kind.Accessory() {
			continue
		}
		if cfg.Visibility != nil {
			e.Visibility = cfg.Visibility(e.Repository)
		}
		if t.tags.Complete(e) || !t.tags.Later(t.completing(*e)) {
			complete = append(complete, *e)
		}
	}
	if len(complete) > 0 {
		t.record(complete...)
	}
}

// completing returns the job that looks up what the caches do not hold, and records the event.
func (t *Pulls) completing(e detect.Event) func(context.Context) {
	return func(ctx context.Context) {
		t.tags.CompleteFromLedger(ctx, &e)
		t.record(e)
	}
}
