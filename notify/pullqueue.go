package notify

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	pullBatch           = 500                  // events of one transaction
	pullBatchDeliveries = 1000                 // approximate bound on their deliveries
	pullBatchWait       = 5 * time.Millisecond // wait for more events of the same transaction
)

// pullQueue holds pull events until they are stored. Nobody waits for them.
type pullQueue struct {
	capacity int // bound on events that are queued or being stored

	mu      sync.Mutex
	waiting []detect.Event
	spare   []detect.Event // the second buffer, empty
	storing int            // events being stored
	lost    int            // events dropped since the last report

	more chan struct{}
}

func newPullQueue(room int) *pullQueue {
	return &pullQueue{capacity: room, more: make(chan struct{}, 1)}
}

// add queues events while there is room and returns how many it dropped.
func (t *pullQueue) add(events []detect.Event) (dropped int) {
	t.mu.Lock()
	free := max(0, t.capacity-t.storing-len(t.waiting))
	taken := min(free, len(events))
	first := len(t.waiting) == 0 && taken > 0
	t.waiting = append(t.waiting, events[:taken]...)
	dropped = len(events) - taken
	t.lost += dropped
	t.mu.Unlock()
	if first {
		select {
		case t.more <- struct{}{}:
		default:
		}
	}
	return dropped
}

// take returns all queued events. done must be called when they are stored.
func (t *pullQueue) take() (events []detect.Event, lost int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	events, t.waiting, t.spare = t.waiting, t.spare, nil
	lost, t.lost = t.lost, 0
	t.storing = len(events)
	return events, lost
}

func (t *pullQueue) done(events []detect.Event) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.storing = 0
	if cap(events) <= 4*pullBatch { // a buffer that a burst has enlarged is not reused
		clear(events)
		t.spare = events[:0]
	}
}

// Record implements detect.Ledger.
func (o *Outbox) Record(events ...detect.Event) {
	if dropped := o.pulls.add(events); dropped > 0 {
		o.metrics.lost(dropped)
	}
}

// storePulls stores queued events until ctx ends. Then it stores the rest, at most until last ends.
func (o *Outbox) storePulls(ctx, last context.Context) {
	for {
		select {
		case <-ctx.Done():
			o.storeQueuedPulls(last)
			return
		case <-o.pulls.more:
			sleep(ctx, pullBatchWait)
			o.storeQueuedPulls(last)
		}
	}
}

func (o *Outbox) storeQueuedPulls(ctx context.Context) {
	events, lost := o.pulls.take()
	if lost > 0 {
		o.log.Error("pull events lost", zap.Int("events", lost), zap.String("why", "the store is too slow for them"))
	}
	for rest := events; len(rest) > 0; {
		w, records, n := o.prepare(rest)
		rest = rest[n:]
		o.storeGroup(ctx, w, records)
	}
	o.pulls.done(events)
}

// storeGroup stores events in one transaction and retries while the store fails and ctx lasts. If
// an event of the group is invalid, it halves the group until only that event is lost.
func (o *Outbox) storeGroup(ctx context.Context, w *written, records []store.Event) {
	for rest := retryFirst; ; rest = min(2*rest, retryMost) {
		err := o.storeOnce(ctx, w, records)
		if err == nil {
			return
		}
		if errors.Is(err, store.ErrInvalid) && len(records) > 1 {
			half := len(records) / 2
			o.storeGroup(ctx, w.part(0, half), records[:half])
			o.storeGroup(ctx, w.part(half, len(records)), records[half:])
			return
		}
		if ctx.Err() != nil || errors.Is(err, store.ErrInvalid) {
			o.metrics.lost(len(records))
			o.log.Error("pull events lost", zap.Int("events", len(records)), zap.Error(err))
			return
		}
		sleep(ctx, rest)
	}
}

func (w *written) part(from, to int) *written {
	return &written{events: w.events[from:to], deliveries: w.deliveries[from:to]}
}

func (o *Outbox) storeOnce(ctx context.Context, w *written, records []store.Event) error {
	begun := time.Now()
	err := o.store.UpdateOn(ctx, store.Terms{Patience: o.timeout}, func(tx store.Tx) error {
		for i, r := range records {
			tx.Append(r, w.deliveries[i]...)
		}
		return nil
	})
	o.committed(w, begun, err, ctx)
	return err
}

// prepare encodes and plans the first n events, which fit into one transaction. It runs outside the
// writer because it reads nothing from the store.
func (o *Outbox) prepare(events []detect.Event) (w *written, records []store.Event, n int) {
	most := min(len(events), pullBatch)
	w = &written{events: make([]detect.Event, 0, most), deliveries: make([][]store.Delivery, 0, most)}
	records = make([]store.Event, 0, most)
	set := o.set.Load()
	for planned := 0; n < most && planned < pullBatchDeliveries; n++ {
		e := &events[n]
		record, err := toEvent(e)
		if err != nil {
			o.metrics.lost(1)
			o.log.Error("event lost", zap.Error(err))
			continue
		}
		deliveries := set.Plan(e)
		if len(deliveries) > 0 {
			o.cache.add(e, record.Data)
		}
		planned += len(deliveries)
		w.events = append(w.events, *e)
		w.deliveries = append(w.deliveries, deliveries)
		records = append(records, record)
	}
	return w, records, n
}
