package store

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	groupRequests = 1000
	groupBytes    = 8 << 20
	idleAfter     = 3 * time.Second
)

// The life of a request: its caller may give it up only while it waits.
const (
	requestWaits int32 = iota
	requestRuns
	requestGivenUp
)

// request is one caller's wish. Exactly one of fn, outcomes and alone is set.
type request struct {
	ctx      context.Context
	scopes   []string
	fn       func(Tx) error
	outcomes []Outcome
	alone    func(session, *group) error // wants a transaction for itself; may add to the group's wakes and depths
	state    atomic.Int32
	done     chan error // buffered: the writer never waits for a caller
	err      error      // the writer's: what this caller gets although the transaction succeeds
}

// writer is the one goroutine that writes: it takes what waits, makes one transaction of it and answers all.
type writer struct {
	engine engine
	queue  chan *request
	recent *recent
	done   func(*group)             // called after each commit
	fault  func(func() error) error // around each commit; for tests, nil otherwise

	stop    chan struct{}
	stopped chan struct{}
	once    sync.Once

	since  atomic.Int64          // when the transaction under way began, Unix nanoseconds; 0: none
	health atomic.Pointer[error] // of the last transaction
}

func newWriter(e engine, done func(*group)) *writer {
	return &writer{engine: e, queue: make(chan *request, 4096), recent: new(recent), done: done,
		stop: make(chan struct{}), stopped: make(chan struct{})}
}

// do hands r to the writer and waits for its end or ctx's.
func (w *writer) do(ctx context.Context, r *request) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r.ctx, r.done = ctx, make(chan error, 1)
	select {
	case <-w.stop:
		return ErrClosed
	default:
	}
	select {
	case w.queue <- r:
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return ErrClosed
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
	case <-w.stopped:
	}
	return w.giveUp(ctx, r)
}

func (w *writer) giveUp(ctx context.Context, r *request) error {
	select {
	case err := <-r.done:
		return err
	default:
	}
	cause := ctx.Err()
	if cause == nil {
		cause = ErrClosed
	}
	if r.state.CompareAndSwap(requestWaits, requestGivenUp) {
		return cause
	}
	return fmt.Errorf("%w: %w", ErrUnknown, cause)
}

// run is the writer's goroutine. It ends when stop is closed and the queue is empty.
func (w *writer) run() {
	defer close(w.stopped)
	idle := time.NewTimer(idleAfter)
	defer idle.Stop()
	var left []*request
	for {
		batch, ok := w.next(left, idle)
		if !ok {
			return
		}
		left = w.serve(batch)
	}
}

// next waits for a request and takes what else is there.
func (w *writer) next(batch []*request, idle *time.Timer) ([]*request, bool) {
	for len(batch) == 0 {
		select {
		case r := <-w.queue:
			batch = append(batch, r)
			idle.Reset(idleAfter)
			continue
		default:
		}
		select {
		case r := <-w.queue:
			batch = append(batch, r)
			idle.Reset(idleAfter)
		case <-idle.C:
			w.engine.idle()
		case <-w.stop:
			if len(w.queue) == 0 {
				return nil, false
			}
		}
	}
	for len(batch) < groupRequests {
		select {
		case r := <-w.queue:
			batch = append(batch, r)
		default:
			return batch, true
		}
	}
	return batch, true
}

// serve makes one transaction of the head of batch and returns the rest.
func (w *writer) serve(batch []*request) (left []*request) {
	n := slices.IndexFunc(batch, func(r *request) bool { return r.alone != nil })
	switch {
	case n < 0:
		n = len(batch)
	case n == 0:
		n = 1
	}
	head := batch[:n]
	taken, err := w.transact(head)
	if err != nil && w.engine.retriable(err) {
		taken, err = w.transact(head[:taken])
	}
	if err != nil && taken > 1 && !errors.Is(err, ErrUnknown) {
		// One of them may be to blame; the others shall not pay for it.
		for i := range taken {
			_, err := w.transact(head[i : i+1])
			answer(head[i:i+1], err)
		}
		return batch[taken:]
	}
	answer(head[:taken], err)
	return batch[taken:]
}

func answer(requests []*request, err error) {
	for _, r := range requests {
		if err == nil {
			r.done <- r.err
			continue
		}
		r.done <- err
	}
}

// transact runs one transaction and returns how many requests it took in.
func (w *writer) transact(requests []*request) (taken int, err error) {
	w.since.Store(time.Now().UnixNano())
	defer w.since.Store(0)
	g := newGroup(w.recent)
	taken, err = w.attempt(g, requests)
	switch {
	case err == nil:
		w.health.Store(nil)
		g.remember(false)
		w.done(g)
	case errors.Is(err, context.Canceled): // a chore's caller, who takes his transaction with him
		w.engine.failed(err)
	default:
		w.health.Store(&err)
		g.remember(errors.Is(err, ErrUnknown))
		w.engine.failed(err)
	}
	return taken, err
}

func (w *writer) attempt(g *group, requests []*request) (taken int, err error) {
	s, err := w.engine.begin(context.Background(), scopesOf(requests))
	if err != nil {
		return len(requests), err
	}
	for taken < len(requests) && g.bytes < groupBytes {
		r := requests[taken]
		taken++
		if r.err = w.admit(r); r.err != nil {
			continue
		}
		if err := g.take(s, r); err != nil {
			s.rollback()
			return taken, err
		}
	}
	if g.empty() {
		s.rollback()
		return taken, nil
	}
	if err := s.apply(context.Background(), g); err != nil {
		s.rollback()
		return taken, err
	}
	if w.fault != nil {
		return taken, w.fault(s.commit)
	}
	return taken, s.commit()
}

// admit makes r one that its caller can no longer give up without doubt, or tells why it is none any more.
func (w *writer) admit(r *request) error {
	if err := r.ctx.Err(); err != nil && r.state.Load() == requestWaits {
		r.state.CompareAndSwap(requestWaits, requestGivenUp)
		return err
	}
	if !r.state.CompareAndSwap(requestWaits, requestRuns) && r.state.Load() == requestGivenUp {
		return context.Canceled
	}
	return nil
}

func scopesOf(requests []*request) []string {
	var scopes []string
	for _, r := range requests {
		scopes = append(scopes, r.scopes...)
	}
	slices.Sort(scopes)
	return slices.Compact(scopes)
}

// healthy is the last transaction's error, or that the one under way takes too long.
func (w *writer) healthy() error {
	if since := w.since.Load(); since != 0 && time.Since(time.Unix(0, since)) > stuckAfter {
		return fmt.Errorf("a commit has been under way for %s", time.Since(time.Unix(0, since)).Round(time.Second))
	}
	if err := w.health.Load(); err != nil {
		return *err
	}
	return nil
}

const stuckAfter = 3 * time.Second

// close lets the writer finish what waits, at most for the given time.
func (w *writer) close(within time.Duration) error {
	w.once.Do(func() { close(w.stop) })
	select {
	case <-w.stopped:
		return nil
	case <-time.After(within):
		return errors.New("the writer hangs in a commit")
	}
}

// safely runs a caller's function; its panic becomes its error, because the writer belongs to all.
func safely(fn func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic in a transaction: %v\n%s", p, debug.Stack())
		}
	}()
	return fn()
}
