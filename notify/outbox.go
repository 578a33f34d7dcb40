package notify

import (
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

// OutboxOptions is what an Outbox needs besides its store.
type OutboxOptions struct {
	// Timeout is store.timeout: a commit that takes longer counts as a failure. 0: 2 s.
	Timeout time.Duration
	// KeptEntries and KeptBytes bound what CommitLater keeps in memory while the store fails. 0: 10,000 and 64 MiB.
	DeferredEntries int
	DeferredBytes   int
	// Waiting bounds the events that Record has taken and not stored yet. 0: 16,384.
	QueuedPulls int
	Metrics     *Metrics    // nil: nobody counts
	Log         *zap.Logger // nil: nothing is logged
}

// Outbox is detect's ledger on a store: one transaction holds what a decision makes true, its events, and the deliveries that they cause.
// Commit, CommitLater and Record may be called as soon as it is made; Run stores what they leave behind.
type Outbox struct {
	store   Rows
	timeout time.Duration
	metrics *Metrics
	log     *zap.Logger

	set       atomic.Pointer[Set]
	cache     eventCache
	lastFired *lastFired
	deferred  *deferredQueue
	pulls     *pullQueue
	health    health
}

var _ detect.Ledger = (*Outbox)(nil)

// NewOutbox makes an Outbox that plans nothing until Configure is called.
func NewOutbox(s Rows, o OutboxOptions) *Outbox {
	if o.Metrics == nil {
		o.Metrics = NewMetrics(nil)
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	out := &Outbox{
		store:     s,
		timeout:   orDefault(o.Timeout, 2*time.Second),
		metrics:   o.Metrics,
		log:       o.Log,
		cache:     newEventCache(),
		lastFired: newLastFired(),
		deferred:  newDeferredQueue(orDefault(o.DeferredEntries, 10_000), orDefault(o.DeferredBytes, 64<<20)),
		pulls:     newPullQueue(orDefault(o.QueuedPulls, 16_384)),
	}
	out.set.Store(&Set{})
	out.metrics.setDeferred(func() float64 { return float64(out.deferred.count()) })
	return out
}

// Configure makes s plan the deliveries of events that are committed from now on.
func (o *Outbox) Configure(s *Set) { o.set.Store(s) }

// Healthy is nil while the last commit succeeded in time.
func (o *Outbox) Healthy() error {
	if err := o.health.last(); err != nil {
		return err
	}
	return o.store.Healthy()
}

// Kept is how many decisions wait in memory for the store.
func (o *Outbox) Deferred() int { return o.deferred.count() }

// Lost is the number of events that could not be stored since the start, and are gone.
func (o *Outbox) Lost() int64 { return o.metrics.lostEvents.Load() }

// Commit implements detect.Ledger. What a client waits for with an unfinished request, an intent above all, goes ahead of what is done already,
// and waits as long as the disk works.
func (o *Outbox) Commit(ctx context.Context, scope string, decide func(detect.View) (detect.Changes, error)) error {
	_, err := o.commit(ctx, store.Terms{Scopes: scopesOf(scope), Ahead: true, Patience: o.timeout}, decide)
	return err
}

// refusal is an error of decide, as opposed to one of the store.
type refusal struct{ err error }

func (r refusal) Error() string { return r.err.Error() }
func (r refusal) Unwrap() error { return r.err }

// commit returns how much room the changes took at the last run of decide, also when they could not be stored.
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
	case errors.Is(err, store.ErrInvalid): // neither the store's failure nor something that another try could mend
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

// decide runs a decision inside a transaction. One that panics is refused: others of the same transaction, and the writer, are none of its business.
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
	return o.write(tx, changes)
}

func scopesOf(scope string) []string {
	if scope == "" {
		return nil
	}
	return []string{scope}
}

// committed settles the books of a commit that ended with err. A caller who gave up says nothing about the store, nor does a queue before it, nor data that it cannot take.
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

// written is what one run of a transaction wrote; nil: nothing.
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

// write puts changes into the transaction.
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

// count counts what was stored.
func (o *Outbox) count(w *written) {
	if w == nil {
		return
	}
	for i, e := range w.events {
		o.metrics.event(&w.events[i])
		o.lastFired.note(e, w.deliveries[i])
	}
}

// toEvent is the event as the store keeps it.
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

// fromEvent is the event as detect made it, with its place in the store's order.
func fromEvent(s store.Event) (detect.Event, error) {
	var e detect.Event
	if err := json.Unmarshal(s.Data, &e); err != nil {
		return detect.Event{}, fmt.Errorf("decoding event %s: %w", s.ID, err)
	}
	e.Seq = s.Seq
	return e, nil
}

func orDefault[T comparable](value, byDefault T) T {
	var zero T
	if value == zero {
		return byDefault
	}
	return value
}
