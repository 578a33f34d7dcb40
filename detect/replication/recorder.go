package replication

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Recorder adds pulls and failures to runs, and ends runs. All of its methods return at once,
// except Run.
type Recorder struct {
	ledger     detect.Ledger
	configured atomic.Pointer[configuration]
	notes      chan note
	dropped    atomic.Int64
	failed     func(error) // is called when the ledger has not committed, or will do it later

	mu   sync.Mutex
	busy map[place]*traffic // places whose runs are not over
}

type configuration struct {
	rules      Rules
	visibility func(repository string) string
	held       time.Duration // how long a manifest put by digest waits for its index or tag
}

// place is a project to which a replicator pushes, or from which it pulls.
type place struct{ rule, upstream, project string }

// traffic says why the runs of a place are not over.
type traffic struct {
	transfers int       // in flight
	until     time.Time // so long a manifest put by digest may wait for its event
	last      time.Time // when a transfer last ended
	quiet     time.Duration
}

// note is something to be added to a run: an event, or a failure.
type note struct {
	rule      *Rule
	direction string
	event     *detect.Event
	failure   *failure
}

// failure is a request of a replicator that was refused.
type failure struct {
	upstream, repository, reference string
	reason                          string
	at                              time.Time
	client                          detect.Client
	external                        detect.External
	visibility                      string
}

// maxNotes bounds the notes that wait to be stored.
const maxNotes = 4096

// NewRecorder makes a Recorder without rules. failed is called with the errors of the ledger; it
// may be nil.
func NewRecorder(l detect.Ledger, failed func(error)) *Recorder {
	if failed == nil {
		failed = func(error) {}
	}
	r := &Recorder{ledger: l, failed: failed, notes: make(chan note, maxNotes), busy: map[place]*traffic{}}
	r.Configure(nil, func(string) string { return "" }, 0)
	return r
}

// Configure replaces the rules. Runs of removed rules end as they would have. held is
// correlation.untagged_push.
func (r *Recorder) Configure(rules Rules, visibility func(repository string) string, held time.Duration) {
	r.configured.Store(&configuration{rules, visibility, held})
}

// Dropped returns how many pulls and failures were not added, because they came faster than the
// ledger stores them.
func (r *Recorder) Dropped() int64 { return r.dropped.Load() }

func (r *Recorder) add(n note) {
	select {
	case r.notes <- n:
	default:
		r.dropped.Add(1)
	}
}

// Pulled adds pulls that were recorded, except inspections.
func (r *Recorder) Pulled(events []detect.Event) {
	c := r.configured.Load()
	if len(c.rules) == 0 {
		return
	}
	for i := range events {
		e := &events[i]
		if e.Type != detect.PullArtifact || e.Inspection() {
			continue
		}
		if rule := c.rules.of(&e.Client); rule != nil {
			own := *e
			r.add(note{rule: rule, direction: pulls, event: &own})
		}
	}
}

// Follows reports whether a request was made by a replicator.
func (r *Recorder) Follows(op *detect.Operation) bool {
	c := r.configured.Load()
	return len(c.rules) > 0 && c.rules.of(&op.Client) != nil
}

// Begin is called when a request begins.
func (r *Recorder) Begin(op *detect.Operation) {
	if t := r.traffic(op); t != nil {
		t.transfers++
		r.mu.Unlock()
	}
}

// End is called when a request is over. op has the answer: if that is a refusal, End adds the
// failure.
func (r *Recorder) End(op *detect.Operation) {
	if t := r.traffic(op); t != nil {
		t.transfers, t.last = max(t.transfers-1, 0), time.Now()
		r.mu.Unlock()
	}
	switch op.Action {
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd:
		r.refused(op, pushes, "")
	case detect.ManifestGet:
		if _, _, fallback := detect.FallbackTag(op.Reference); !fallback {
			r.refused(op, pulls, op.Reference)
		}
	}
}

// Put is called when the upstream has answered the PUT of a manifest, or has not answered at all.
func (r *Recorder) Put(op *detect.Operation, answered bool) {
	if op.Action != detect.ManifestPut {
		return
	}
	if !answered || op.Status >= 300 {
		r.refused(op, pushes, op.Reference)
		return
	}
	if !detect.IsDigest(op.Reference) || len(op.Tags) > 0 {
		return
	}
	if t := r.traffic(op); t != nil {
		t.until = time.Now().Add(r.configured.Load().held)
		r.mu.Unlock()
	}
}

// traffic returns the traffic of an operation's place, with mu locked, or nil if the operation is
// not a replicator's.
func (r *Recorder) traffic(op *detect.Operation) *traffic {
	c := r.configured.Load()
	if len(c.rules) == 0 || op.Kind == detect.ChartMuseum || op.Repository == "" {
		return nil
	}
	client := op.Client
	// Whether the upstream vouches for the name is known only at the end. A run that ends later
	// than it could is no harm.
	if client.Operator == "" {
		client.Operator = client.Claimed
	}
	rule := c.rules.of(&client)
	if rule == nil {
		return nil
	}
	r.mu.Lock()
	p := place{rule.Name, op.Upstream, detect.Project(op.Repository)}
	t := r.busy[p]
	if t == nil {
		t = &traffic{quiet: rule.Quiet}
		r.busy[p] = t
	}
	return t
}

// refused adds the failure of a request that the upstream has refused. A 401 is none: it only asks
// for a login.
func (r *Recorder) refused(op *detect.Operation, direction, reference string) {
	c := r.configured.Load()
	if len(c.rules) == 0 || op.Status > 0 && op.Status < 400 || op.Status == http.StatusUnauthorized || op.Kind == detect.ChartMuseum {
		return
	}
	rule := c.rules.of(&op.Client)
	if rule == nil {
		return
	}
	reason := detect.ReadRegistryError(op.Got.Bytes).Message
	if reason == "" {
		reason = "the registry did not answer"
		if op.Status > 0 {
			reason = fmt.Sprintf("%d %s", op.Status, http.StatusText(op.Status))
		}
	}
	r.add(note{rule: rule, direction: direction, failure: &failure{
		upstream: op.Upstream, repository: op.Repository, reference: reference, reason: reason, at: op.At,
		client: op.Client, external: op.External, visibility: c.visibility(op.Repository),
	}})
}

const (
	tick = time.Second
	// settling is how long after the start no run ends. In that time the tracker finds out the
	// outcomes that are unknown after a crash: those pushes belong to the run that was going
	// on.
	settling = 5 * time.Second
)

// Run stores notes and ends runs, until ctx ends. Runs that are not over then go on after the next
// start.
func (r *Recorder) Run(ctx context.Context) {
	begun, ticker := time.Now(), time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			for len(r.notes) > 0 {
				r.store(ctx, <-r.notes)
			}
			return
		case n := <-r.notes:
			r.store(ctx, n)
		case <-ticker.C:
			r.prolong(ctx)
			if time.Since(begun) >= settling {
				r.finish(ctx)
			}
		}
	}
}

func (r *Recorder) commit(ctx context.Context, upstream, project string, change func(*books) error) {
	err := r.ledger.CommitLater(ctx, scopeOf(upstream, project), false, func(v detect.View) (detect.Changes, error) {
		b := newBooks(v)
		err := change(b)
		return b.Changes, err
	})
	if err != nil {
		r.failed(fmt.Errorf("storing the run of a replication: %w", err))
	}
}

func (r *Recorder) store(ctx context.Context, n note) {
	if e := n.event; e != nil {
		r.commit(ctx, e.Upstream, detect.Project(e.Repository), func(b *books) error { return b.moved(n.rule, n.direction, e) })
		return
	}
	r.commit(ctx, n.failure.upstream, detect.Project(n.failure.repository), func(b *books) error { return b.failed(n.rule, n.direction, n.failure) })
}

// prolong puts off the end of runs that have transfers in flight at this replica.
func (r *Recorder) prolong(ctx context.Context) {
	now := time.Now()
	longer := map[place]traffic{}
	r.mu.Lock()
	for p, t := range r.busy {
		switch {
		case t.transfers > 0:
			longer[p] = traffic{until: now.Add(t.quiet), quiet: t.quiet}
		case t.until.After(now):
			longer[p] = traffic{until: t.until.Add(t.quiet), quiet: t.quiet}
		default: // nothing keeps its runs from being over any more
			end := t.last
			if t.until.After(end) {
				end = t.until
			}
			longer[p] = traffic{until: end.Add(t.quiet)}
			delete(r.busy, p)
		}
	}
	r.mu.Unlock()
	for p, t := range longer {
		for _, direction := range []string{pushes, pulls} {
			r.prolongRun(ctx, runKey{p.rule, p.upstream, p.project, direction}, t)
		}
	}
}

func (r *Recorder) prolongRun(ctx context.Context, k runKey, t traffic) {
	var due time.Time
	err := r.ledger.View(ctx, func(v detect.View) error {
		row, _, err := v.Get(k.row())
		due = row.Due
		return err
	})
	if err != nil || due.IsZero() || due.After(t.until.Add(-t.quiet/2)) {
		return
	}
	r.commit(ctx, k.upstream, k.project, func(b *books) error {
		row, ok, err := b.view.Get(k.row())
		if err != nil || !ok || !row.Due.Before(t.until) {
			return err
		}
		row.Due = t.until
		b.put(row)
		return nil
	})
}

// endedAtOnce bounds the runs that one tick ends.
const endedAtOnce = 100

// finish ends the runs that are over.
func (r *Recorder) finish(ctx context.Context) {
	now := time.Now()
	rows, err := r.ledger.Due(ctx, rowRun, now, endedAtOnce)
	if err != nil {
		return // the runs stay, and the store reports its failures itself
	}
	for _, row := range rows {
		k, ok := runKeyOf(row.ID)
		if ok && !r.inFlight(k) {
			r.commit(ctx, k.upstream, k.project, func(b *books) error { return b.end(k, now) })
		}
	}
}

func (r *Recorder) inFlight(k runKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.busy[place{k.rule, k.upstream, k.project}]
	return t != nil && (t.transfers > 0 || t.until.After(time.Now()))
}
