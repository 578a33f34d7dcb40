package manage

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Redeliver makes the deliveries that q selects due now, with a new schedule, and returns how many.
// Parked ones stay parked. The default of States is dead, unless ids are given.
func (d *AccountDeliveries) Redeliver(ctx context.Context, by access.Principal, q DeliveryQuery) (n int, err error) {
	s, err := d.redeliverable(ctx, by, q)
	if err != nil {
		return 0, err
	}
	err = d.everyPage(ctx, s, func(ids []int64) error {
		some, err := d.Dispatcher.Redeliver(ctx, store.DeliveryQuery{IDs: ids})
		n += some
		return err
	})
	if n > 0 {
		d.Log.Info("deliveries to be delivered again", zap.String("account", by.Name), zap.Int("deliveries", n),
			zap.Strings("webhooks", s.Webhooks), zap.Int64s("ids", q.IDs), zap.Strings("states", q.States))
	}
	return n, err
}

// Redeliverable returns how many deliveries Redeliver would make due, at most 10,000.
func (d *AccountDeliveries) Redeliverable(ctx context.Context, by access.Principal, q DeliveryQuery) (int, error) {
	s, err := d.redeliverable(ctx, by, q)
	if err != nil {
		return 0, err
	}
	return d.count(ctx, s)
}

func (d *AccountDeliveries) redeliverable(ctx context.Context, by access.Principal, q DeliveryQuery) (s deliverySearch, err error) {
	if q.Cursor != "" {
		return s, problem("cursor", "it is for lists only")
	}
	if q.WebhookKey != "" && d.Running.Set().Find(q.WebhookKey) == nil {
		return s, d.noWebhook(by, q.WebhookKey)
	}
	if slices.Contains(q.States, "parked") {
		return s, problem("state", "parked deliveries cannot be delivered: their webhook is not configured or not enabled")
	}
	if len(q.States) == 0 {
		q.States = []string{"dead"}
		if len(q.IDs) > 0 {
			q.States = []string{"pending", "delivered", "dead"}
		}
	}
	return d.search(ctx, by, q)
}

// Replayed counts the events and deliveries of a replay.
type Replayed = notify.Replayed

// Replay plans deliveries of events since a time that match a webhook's filters and of which it has
// none. With plan false it only counts them.
func (d *AccountDeliveries) Replay(ctx context.Context, by access.Principal, number int64, since time.Time, plan bool) (Replayed, error) {
	if number == 0 {
		return Replayed{}, problem("webhook", "give a webhook")
	}
	return d.replay(ctx, by, DeliveryQuery{Webhook: number}, since, plan)
}

// ReplayNamed is Replay for a webhook by its key, or by project/name.
func (d *AccountDeliveries) ReplayNamed(ctx context.Context, by access.Principal, name string, since time.Time, plan bool) (Replayed, error) {
	return d.replay(ctx, by, DeliveryQuery{WebhookKey: name}, since, plan)
}

func (d *AccountDeliveries) replay(ctx context.Context, by access.Principal, of DeliveryQuery, since time.Time, plan bool) (Replayed, error) {
	keys, err := d.webhooksOf(ctx, by, of)
	if err != nil {
		return Replayed{}, err
	}
	done, err := d.Dispatcher.Replay(ctx, keys[0], since, plan)
	if plan && done.Deliveries > 0 {
		d.Log.Info("missed events planned for a webhook", zap.String("account", by.Name), zap.String("webhook", keys[0]), zap.Time("since", since), zap.Int("deliveries", done.Deliveries))
	}
	switch {
	case errors.Is(err, notify.ErrNotEnabled):
		err = problem("", "%v", err)
	case errors.Is(err, notify.ErrNoWebhook):
		err = fmt.Errorf("%w: %w", ErrNotFound, err)
	}
	return done, err
}
