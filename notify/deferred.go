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
	deferredOverhead = 4 << 10 // a decision's own size in memory, which nobody can measure; what it produced is added
	deferredBatch    = 64      // kept decisions are committed side by side when their scopes differ
	retryFirst       = 100 * time.Millisecond
	retryMost        = 5 * time.Second
)

// decision is a commit that is owed.
type deferredCommit struct {
	scope    string
	fallback bool // a durable intent stands behind it
	decide   func(detect.View) (detect.Changes, error)
	size     int
}

// kept is decisions that wait for the store, in order. Within a scope the order is kept, so that the older state of a tag never replaces the newer.
type deferredQueue struct {
	entries, bytes int // bounds

	mu     sync.Mutex
	queue  []*deferredCommit
	scopes map[string]int // how many wait of each
	used   int
	more   chan struct{} // something was added
}

func newDeferredQueue(entries, bytes int) *deferredQueue {
	return &deferredQueue{entries: entries, bytes: bytes, scopes: map[string]int{}, more: make(chan struct{}, 1)}
}

func (k *deferredQueue) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.queue)
}

// waits tells whether something of the scope waits already.
func (k *deferredQueue) waits(scope string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.scopes[scope] > 0
}

// add keeps d, and returns what had to go for want of room: a decision with an intent behind it first, else d itself.
func (k *deferredQueue) add(d *deferredCommit) (dropped []*deferredCommit) {
	d.size += deferredOverhead
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.queue) >= k.entries || k.used+d.size > k.bytes {
		victim := k.evictable(d)
		if victim < 0 {
			return append(dropped, d)
		}
		dropped = append(dropped, k.queue[victim])
		k.remove(victim)
	}
	k.queue = append(k.queue, d)
	k.scopes[d.scope]++
	k.used += d.size
	select {
	case k.more <- struct{}{}:
	default:
	}
	return dropped
}

// victim is the oldest decision that an intent stands behind, when d itself has none; -1: nobody.
func (k *deferredQueue) evictable(d *deferredCommit) int {
	if d.fallback {
		return -1
	}
	for i, q := range k.queue {
		if q.fallback {
			return i
		}
	}
	return -1
}

func (k *deferredQueue) remove(i int) {
	d := k.queue[i]
	k.queue = append(k.queue[:i], k.queue[i+1:]...)
	k.used -= d.size
	if k.scopes[d.scope]--; k.scopes[d.scope] == 0 {
		delete(k.scopes, d.scope)
	}
}

// batch is the oldest decisions of different scopes. They stay in the queue.
func (k *deferredQueue) batch(most int) []*deferredCommit {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*deferredCommit
	taken := map[string]bool{}
	for _, d := range k.queue {
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

// settle removes d, if it is still there.
func (k *deferredQueue) done(d *deferredCommit) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for i, q := range k.queue {
		if q == d {
			k.remove(i)
			return
		}
	}
}

// CommitLater implements detect.Ledger.
func (o *Outbox) CommitLater(ctx context.Context, scope string, fallback bool, decide func(detect.View) (detect.Changes, error)) error {
	d := &deferredCommit{scope: scope, fallback: fallback, decide: decide}
	if o.deferred.waits(scope) {
		return o.deferCommit(d, fmt.Errorf("committing: %w: earlier changes of the same scope still wait", detect.ErrStore))
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.timeout) // the client waits
	defer cancel()
	room, err := o.commit(bounded, store.Terms{Scopes: scopesOf(scope)}, decide)
	if !errors.Is(err, detect.ErrStore) {
		return err
	}
	d.size = room
	return o.deferCommit(d, err)
}

// keep puts d aside because of err, and says so.
func (o *Outbox) deferCommit(d *deferredCommit, err error) error {
	for _, dropped := range o.deferred.add(d) {
		o.drop(dropped)
		if dropped == d {
			return fmt.Errorf("dropped, no room in memory: %w", err)
		}
	}
	return fmt.Errorf("kept in memory: %w", err)
}

// drop counts a decision that memory has no room for. One with an intent behind it is not lost: the intent is settled when the store is back.
func (o *Outbox) drop(d *deferredCommit) {
	if d.fallback {
		return
	}
	o.metrics.lost(1)
	o.log.Error("event lost", zap.String("scope", d.scope), zap.String("why", "the store fails and memory is full"))
}

// drain commits what is kept until ctx ends, resting longer and longer while the store fails.
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

// settleAll tries to commit decisions of different scopes side by side, and tells whether any of them is settled.
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
	_, err := o.commit(ctx, store.Terms{Scopes: scopesOf(d.scope), Patience: o.timeout}, d.decide)
	if errors.Is(err, detect.ErrStore) || ctx.Err() != nil && err != nil {
		return false
	}
	if err != nil { // decide itself refuses: that does not get better
		o.log.Error("kept event refused", zap.String("scope", d.scope), zap.Error(err))
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
