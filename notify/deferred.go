package notify

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	deferredOverhead = 4 << 10 // estimated memory of one deferred commit, without its changes
	deferredBatch    = 64      // commits of different scopes that run at the same time
	retryFirst       = 100 * time.Millisecond
	retryMost        = 5 * time.Second
)

// deferredCommit is a commit that could not be stored yet.
type deferredCommit struct {
	scope    string
	fallback bool // a durable intent covers it
	decide   func(detect.View) (detect.Changes, error)
	size     int
}

// deferredQueue holds commits that wait for the store. It keeps their order within a scope, so that
// an older state of a tag never replaces a newer one.
type deferredQueue struct {
	entries, bytes int // the bounds

	mu     sync.Mutex
	queue  []*deferredCommit
	scopes map[string]int // scope → queued commits
	used   int
	more   chan struct{} // receives when something is added
}

func newDeferredQueue(entries, bytes int) *deferredQueue {
	return &deferredQueue{entries: entries, bytes: bytes, scopes: map[string]int{}, more: make(chan struct{}, 1)}
}

func (q *deferredQueue) count() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.queue)
}

// has reports whether a commit of the scope is queued.
func (q *deferredQueue) has(scope string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.scopes[scope] > 0
}

// add queues d and returns the commits that it dropped for lack of room: first those with an
// intent, else d itself.
func (q *deferredQueue) add(d *deferredCommit) (dropped []*deferredCommit) {
	d.size += deferredOverhead
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.queue) >= q.entries || q.used+d.size > q.bytes {
		victim := q.evictable(d)
		if victim < 0 {
			return append(dropped, d)
		}
		dropped = append(dropped, q.queue[victim])
		q.remove(victim)
	}
	q.queue = append(q.queue, d)
	q.scopes[d.scope]++
	q.used += d.size
	select {
	case q.more <- struct{}{}:
	default:
	}
	return dropped
}

// evictable returns the index of the oldest commit that has an intent, if d has none; else -1.
func (q *deferredQueue) evictable(d *deferredCommit) int {
	if d.fallback {
		return -1
	}
	for i, queued := range q.queue {
		if queued.fallback {
			return i
		}
	}
	return -1
}

func (q *deferredQueue) remove(i int) {
	d := q.queue[i]
	q.queue = append(q.queue[:i], q.queue[i+1:]...)
	q.used -= d.size
	if q.scopes[d.scope]--; q.scopes[d.scope] == 0 {
		delete(q.scopes, d.scope)
	}
}

// batch returns the oldest commits of different scopes without removing them.
func (q *deferredQueue) batch(most int) []*deferredCommit {
	q.mu.Lock()
	defer q.mu.Unlock()
	var out []*deferredCommit
	taken := map[string]bool{}
	for _, d := range q.queue {
		if len(out) == most {
			break
		}
		if !taken[d.scope] {
			out = append(out, d)
			taken[d.scope] = true
		}
	}
	return out
}

// done removes d if it is still queued.
func (q *deferredQueue) done(d *deferredCommit) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for i, queued := range q.queue {
		if queued == d {
			q.remove(i)
			return
		}
	}
}

// CommitLater implements detect.Ledger.
func (o *Outbox) CommitLater(ctx context.Context, scope string, fallback bool, decide func(detect.View) (detect.Changes, error)) error {
	d := &deferredCommit{scope: scope, fallback: fallback, decide: decide}
	if o.deferred.has(scope) {
		return o.deferCommit(d, fmt.Errorf("committing: %w: earlier changes of the same scope still wait", detect.ErrStore))
	}
	// The client is waiting.
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.timeout)
	defer cancel()
	room, err := o.commit(bounded, store.Terms{Scopes: o.scopes(scope)}, decide)
	if !errors.Is(err, detect.ErrStore) {
		return err
	}
	d.size = room
	return o.deferCommit(d, err)
}

// deferCommit queues d after err, and returns an error that says what happened to it.
func (o *Outbox) deferCommit(d *deferredCommit, err error) error {
	for _, dropped := range o.deferred.add(d) {
		o.drop(dropped)
		if dropped == d {
			return fmt.Errorf("dropped, no room in memory: %w", err)
		}
	}
	return fmt.Errorf("kept in memory: %w", err)
}

// drop counts a commit that memory has no room for. A commit with an intent is not lost: the intent
// is settled when the store works again.
func (o *Outbox) drop(d *deferredCommit) {
	if d.fallback {
		return
	}
	o.metrics.lost(1)
	o.log.Error("event lost", zap.String("scope", d.scope), zap.String("why", "the store fails and memory is full"))
}

// commitDeferredLoop commits what is queued until ctx ends. It waits longer after each failure.
func (o *Outbox) commitDeferredLoop(ctx context.Context) {
	rest := retryFirst
	for ctx.Err() == nil {
		batch := o.deferred.batch(deferredBatch)
		if len(batch) == 0 {
			rest = retryFirst
			select {
			case <-ctx.Done():
			case <-o.deferred.more:
			}
			continue
		}
		if o.commitDeferred(ctx, batch) {
			rest = retryFirst
			continue
		}
		sleep(ctx, rest)
		rest = min(2*rest, retryMost)
	}
}

// commitDeferred tries to commit a batch, one goroutine for each scope, and reports whether any of
// it was removed from the queue.
func (o *Outbox) commitDeferred(ctx context.Context, batch []*deferredCommit) bool {
	var group sync.WaitGroup
	var settled atomic.Bool
	for _, d := range batch {
		group.Go(func() {
			if o.commitOneDeferred(ctx, d) {
				settled.Store(true)
			}
		})
	}
	group.Wait()
	return settled.Load()
}

func (o *Outbox) commitOneDeferred(ctx context.Context, d *deferredCommit) bool {
	_, err := o.commit(ctx, store.Terms{Scopes: o.scopes(d.scope), Patience: o.timeout}, d.decide)
	if errors.Is(err, detect.ErrStore) || ctx.Err() != nil && err != nil {
		return false
	}
	// decide itself fails: another try would fail too.
	if err != nil {
		o.log.Error("deferred event refused", zap.String("scope", d.scope), zap.Error(err))
		if !d.fallback {
			o.metrics.lost(1)
		}
	}
	o.deferred.done(d)
	return true
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}
