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
	probeEvery = time.Second
	firedEvery = time.Minute

	kindProbe = "notify.probe" // one row, written to see whether the store works again
)

// Run stores what Record and CommitLater leave behind. When ctx ends it makes a last effort of a few store timeouts, says what is lost, and returns nil.
func (o *Outbox) Run(ctx context.Context) error {
	last, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(2*o.timeout, cancel) })
	defer stop()

	o.loadFired(ctx)
	var group sync.WaitGroup
	group.Go(func() { o.drain(ctx) })
	group.Go(func() { o.play(ctx, last) })
	group.Go(func() { o.probe(ctx) })
	group.Go(func() { o.writeFired(ctx, last) })
	group.Wait()
	o.lastDrain(last)
	return nil
}

// lastDrain commits what is still kept, as long as it gets on, and counts the rest.
func (o *Outbox) lastDrain(ctx context.Context) {
	for ctx.Err() == nil {
		batch := o.kept.batch(keptAtOnce)
		if len(batch) == 0 {
			return
		}
		if !o.settleAll(ctx, batch) {
			sleep(ctx, keptPatience)
		}
	}
	for _, d := range o.kept.batch(o.kept.entries) {
		o.kept.settle(d)
		o.drop(d)
	}
}

// probe commits something while the last commit failed, so that the store is known to work again although nobody else dares.
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

// writeFired writes down when webhooks fired, each minute and at the end.
func (o *Outbox) writeFired(ctx, last context.Context) {
	ticker := time.NewTicker(firedEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			o.saveFired(last)
			return
		case <-ticker.C:
			o.saveFired(ctx)
		}
	}
}

func (o *Outbox) saveFired(ctx context.Context) {
	bounded, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	if err := o.fired.save(bounded, o.store); err != nil && !errors.Is(err, store.ErrClosed) {
		o.log.Warn("last-fired times not written", zap.Error(err))
	}
}

func (o *Outbox) loadFired(ctx context.Context) {
	if err := o.fired.load(ctx, o.store); err != nil && ctx.Err() == nil {
		o.log.Warn("last-fired times not read", zap.Error(err))
	}
}
