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

// Recorder adds to runs what no transaction tells, and ends them. Its methods but Run return at
// once.
type Recorder struct {
	ledger     detect.Ledger
	configured atomic.Pointer[configuration]
	notes      chan note
	dropped    atomic.Int64
	failed     func(error) // told of a commit that the ledger has refused, or will do later

	mu   sync.Mutex
	busy map[place]*traffic // transfers in flight, and waits
}

type configuration struct {
	rules      Rules
	visibility func(repository string) string
	held       time.Duration // how long a manifest put by digest waits for its index or tag
}

// place is where a replicator works.
type place struct{ rule, upstream, project string }

// traffic is what keeps runs of a place from being over.
type traffic struct {
	transfers int
	until     time.Time // what was put by digest has no event before
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

// failure is something that was refused.
type failure struct {
	upstream, repository, reference string
	reason                          string
	at                              time.Time
	client                          detect.Client
	external                        detect.External
	visibility                      string
}

const maxNotes = 4096 // that wait to be stored

// NewRecorder makes a Recorder without rules. failed is told of the ledger's errors; nil: nobody
// is.
func NewRecorder(l detect.Ledger, failed func(error)) *Recorder {
	if failed == nil {
		failed = func(error) {}
	}
	r := &Recorder{ledger: l, failed: failed, notes: make(chan note, maxNotes), busy: map[place]*traffic{}}
	r.Configure(nil, func(string) string { return "" }, 0)
	return r
}

// Configure makes it follow other rules. Runs of rules that are gone end as they would have. held
// is correlation.untagged_push.
func (r *Recorder) Configure(rules Rules, visibility func(repository string) string, held time.Duration) {
	r.configured.Store(&configuration{rules, visibility, held})
}

// Dropped returns how many pulls and failures were not added because the ledger is slower than they
// come.
func (r *Recorder) Dropped() int64 { return r.dropped.Load() }

func (r *Recorder) add(n note) {
	select {
	case r.notes <- n:
	default:
		r.dropped.Add(1)
	}
}

// Pulled adds pulls that were recorded. Inspections are none.
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

// Follows reports whether a request is a replicator's.
func (r *Recorder) Follows(op *detect.Operation) bool {
	c := r.configured.Load()
	return len(c.rules) > 0 && c.rules.of(&op.Client) != nil
}

// Begin notes that a request is under way.
func (r *Recorder) Begin(op *detect.Operation) {
	if t := r.traffic(op); t != nil {
		t.transfers++
		r.mu.Unlock()
	}
}

// End notes that it is over, and what was refused. op's answer is known.
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

// Put notes what the upstream has answered to a manifest, or that it answered nothing.
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

// traffic returns that of an operation's place, locked; nil where it is no replicator's.
func (r *Recorder) traffic(op *detect.Operation) *traffic {
	c := r.configured.Load()
	if len(c.rules) == 0 || op.Kind == detect.ChartMuseum || op.Repository == "" {
		return nil
	}
	client := op.Client
	// whether the upstream vouches for the name is known in the end only, and prolonging harms
	// nobody
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

// refused adds what the upstream has refused. A 401 is a question for a login.
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
	// settling is how long after the start no run ends. Pushes whose outcome is unknown after a
	// crash are asked about meanwhile, and belong to the run that they were part of.
	settling = 5 * time.Second
)

// Run stores what was noted and ends runs, until ctx ends. Runs that are not over then go on after
// the next start.
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
		r.failed(fmt.Errorf("keeping a replication's run: %w", err))
	}
}

func (r *Recorder) store(ctx context.Context, n note) {
	if e := n.event; e != nil {
		r.commit(ctx, e.Upstream, detect.Project(e.Repository), func(b *books) error { return b.moved(n.rule, n.direction, e) })
		return
	}
	r.commit(ctx, n.failure.upstream, detect.Project(n.failure.repository), func(b *books) error { return b.failed(n.rule, n.direction, n.failure) })
}

// prolong keeps runs from being over while transfers of theirs are in flight here.
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
		default: // from here on it is quiet
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

const endedAtOnce = 100

// finish ends the runs that are over.
func (r *Recorder) finish(ctx context.Context) {
	now := time.Now()
	rows, err := r.ledger.Due(ctx, rowRun, now, endedAtOnce)
	if err != nil {
		return // the store fails, which others tell
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
