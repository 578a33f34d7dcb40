package notify

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// kindReplica is the kind of rows whose ID is a replica. Due is when the replica counts as gone
// unless it renews the row.
const kindReplica = "notify.replica"

// keepLeases acquires and renews leases until ctx ends.
func (d *Dispatcher) keepLeases(ctx context.Context) {
	var leasing health
	for {
		err := d.lease(ctx)
		if ctx.Err() != nil {
			return
		}
		switch leasing.note(err) {
		case startedFailing:
			d.log.Error("lanes not leased", zap.Error(err))
		case recovered:
			d.log.Info("lanes leased again")
		}
		wait := d.options.LeaseTTL / 3
		if err != nil {
			wait = min(wait, laneRest)
		}
		timer := time.NewTimer(wait)
		select {
		case <-d.leaseNow:
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// lease does one round: it reads the switches, renews leases, acquires free lanes, and releases
// lanes beyond the fair share.
func (d *Dispatcher) lease(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, min(d.options.LeaseTTL, readPatience))
	defer cancel()
	if err := d.loadSwitches(ctx); err != nil {
		return err
	}
	wanted := d.laneNames(func(l *lane) bool { return l.wanted() })
	slices.Sort(wanted)
	fair := 0
	if d.options.Shared {
		share, err := d.fairShare(ctx, len(wanted))
		if err != nil {
			return err
		}
		fair = max(1, share-d.ownedLanes())
		defer d.releaseExtraLanes(ctx, share)
	}
	until := time.Now().Add(d.options.LeaseTTL)
	lanes, err := d.store.Lease(ctx, wanted, d.options.LeaseTTL, fair)
	if err != nil {
		return err
	}
	d.applyLeases(lanes, until)
	return nil
}

func (d *Dispatcher) applyLeases(lanes []store.Lane, until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	mine := map[string]bool{}
	anew := false
	for _, leased := range lanes {
		mine[leased.Webhook] = true
		if l := d.lanes[leased.Webhook]; l != nil && l.takeLease(leased.Epoch, until, leased.State) {
			anew = true
		}
	}
	for name, l := range d.lanes {
		if !mine[name] {
			l.loseLease()
		}
	}
	if anew {
		d.reconcileSoon() // the new lanes may have parked deliveries
	}
}

func (d *Dispatcher) ownedLanes() int {
	return len(d.laneNames(func(l *lane) bool { return l.owned() }))
}

// fairShare registers this replica as alive and returns how many lanes each living replica should
// own.
func (d *Dispatcher) fairShare(ctx context.Context, lanes int) (int, error) {
	now := time.Now()
	living := 1
	err := d.store.Update(ctx, nil, func(tx store.Tx) error {
		rows, err := tx.Scan(kindReplica, "", allRows)
		if err != nil {
			return err
		}
		living = 1
		for _, r := range rows {
			switch {
			case r.ID == d.options.Replica:
			case now.Before(r.Due):
				living++
			case now.Sub(r.Due) > time.Hour:
				tx.Delete(r.Key)
			}
		}
		tx.Put(store.Row{Key: store.Key{Kind: kindReplica, ID: d.options.Replica}, Due: now.Add(d.options.LeaseTTL), Seen: now})
		return nil
	})
	return (lanes + living - 1) / living, err
}

// releaseExtraLanes releases lanes beyond the share, so that a new replica gets its own. It
// tolerates a tenth more, because the lanes of a killed replica are acquired before it counts as
// gone.
func (d *Dispatcher) releaseExtraLanes(ctx context.Context, share int) {
	extra := d.ownedLanes() - share
	if extra <= share/10 {
		return
	}
	var names []string
	for _, name := range d.laneNames(func(l *lane) bool { return l.owned() && l.idle() }) {
		if len(names) < extra {
			names = append(names, name)
		}
	}
	d.mu.Lock()
	for _, name := range names {
		d.lanes[name].loseLease()
	}
	d.mu.Unlock()
	if err := d.store.Release(ctx, names); err != nil {
		d.log.Warn("lanes not released", zap.Error(err))
	}
}
