package notify

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const maintenanceEvery = time.Minute

// maintain lets go of what retention lets go, and parks and unparks, each minute and when there is reason to.
func (d *Dispatcher) maintain(ctx context.Context) {
	ticker := time.NewTicker(maintenanceEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.reconcileNow:
			d.reconcile(ctx)
		case <-ticker.C:
			d.reconcile(ctx)
			d.purge(ctx)
		}
	}
}

func (d *Dispatcher) purge(ctx context.Context) {
	d.mu.Lock()
	r := d.retention
	d.mu.Unlock()
	if r.retention == (store.Retention{}) && len(r.trims) == 0 {
		return
	}
	removed, err := d.store.Purge(ctx, r.retention, r.trims, time.Now())
	if err != nil && ctx.Err() == nil {
		d.log.Warn("retention not applied", zap.Int("removed", removed), zap.Error(err))
	}
}

// reconcile makes the store agree with the configuration: what waits for webhooks that are gone or have `enabled: false` is parked, what is parked of the
// others comes back. It repeats: an event may be planned by the old configuration in the instant of a reload.
func (d *Dispatcher) reconcile(ctx context.Context) {
	found, err := d.store.Depths(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.noteRead(err)
		}
		return
	}
	set := d.set.Load()
	for _, depth := range found {
		h := set.named[depth.Webhook]
		wanted := h != nil && h.Enabled
		switch {
		case !wanted && depth.Pending > 0:
			err = d.park(ctx, depth.Webhook)
		case wanted && depth.Parked > 0:
			err = d.unpark(ctx, depth.Webhook)
		case wanted && depth.Pending > 0:
			err = d.makeOverdueDue(ctx, h)
			d.kick(depth.Webhook) // nothing that waits is waited for in vain, whatever word of it was missed
		}
		if err != nil && ctx.Err() == nil {
			d.log.Warn("deliveries neither parked nor back nor brought forward", zap.String("webhook", depth.Webhook), zap.Error(err))
		}
	}
	d.forgetLanes()
}

// wakeOverslept makes due what waits for a time further away than the webhook's schedule reaches: the clock was set back, or the schedule was
// another one when the delivery failed.
func (d *Dispatcher) makeOverdueDue(ctx context.Context, h *compiledWebhook) error {
	if l := d.laneOf(h.Name); l == nil || !l.owned() {
		return nil
	}
	_, err := d.store.MakeDue(ctx, h.Name, h.schedule().longest()+time.Hour, nil)
	return err
}

func (d *Dispatcher) kick(webhook string) {
	if l := d.laneOf(webhook); l != nil {
		l.kick()
	}
}

// park needs the lane's lease: another replica's configuration may still have the webhook, and then its deliveries are its own.
func (d *Dispatcher) park(ctx context.Context, webhook string) error {
	if l := d.laneOf(webhook); l != nil && !l.idle() {
		return nil // the last to land comes back here
	}
	lanes, err := d.store.Lease(ctx, []string{webhook}, d.options.LeaseTTL, 1)
	if err != nil || len(lanes) == 0 {
		return err
	}
	if err := d.store.Park(ctx, webhook); err != nil {
		return err
	}
	d.log.Info("deliveries parked: their webhook is not configured or not enabled", zap.String("webhook", webhook))
	if h := d.set.Load().named[webhook]; h != nil && h.Enabled {
		return nil // it came back meanwhile, and its lane needs the lease
	}
	return d.store.Release(ctx, []string{webhook})
}

// unpark puts back what was parked; its age counts from now on.
func (d *Dispatcher) unpark(ctx context.Context, webhook string) error {
	l := d.laneOf(webhook)
	if l == nil || !l.owned() {
		return nil
	}
	if err := d.store.Unpark(ctx, webhook); err != nil {
		return err
	}
	d.log.Info("parked deliveries are back", zap.String("webhook", webhook))
	l.kick()
	return nil
}

func (d *Dispatcher) laneOf(webhook string) *lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lanes[webhook]
}

// forgetLanes drops the lanes of webhooks that are gone once nothing of them flies.
func (d *Dispatcher) forgetLanes() {
	d.mu.Lock()
	defer d.mu.Unlock()
	set := d.set.Load()
	for name, l := range d.lanes {
		if set.named[name] == nil && l.idle() {
			l.stop()
			delete(d.lanes, name)
			d.metrics.forget(name)
		}
	}
}

// gauges is what the metrics ask at each scrape.
func (d *Dispatcher) gauges() []laneGauges {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	found, err := d.store.Depths(ctx)
	by := map[string]store.Depth{}
	for _, depth := range found {
		by[depth.Webhook] = depth
	}
	var out []laneGauges
	for _, h := range d.set.Load().hooks {
		g := laneGauges{webhook: h.Name, known: err == nil, pending: by[h.Name].Pending, dead: by[h.Name].Dead, oldest: by[h.Name].Oldest}
		if l := d.laneOf(h.Name); l != nil {
			l.mu.Lock()
			g.open, g.off = l.circuit.open, l.switched.Off
			l.mu.Unlock()
		}
		out = append(out, g)
	}
	return out
}
