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
	h, err := d.replayable(webhook)
	if err != nil {
		return done, err
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
		missed, err := d.missedOf(ctx, h, found)
		if err != nil {
			return done, err
		}
		if len(found) > 0 {
			q.After = found[len(found)-1].Seq
		}
		if plan {
			planned = append(planned, missed...)
		} else {
			done.Events += len(missed)
			for _, p := range missed {
				done.Deliveries += len(p.Deliveries)
			}
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

// replayable returns the webhook of that name if the configuration enables it.
func (d *Dispatcher) replayable(webhook string) (*compiledWebhook, error) {
	set := d.set.Load()
	switch h := set.named[webhook]; {
	case h == nil:
		return nil, fmt.Errorf("%q: %w", webhook, ErrNoWebhook)
	case !h.Enabled || !set.on:
		return nil, fmt.Errorf("%q: %w", webhook, ErrNotEnabled)
	default:
		return h, nil
	}
}

// missedOf plans the webhook's deliveries of those events of which it has none.
func (d *Dispatcher) missedOf(ctx context.Context, h *compiledWebhook, events []store.Event) (missed []store.Planned, err error) {
	for _, e := range events {
		p, err := d.planMissed(ctx, h, e)
		if err != nil {
			return nil, err
		}
		if len(p.Deliveries) > 0 {
			missed = append(missed, p)
		}
	}
	return missed, nil
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
