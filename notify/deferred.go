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
	keptRoom     = 4 << 10 // a decision's own size in memory, which nobody can measure; what it produced is added
	keptAtOnce   = 64      // kept decisions are committed side by side when their scopes differ
	keptPatience = 100 * time.Millisecond
	keptRest     = 5 * time.Second
)

// decision is a commit that is owed.
type decision struct {
	scope    string
	fallback bool // a durable intent stands behind it
	decide   func(detect.View) (detect.Changes, error)
	room     int
}

// kept is decisions that wait for the store, in order. Within a scope the order is kept, so that the older state of a tag never replaces the newer.
type kept struct {
	entries, bytes int // bounds

	mu     sync.Mutex
	queue  []*decision
	scopes map[string]int // how many wait of each
	used   int
	more   chan struct{} // something was added
}

func newKept(entries, bytes int) *kept {
	return &kept{entries: entries, bytes: bytes, scopes: map[string]int{}, more: make(chan struct{}, 1)}
}

func (k *kept) size() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.queue)
}

// waits tells whether something of the scope waits already.
func (k *kept) waits(scope string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.scopes[scope] > 0
}

// add keeps d, and returns what had to go for want of room: a decision with an intent behind it first, else d itself.
func (k *kept) add(d *decision) (dropped []*decision) {
	d.room += keptRoom
	k.mu.Lock()
	defer k.mu.Unlock()
	for len(k.queue) >= k.entries || k.used+d.room > k.bytes {
		victim := k.victim(d)
		if victim < 0 {
			return append(dropped, d)
		}
		dropped = append(dropped, k.queue[victim])
		k.remove(victim)
	}
	k.queue = append(k.queue, d)
	k.scopes[d.scope]++
	k.used += d.room
	select {
	case k.more <- struct{}{}:
	default:
	}
	return dropped
}

// victim is the oldest decision that an intent stands behind, when d itself has none; -1: nobody.
func (k *kept) victim(d *decision) int {
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

func (k *kept) remove(i int) {
	d := k.queue[i]
	k.queue = append(k.queue[:i], k.queue[i+1:]...)
	k.used -= d.room
	if k.scopes[d.scope]--; k.scopes[d.scope] == 0 {
		delete(k.scopes, d.scope)
	}
}

// batch is the oldest decisions of different scopes. They stay in the queue.
func (k *kept) batch(most int) []*decision {
	k.mu.Lock()
	defer k.mu.Unlock()
	var out []*decision
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
func (k *kept) settle(d *decision) {
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
	d := &decision{scope: scope, fallback: fallback, decide: decide}
	if o.kept.waits(scope) {
		return o.keep(d, fmt.Errorf("committing: %w: earlier changes of the same scope still wait", detect.ErrStore))
	}
	bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), o.timeout) // the client waits
	defer cancel()
	room, err := o.commit(bounded, store.Terms{Scopes: scopesOf(scope)}, decide)
	if !errors.Is(err, detect.ErrStore) {
		return err
	}
	d.room = room
	return o.keep(d, err)
}

// keep puts d aside because of err, and says so.
func (o *Outbox) keep(d *decision, err error) error {
	for _, dropped := range o.kept.add(d) {
		o.drop(dropped)
		if dropped == d {
			return fmt.Errorf("dropped, no room in memory: %w", err)
		}
	}
	return fmt.Errorf("kept in memory: %w", err)
}

// drop counts a decision that memory has no room for. One with an intent behind it is not lost: the intent is settled when the store is back.
func (o *Outbox) drop(d *decision) {
	if d.fallback {
		return
	}
	o.metrics.lost(1)
	o.log.Error("event lost", zap.String("scope", d.scope), zap.String("why", "the store fails and memory is full"))
}

// drain commits what is kept until ctx ends, resting longer and longer while the store fails.
func (o *Outbox) drain(ctx context.Context) {
	rest := keptPatience
	for ctx.Err() == nil {
		batch := o.kept.batch(keptAtOnce)
		if len(batch) == 0 {
			rest = keptPatience
			select {
			case <-ctx.Done():
			case <-o.kept.more:
			}
			continue
		}
		if o.settleAll(ctx, batch) {
			rest = keptPatience
			continue
		}
		sleep(ctx, rest)
		rest = min(2*rest, keptRest)
	}
}

// settleAll tries to commit decisions of different scopes side by side, and tells whether any of them is settled.
func (o *Outbox) settleAll(ctx context.Context, batch []*decision) bool {
	var group sync.WaitGroup
	var settled atomic.Bool
	for _, d := range batch {
		group.Go(func() {
			if o.settle(ctx, d) {
				settled.Store(true)
			}
		})
	}
	group.Wait()
	return settled.Load()
}

func (o *Outbox) settle(ctx context.Context, d *decision) bool {
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
	o.kept.settle(d)
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
