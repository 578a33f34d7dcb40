package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	replayPage = 500 // events read at once
	replayPlan = 100 // events planned at once
)

// ErrNotEnabled means that the configuration disables the webhook, or all of them.
var ErrNotEnabled = errors.New("the webhook is not enabled in the configuration")

// Replayed counts the events and deliveries of a replay.
type Replayed struct {
	Events     int // events that the webhook never had and wants by its current filters
	Deliveries int
}

// Replay plans deliveries of recorded events for which the webhook had none, because it was not
// configured, not enabled, or had other filters. It considers events since the given time. With
// plan false it only counts them.
func (d *Dispatcher) Replay(ctx context.Context, webhook string, since time.Time, plan bool) (done Replayed, err error) {
	set := d.set.Load()
	h := set.named[webhook]
	switch {
	case h == nil:
		return done, fmt.Errorf("%q: %w", webhook, ErrNoWebhook)
	case !h.Enabled || !set.on:
		return done, fmt.Errorf("%q: %w", webhook, ErrNotEnabled)
	}
	q := store.EventQuery{Since: since, Ascending: true, Limit: replayPage}
	for t := range h.types {
		q.Types = append(q.Types, string(t))
	}
	var planned []store.Planned
	for {
		found, err := d.store.Events(ctx, q)
		if err != nil {
			return done, err
		}
		for _, e := range found {
			q.After = e.Seq
			p, err := d.planMissed(ctx, h, e)
			if err != nil {
				return done, err
			}
			if len(p.Deliveries) == 0 {
				continue
			}
			if !plan {
				done.Events, done.Deliveries = done.Events+1, done.Deliveries+len(p.Deliveries)
				continue
			}
			planned = append(planned, p)
		}
		if len(planned) >= replayPlan || len(found) < q.Limit && len(planned) > 0 {
			n, err := d.store.Plan(ctx, planned)
			done.Deliveries += n
			if err != nil {
				return done, err
			}
			done.Events, planned = done.Events+len(planned), nil
		}
		if len(found) < q.Limit {
			return done, nil
		}
	}
}

// planMissed plans the webhook's deliveries of an event, unless it already has some.
func (d *Dispatcher) planMissed(ctx context.Context, h *compiledWebhook, stored store.Event) (p store.Planned, err error) {
	p.Event = stored
	e, err := fromEvent(stored)
	if stored.Corrupt || err != nil {
		return p, nil // it cannot be decoded
	}
	var f eventView
	f.read(&e)
	because, tags := h.refusedBy(&f)
	if because != "" {
		return p, nil
	}
	got, err := d.store.Deliveries(ctx, store.DeliveryQuery{EventID: stored.ID, Webhook: h.Name, Limit: 1})
	if err != nil || len(got) > 0 {
		return p, err
	}
	p.Deliveries = h.plan(nil, &f, tags)
	return p, nil
}
