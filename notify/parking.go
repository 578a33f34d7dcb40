package notify

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const maintenanceEvery = time.Minute

// maintain applies retention every minute, and reconciles every minute and on request.
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

// reconcile parks the pending deliveries of webhooks that were removed or have `enabled: false`,
// and unparks those of the others. It runs repeatedly, because an event may be planned with the old
// configuration at the moment of a reload.
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
		case h == nil && depth.Pending+depth.Parked > 0 && d.deleted(ctx, depth.Webhook):
			err = d.store.Bury(ctx, depth.Webhook)
		case !wanted && depth.Pending > 0:
			err = d.park(ctx, depth.Webhook)
		case wanted && depth.Parked > 0:
			err = d.unpark(ctx, depth.Webhook)
		case wanted && depth.Pending > 0:
			err = d.makeOverdueDue(ctx, h)
			d.kick(depth.Webhook) // in case the lane missed a wake
		}
		if err != nil && ctx.Err() == nil {
			d.log.Warn("deliveries not reconciled with the configuration", zap.String("webhook", depth.Webhook), zap.Error(err))
		}
	}
	d.forgetLanes()
}

// deleted reports whether a webhook of the store was deleted. It asks the store and not the set:
// another replica may have made the webhook just now.
func (d *Dispatcher) deleted(ctx context.Context, webhook string) bool {
	gone, err := d.options.Webhooks.gone(ctx, webhook)
	if err != nil && ctx.Err() == nil {
		d.noteRead(err)
	}
	return err == nil && gone
}

// makeOverdueDue makes deliveries due that wait longer than the webhook's schedule allows: the
// clock was set back, or the schedule was a longer one when they failed.
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

// park parks a webhook's deliveries. It needs the lane's lease: if another replica's configuration
// has the webhook, the deliveries belong to that replica.
func (d *Dispatcher) park(ctx context.Context, webhook string) error {
	if l := d.laneOf(webhook); l != nil && !l.idle() {
		return nil // the last outcome calls reconcile again
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
		return nil // the webhook returned meanwhile, and its lane needs the lease
	}
	return d.store.Release(ctx, []string{webhook})
}

// unpark makes parked deliveries pending again. Their age counts from now.
func (d *Dispatcher) unpark(ctx context.Context, webhook string) error {
	l := d.laneOf(webhook)
	if l == nil || !l.owned() {
		return nil
	}
	if err := d.store.Unpark(ctx, webhook); err != nil {
		return err
	}
	d.log.Info("deliveries unparked: their webhook is configured and enabled", zap.String("webhook", webhook))
	l.kick()
	return nil
}

func (d *Dispatcher) laneOf(webhook string) *lane {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.lanes[webhook]
}

// forgetLanes removes the lanes of webhooks that were removed, once nothing is in flight there.
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

// gauges returns the values of all lanes for a scrape of the metrics.
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
