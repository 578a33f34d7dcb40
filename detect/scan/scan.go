// Package scan has images scanned for vulnerabilities and raises SCANNING_COMPLETED and
// SCANNING_FAILED, in front of any registry and with any scanner that speaks Harbor's pluggable
// scanner adapter API.
//
// A scan is a job: a row of the ledger. [Runner.Derive] makes the jobs of a push in the push's own
// transaction, [Runner.Start] those that an operator asks for, and a rescan (see again.go) those of
// the artifacts that have a tag. [Runner.Run] works on them, a few at a time:
//
//	waiting ──take──▶ held ──an index──▶ (a job for each of its images)
//	   ▲               │
//	   │  scanner down ├──submit──▶ scanning ──report──▶ completed: event, and the row is gone
//	   └───────────────┘               │  ▲
//	                       302: poll again; 404: submit again
//	                                   └──500, refused, out of time──▶ failed: event, row gone
//
// A job's end and its event are one commit, so that a job that is interrupted anywhere ends in one
// event. A job is held by a lease: its holder may work on it until the lease ends, and its epoch
// tells an earlier holder that it has lost it. One digest has one job for each scanner, so that it
// is scanned once at a time, also across replicas.
package scan

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Times of the work on jobs.
const (
	tick       = time.Second             // between two looks for jobs
	leaseFor   = time.Minute             // a job whose holder renews no lease for so long is free
	renewAfter = 20 * time.Second        // a lease that is older than this is renewed
	showFor    = 2500 * time.Millisecond // in which every replica looks once for scans of others
	firstPoll  = 2 * time.Second         // a report is asked for so long after the scan was submitted
	pollEvery  = 5 * time.Second         // … and then this often, if the scanner names no time
	maxPoll    = time.Minute             // the longest time that a scanner may name
	giveUp     = 24 * time.Hour          // a scanner that could not be asked for so long is given up
	minRest    = 5 * time.Second         // after a scanner was down; doubled each time
	maxRest    = time.Minute
	AtOnce     = 4  // jobs of one scanner that a replica works on at once
	maxTags    = 64 // of one job
	maxNested  = 3  // indexes within indexes
)

// Config is what a reload may change.
type Config struct {
	Scanners  []Scanner
	Upstreams map[string]Upstream // registries by name
	// Visibility is repo_type of a repository's payloads; needed only for scans without a push.
	Visibility func(repository string) string
}

// Scanner is one scanner adapter.
type Scanner struct {
	Name    string
	Adapter Adapter
	OnPush  bool                         // false: by hand only
	Matches func(repository string) bool // which repositories it scans
	Every   time.Duration                // how often to scan what has a tag; 0: never by itself
	Timeout time.Duration                // of one scan, from when the scanner took it

	RegistryURL   string // from which it pulls; "": the URL of the upstream
	Authorization string // the header with which it pulls; "": none
	Operator      string // the name in that header: pulls of it are the scanner's own
}

// Upstream is a registry as scanners reach it and as users name it.
type Upstream struct {
	URL      string
	Insecure bool // its certificate is not verified
	External detect.External
}

// Adapter is the API of one scanner adapter. Its errors are [*Pending], [ErrLost], [*Refusal], and
// any other if the scanner is down.
type Adapter interface {
	// Submit asks for a scan and returns its id.
	Submit(context.Context, Request) (string, error)
	// Report reads a scan's report.
	Report(ctx context.Context, id string) (*Report, error)
}

// Request is a request to scan an artifact.
type Request struct {
	RegistryURL   string
	Authorization string
	Insecure      bool
	Repository    string
	Tag           string // "": none
	Digest        string
	MediaType     string
	Size          int64 // of the manifest; 0: unknown
}

// ErrLost means that the adapter does not know the scan. It is to be submitted again.
var ErrLost = errors.New("the scanner does not know the scan")

// Pending means that the report is not ready.
type Pending struct{ After time.Duration } // 0: the scanner names no time

func (p *Pending) Error() string { return "the report is not ready" }

// Refusal is an answer that ends the scan: another try would have the same answer.
type Refusal struct{ Reason string }

func (r *Refusal) Error() string { return r.Reason }

// Registry asks registries with bellbuoy's own credentials.
type Registry interface {
	// Manifest returns what stands at a reference. It may leave out the bytes of the manifest.
	Manifest(ctx context.Context, upstream, hint, repository, reference string) (detect.Found, error)
	// Read reads a manifest that is there.
	Read(ctx context.Context, upstream, hint, repository, digest string) (detect.Found, error)
}

// Tags reads the tag index.
type Tags interface {
	// Page returns tags behind a cursor, at most limit, and the cursor behind them. The first
	// cursor is "", and so is the one behind the last tag.
	Page(ctx context.Context, after string, limit int) (page []Tag, next string, err error)
	// Kind returns what a digest is; "": that is not known.
	Kind(ctx context.Context, upstream, repository, digest string) detect.ArtifactKind
}

// Tag is a tag of the tag index.
type Tag struct{ Upstream, Repository, Tag, Digest string }

// Options are what a Runner needs for as long as it lives.
type Options struct {
	Ledger   detect.Ledger
	Registry Registry
	Tags     Tags   // nil: only what was scanned once is scanned again
	Replica  string // this process: unique among those that share the ledger
	Alone    bool   // no other process shares the ledger: jobs with another holder are free
	Told     func(News)
}

// News is a change of the state of a job, for the log.
type News struct {
	Scanner, Upstream, Repository, Digest string

	State JobState
	Why   string // of Failed and Down
}

// JobState is the state of a job.
type JobState string

// The states of a job.
const (
	Waiting   JobState = "waiting"
	Scanning  JobState = "scanning"
	Down      JobState = "down" // waits because its scanner, or its registry, cannot be asked
	Completed JobState = "completed"
	Failed    JobState = "failed"
)

// Runner makes jobs and works on them.
type Runner struct {
	o      Options
	config atomic.Pointer[Config]
	own    ownScans
	again  rescans

	mu      sync.Mutex
	running map[detect.Key]bool
	rests   map[string]rest // by scanner
	stats   map[string]*Stats
}

// rest is how long the jobs of a scanner that is down wait.
type rest struct {
	until time.Time
	long  time.Duration
}

// Stats count one scanner's scans since the start.
type Stats struct{ Completed, Failed, Running int }

// New makes a Runner that scans nothing until Configure is called.
func New(o Options) *Runner {
	r := &Runner{o: o, running: map[detect.Key]bool{}, rests: map[string]rest{}, stats: map[string]*Stats{}}
	if r.o.Told == nil {
		r.o.Told = func(News) {}
	}
	r.config.Store(&Config{})
	r.again = rescans{o: &r.o, config: &r.config}
	return r
}

// Configure replaces the configuration. Jobs of a scanner that is gone wait until it returns.
func (r *Runner) Configure(c Config) { r.config.Store(&c) }

func (c *Config) scanner(name string) (*Scanner, bool) {
	for i := range c.Scanners {
		if c.Scanners[i].Name == name {
			return &c.Scanners[i], true
		}
	}
	return nil, false
}

// Stats returns the counts of every scanner that has worked since the start, by name.
func (r *Runner) Stats() map[string]Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make(map[string]Stats, len(r.stats))
	for name, s := range r.stats {
		all[name] = *s
	}
	return all
}

func (r *Runner) count(scanner string, add func(*Stats)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.stats[scanner]
	if s == nil {
		s = &Stats{}
		r.stats[scanner] = s
	}
	add(s)
}
