package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	groupRequests = 1000
	GroupBytes    = 8 << 20
	groupRows     = 2000 // with more, the next requests would wait for longer than for an fsync
	groupOutcomes = 500  // besides the rows
	idleAfter     = 3 * time.Second
)

// The states of a request. Its caller may abandon it only while it waits.
const (
	requestWaits int32 = iota
	requestRuns
	requestGivenUp
)

// Request is one call for the writer. Exactly one of fn, outcomes and direct is set.
type Request struct {
	ctx      context.Context
	scopes   []string
	fn       func(store.Tx) error
	outcomes []store.Outcome
	Direct   func(Session, *Group) error // may add to the group's wakes and depths
	Class    class
	patience time.Duration // see Terms
	at       time.Time     // when it was made
	state    atomic.Int32
	taken    bool       // set by the writer: it is part of a transaction
	done     chan error // buffered: the writer never waits for a caller
	err      error      // set by the writer: the error of this request alone
}

// Writer is the only goroutine that writes. It combines waiting requests into transactions of
// bounded size.
type Writer struct {
	engine Database
	queue
	recent *recent
	Cache  *RowCache                // nil: others write to the database too
	done   func(*Group)             // called after each commit
	Fault  func(func() error) error // around each commit; for tests, nil otherwise

	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once

	Since  atomic.Int64          // when the transaction under way began, Unix nanoseconds; 0: none
	last   atomic.Int64          // when the last commit succeeded, Unix nanoseconds
	health atomic.Pointer[error] // of the last transaction
}

// NewWriter returns a writer for e. It calls done after each commit.
func NewWriter(e Database, done func(*Group)) *Writer {
	return &Writer{engine: e, queue: newQueue(), recent: new(recent), done: done,
		stop: make(chan struct{}), stopped: make(chan struct{})}
}

// Do passes r to the writer and waits until r is finished, ctx ends, or r's patience has run out.
func (w *Writer) Do(ctx context.Context, r *Request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.ctx, r.done, r.at = ctx, make(chan error, 1), time.Now()
	select {
	case <-w.stop:
		return store.ErrClosed
	default:
	}
	timer, impatient := r.timer()
	if timer != nil {
		defer timer.Stop()
	}
	in, end := w.In[r.Class], w.stop
	for {
		select {
		case in <- r:
			in, end = nil, w.stopped
		case err := <-r.done:
			return err
		case <-impatient:
			if left := r.patience - w.silence(r); left > 0 {
				timer.Reset(left)
				continue
			}
			return w.giveUp(context.DeadlineExceeded, r)
		case <-ctx.Done():
			return w.giveUp(ctx.Err(), r)
		case <-end:
			return w.giveUp(store.ErrClosed, r)
		}
	}
}

func (r *Request) timer() (*time.Timer, <-chan time.Time) {
	if r.patience <= 0 {
		return nil, nil
	}
	t := time.NewTimer(r.patience)
	return t, t.C
}

// silence returns for how long nothing was committed since r was made.
func (w *Writer) silence(r *Request) time.Duration {
	return time.Since(time.Unix(0, max(w.last.Load(), r.at.UnixNano())))
}

func (w *Writer) giveUp(cause error, r *Request) error {
	select {
	case err := <-r.done:
		return err
	default:
	}
	if w.last.Load() > r.at.UnixNano() {
		cause = fmt.Errorf("%w: %w", store.ErrBusy, cause)
	}
	if r.state.CompareAndSwap(requestWaits, requestGivenUp) {
		return cause
	}
	return fmt.Errorf("%w: %w", store.ErrUnknown, cause)
}

// run is the writer's goroutine. It ends when stop is closed and the queue is empty.
func (w *Writer) run() {
	defer close(w.stopped)
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	for w.next(idle) {
		w.serve(w.head())
		w.serve(w.chore())
	}
}

// next waits for requests. It returns false when no more can come.
func (w *Writer) next(idle *time.Timer) bool {
	for !w.gather() {
		select {
		case r := <-w.In[Urgent]:
			w.add(r)
		case r := <-w.In[Ordinary]:
			w.add(r)
		case r := <-w.In[lanes]:
			w.add(r)
		case r := <-w.In[Chores]:
			w.add(r)
		case <-idle.C:
			w.engine.Idle()
			continue
		case <-w.stop:
			if w.empty() {
				return false
			}
			continue
		}
	}
	idle.Reset(idleAfter)
	return true
}

// serve makes one transaction of as many requests as fit.
func (w *Writer) serve(requests []*Request) {
	if len(requests) == 0 {
		return
	}
	defer w.forgetTaken()
	taken, err := w.transact(requests)
	if err != nil && w.engine.Retriable(err) {
		taken, err = w.transact(taken)
	}
	if err != nil && len(taken) > 1 && divisible(err) {
		w.divide(taken)
		return
	}
	answer(taken, err)
}

// errNoTransaction means that no transaction could be begun.
var errNoTransaction = errors.New("beginning a transaction")

// divisible reports whether a transaction that ended with err may have failed because of one of its
// requests.
func divisible(err error) bool {
	return !errors.Is(err, store.ErrUnknown) && !errors.Is(err, errNoTransaction) && !errors.Is(err, context.DeadlineExceeded)
}

// divide splits a failed transaction in halves until only the requests that caused the failure
// fail.
func (w *Writer) divide(requests []*Request) {
	half := len(requests) / 2
	for _, part := range [][]*Request{requests[:half], requests[half:]} {
		_, err := w.transact(part)
		if err != nil && len(part) > 1 && divisible(err) {
			w.divide(part)
			continue
		}
		answer(part, err)
	}
}

func answer(requests []*Request, err error) {
	for _, r := range requests {
		if err == nil {
			r.done <- r.err
			continue
		}
		r.done <- err
	}
}

// transact runs one transaction, and returns the requests that were part of it.
func (w *Writer) transact(requests []*Request) (taken []*Request, err error) {
	w.Since.Store(time.Now().UnixNano())
	defer w.Since.Store(0)
	g := newGroup(w.recent)
	g.cache = w.Cache
	taken, err = w.attempt(g, requests)
	if err != nil && w.engine.Invalid(err) {
		err = fmt.Errorf("%w: %w", store.ErrInvalid, err)
	}
	w.remember(g, err)
	switch {
	case err == nil:
		if !g.empty() {
			w.last.Store(time.Now().UnixNano())
		}
		w.health.Store(nil)
		g.remember(false)
		w.done(g)
	case errors.Is(err, context.Canceled): // the caller of a chore has ended the transaction
		w.engine.Failed(err)
	case errors.Is(err, store.ErrInvalid): // says nothing about the store
		g.remember(false)
		w.engine.Failed(err)
	default:
		w.health.Store(&err)
		g.remember(errors.Is(err, store.ErrUnknown))
		w.engine.Failed(err)
	}
	return taken, err
}

// remember keeps the rows of a transaction that ended with err.
func (w *Writer) remember(g *Group, err error) {
	if err != nil || g.chore {
		w.Cache.Clear()
		return
	}
	for k, row := range g.Rows {
		w.Cache.keep(k, row)
	}
}

func (w *Writer) attempt(g *Group, requests []*Request) (taken []*Request, err error) {
	s, err := w.engine.Begin(context.Background(), scopesOf(requests))
	for _, r := range requests {
		r.taken = err != nil // a store that fails fails for all
	}
	if err != nil {
		return requests, fmt.Errorf("%w: %w", errNoTransaction, err)
	}
	for _, r := range requests {
		if !g.room(r) {
			continue
		}
		taken, r.taken = append(taken, r), true
		if r.err = w.admit(r); r.err != nil {
			continue
		}
		if err := g.take(s, r); err != nil {
			s.Rollback()
			return taken, err
		}
	}
	if g.empty() {
		s.Rollback()
		return taken, nil
	}
	if err := s.Apply(context.Background(), g); err != nil {
		s.Rollback()
		return taken, err
	}
	if w.Fault != nil {
		return taken, w.Fault(s.Commit)
	}
	return taken, s.Commit()
}

// admit marks r as running, so that its caller can no longer abandon it with a known outcome. It
// returns an error if the caller has abandoned it already.
func (w *Writer) admit(r *Request) error {
	if err := r.ctx.Err(); err != nil && r.state.Load() == requestWaits {
		r.state.CompareAndSwap(requestWaits, requestGivenUp)
		return err
	}
	if !r.state.CompareAndSwap(requestWaits, requestRuns) && r.state.Load() == requestGivenUp {
		return context.Canceled
	}
	return nil
}

func scopesOf(requests []*Request) []string {
	var scopes []string
	for _, r := range requests {
		scopes = append(scopes, r.scopes...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// healthy returns the error of the last transaction, or an error if the running one takes too long.
func (w *Writer) healthy() error {
	if since := w.Since.Load(); since != 0 && time.Since(time.Unix(0, since)) > StuckAfter {
		return fmt.Errorf("a commit has been under way for %s", time.Since(time.Unix(0, since)).Round(time.Second))
	}
	if err := w.health.Load(); err != nil {
		return *err
	}
	return nil
}

// StuckAfter is how long a commit may take before the store counts as unhealthy.
const StuckAfter = 3 * time.Second

// Close waits until the writer has finished the waiting requests, at most for the given time.
func (w *Writer) Close(within time.Duration) error {
	w.once.Do(func() { close(w.stop) })
	select {
	case <-w.stopped:
		return nil
	case <-time.After(within):
		return errors.New("the writer hangs in a commit")
	}
}

// safely runs a caller's function and returns a panic as an error, because all callers share the
// writer.
func safely(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}
