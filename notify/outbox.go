package notify

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// OutboxOptions configures an Outbox.
type OutboxOptions struct {
	// Timeout is store.timeout: a commit that takes longer has failed. 0: 2 s.
	Timeout time.Duration
	// DeferredEntries and DeferredBytes bound the commits that CommitLater holds in memory
	// while the store fails. 0: 10,000 and 64 MiB.
	DeferredEntries int
	DeferredBytes   int
	// QueuedPulls bounds the events that Record has accepted and not stored yet. 0: 16,384.
	QueuedPulls int
	Metrics     *Metrics    // nil: nothing is counted
	Numbers     *Numbers    // nil: projects get no numbers
	Log         *zap.Logger // nil: nothing is logged
}

// Outbox implements detect.Ledger on a store. One transaction holds the changes of a decision, its
// events, and their deliveries. Commit, CommitLater and Record may be called concurrently; Run
// stores what CommitLater and Record leave in memory.
type Outbox struct {
	store   Rows
	timeout time.Duration
	metrics *Metrics
	numbers *Numbers
	log     *zap.Logger

	set       atomic.Pointer[Set]
	derivers  atomic.Pointer[[]Deriver]
	cache     eventCache
	lastFired *lastFired
	deferred  *deferredQueue
	pulls     *pullQueue
	health    health
}

var _ detect.Ledger = (*Outbox)(nil)

// NewOutbox returns an Outbox that plans no deliveries until Configure is called.
func NewOutbox(s Rows, o OutboxOptions) *Outbox {
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	out := &Outbox{
		store:     s,
		timeout:   cmp.Or(o.Timeout, 2*time.Second),
		metrics:   o.Metrics,
		numbers:   o.Numbers,
		log:       o.Log,
		cache:     newEventCache(),
		lastFired: newLastFired(),
		deferred:  newDeferredQueue(cmp.Or(o.DeferredEntries, 10_000), cmp.Or(o.DeferredBytes, 64<<20)),
		pulls:     newPullQueue(cmp.Or(o.QueuedPulls, 16_384)),
	}
	out.set.Store(&Set{})
	out.Derive()
	out.metrics.setDeferred(func() float64 { return float64(out.deferred.count()) })
	return out
}

// Configure sets the webhooks for which later commits plan deliveries.
func (o *Outbox) Configure(s *Set) { o.set.Store(s) }

// Healthy returns nil while the last commit succeeded in time.
func (o *Outbox) Healthy() error {
	if err := o.health.last(); err != nil {
		return err
	}
	return o.store.Healthy()
}

// Deferred returns how many commits wait in memory for the store.
func (o *Outbox) Deferred() int { return o.deferred.count() }

// Lost returns the number of events lost since the start, because they could not be stored.
func (o *Outbox) Lost() int64 { return o.metrics.lostEvents.Load() }

// Commit implements detect.Ledger. A client waits for it with an unfinished request, so it goes
// ahead of other commits and waits as long as the disk makes progress.
func (o *Outbox) Commit(ctx context.Context, scope string, decide func(detect.View) (detect.Changes, error)) error {
	_, err := o.commit(ctx, store.Terms{Scopes: o.scopes(scope), Ahead: true, Patience: o.timeout}, decide)
	return err
}

// refusal is an error of decide, as opposed to one of the store.
type refusal struct{ err error }

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

// commit runs decide in a transaction. It returns the size of the changes, even if they could not
// be stored.
func (o *Outbox) commit(ctx context.Context, terms store.Terms, decide func(detect.View) (detect.Changes, error)) (int, error) {
	var last atomic.Pointer[written]
	begun := time.Now()
	err := o.store.UpdateOn(ctx, terms, func(tx store.Tx) error {
		w, err := o.decide(tx, decide)
		if w != nil {
			last.Store(w)
		}
		return err
	})
	w := last.Load()
	var refused refusal
	switch {
	case errors.As(err, &refused):
		return w.size(), refused.err
	// The data is invalid: the store works, and another try would fail too.
	case errors.Is(err, store.ErrInvalid):
		return w.size(), fmt.Errorf("committing: %w", err)
	}
	o.committed(w, begun, err, ctx)
	if err == nil {
		return w.size(), nil
	}
	if errors.Is(ctx.Err(), context.Canceled) && !errors.Is(err, store.ErrUnknown) {
		return w.size(), fmt.Errorf("committing: %w", err)
	}
	return w.size(), fmt.Errorf("committing: %w: %w", detect.ErrStore, err)
}

// decide runs a decision inside a transaction. It turns a panic into an error, so that the other
// decisions of the transaction are not affected.
func (o *Outbox) decide(tx store.Tx, decide func(detect.View) (detect.Changes, error)) (w *written, err error) {
	defer func() {
		if r := recover(); r != nil {
			o.log.Error("panic in a decision", zap.Any("panic", r), zap.Stack("stack"))
			err = refusal{fmt.Errorf("deciding panicked: %v", r)}
		}
	}()
	changes, err := decide(view{tx})
	if err != nil {
		return nil, refusal{err}
	}
	if changes, err = o.derive(tx, changes); err != nil {
		return nil, err
	}
	return o.write(tx, changes)
}

// committed updates the metrics and the health after a commit. A commit that the caller canceled,
// that waited behind others or that held invalid data says nothing about the store's health.
func (o *Outbox) committed(w *written, begun time.Time, err error, caller context.Context) {
	if err == nil {
		o.metrics.committed(time.Since(begun))
		o.count(w)
	}
	if err == nil || !errors.Is(caller.Err(), context.Canceled) && !errors.Is(err, store.ErrBusy) && !errors.Is(err, store.ErrInvalid) {
		o.noteHealth(err)
	}
}

func (o *Outbox) noteHealth(err error) {
	switch o.health.note(err) {
	case startedFailing:
		o.log.Error("store failing", zap.Error(err))
	case recovered:
		o.log.Info("store recovered")
	}
}

// written is what one run of a transaction wrote; nil if it wrote nothing.
type written struct {
	events     []detect.Event
	deliveries [][]store.Delivery
	bytes      int
}

func (w *written) size() int {
	if w == nil {
		return 0
	}
	return w.bytes
}

// write adds the changes to the transaction.
func (o *Outbox) write(tx store.Tx, c detect.Changes) (*written, error) {
	w := &written{events: c.Events}
	for _, r := range c.Put {
		w.bytes += len(r.ID) + len(r.Value)
		tx.Put(toRow(r))
	}
	for _, k := range c.Delete {
		tx.Delete(toKey(k))
	}
	set := o.set.Load()
	for i := range c.Events {
		e := &c.Events[i]
		stored, err := toEvent(e)
		if err != nil {
			return w, err
		}
		planned := set.Plan(e)
		if len(planned) > 0 {
			o.cache.add(e, stored.Data)
		}
		tx.Append(stored, planned...)
		w.deliveries = append(w.deliveries, planned)
		w.bytes += len(stored.Data)
	}
	return w, nil
}

// count updates the metrics after a commit.
func (o *Outbox) count(w *written) {
	if w == nil {
		return
	}
	for i, e := range w.events {
		o.metrics.event(&w.events[i])
		o.numbers.Seen(ProjectOf(&w.events[i]))
		o.lastFired.note(e, w.deliveries[i])
	}
}

// toEvent converts an event to its stored form.
func toEvent(e *detect.Event) (store.Event, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return store.Event{}, refusal{fmt.Errorf("encoding event %s: %w", e.ID, err)}
	}
	return store.Event{
		ID:         e.ID,
		Type:       string(e.Type),
		At:         e.At,
		Upstream:   e.Upstream,
		Repository: repositoryOf(e),
		Data:       data,
		Transient:  isPull(e.Type),
	}, nil
}

// fromEvent decodes a stored event and sets its sequence number.
func fromEvent(s store.Event) (detect.Event, error) {
	var e detect.Event
	if err := json.Unmarshal(s.Data, &e); err != nil {
		return detect.Event{}, fmt.Errorf("decoding event %s: %w", s.ID, err)
	}
	e.Seq = s.Seq
	return e, nil
}
