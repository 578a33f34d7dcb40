package notify

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	probeEvery     = time.Second
	lastFiredEvery = time.Minute

	kindProbe = "notify.probe" // one row that probes whether the store works again
)

// Run stores what Record and CommitLater leave in memory. When ctx ends, it tries for a few more
// store timeouts, logs what is lost, and returns nil.
func (o *Outbox) Run(ctx context.Context) error {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(2*o.timeout, cancel) })
	defer stop()

	o.loadLastFired(ctx)
	var group sync.WaitGroup
	group.Go(func() { o.commitDeferredLoop(ctx) })
	group.Go(func() { o.storePulls(ctx, last) })
	group.Go(func() { o.probe(ctx) })
	group.Go(func() { o.saveLastFiredLoop(ctx, last) })
	group.Wait()
	o.commitLastDeferred(last)
	return nil
}

// commitLastDeferred commits what is still queued while commits succeed, and counts the rest as
// lost.
func (o *Outbox) commitLastDeferred(ctx context.Context) {
	for ctx.Err() == nil {
		batch := o.deferred.batch(deferredBatch)
		if len(batch) == 0 {
			return
		}
		if !o.commitDeferred(ctx, batch) {
			sleep(ctx, retryFirst)
		}
	}
	for _, d := range o.deferred.batch(o.deferred.entries) {
		o.deferred.done(d)
		o.drop(d)
	}
}

// probe commits a row every second after a failed commit, so that a recovery of the store is
// noticed even if nobody else commits.
func (o *Outbox) probe(ctx context.Context) {
	ticker := time.NewTicker(probeEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if o.Healthy() == nil {
			continue
		}
		err := o.store.UpdateOn(ctx, store.Terms{Ahead: true, Patience: o.timeout}, func(tx store.Tx) error {
			tx.Put(store.Row{Key: store.Key{Kind: kindProbe, ID: "probe"}, Seen: time.Now()})
			return nil
		})
		if ctx.Err() == nil {
			o.noteHealth(err)
		}
	}
}

// saveLastFiredLoop saves the last-fired times every minute and at the end.
func (o *Outbox) saveLastFiredLoop(ctx, last context.Context) {
	ticker := time.NewTicker(lastFiredEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			o.saveLastFired(last)
			return
		case <-ticker.C:
			o.saveLastFired(ctx)
		}
	}
}

func (o *Outbox) saveLastFired(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := o.lastFired.save(bounded, o.store); err != nil && !errors.Is(err, store.ErrClosed) {
		o.log.Warn("last-fired times not written", zap.Error(err))
	}
}

func (o *Outbox) loadLastFired(ctx context.Context) {
	if err := o.lastFired.load(ctx, o.store); err != nil && ctx.Err() == nil {
		o.log.Warn("last-fired times not read", zap.Error(err))
	}
}
