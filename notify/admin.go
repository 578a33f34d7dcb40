package notify

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// ErrNoWebhook means that no webhook of that name is configured.
var ErrNoWebhook = errors.New("no such webhook")

// WebhookState describes the current state of a webhook.
type WebhookState struct {
	Name      string
	Enabled   bool   // in the configuration
	Off       string // SwitchedByGone, SwitchedByOperator, or "": it is on
	OffSince  time.Time
	OwnedHere bool // the lane belongs to this replica
	Open      bool // the circuit is open
	ProbeAt   time.Time
	// Failing is when the receiver began to fail. Zero: the last attempt succeeded, or there
	// was none.
	Failing time.Time
	Why     string // the error of the last failed attempt
	Pending int64
	Oldest  time.Time // when the oldest pending delivery was planned; zero: none is pending
	Dead    int64
	Parked  int64
	Fired   map[detect.Type]time.Time // the last event that the webhook got, by type
}

// States returns the state of each webhook, in the order of the configuration.
func (d *Dispatcher) States(ctx context.Context) ([]WebhookState, error) {
	found, err := d.store.Depths(ctx)
	if err != nil {
		return nil, fmt.Errorf("counting deliveries: %w", err)
	}
	elsewhere, err := d.store.LaneStates(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading lanes: %w", err)
	}
	by := map[string]store.Depth{}
	for _, depth := range found {
		by[depth.Webhook] = depth
	}
	var out []WebhookState
	for _, h := range d.set.Load().hooks {
		depth := by[h.Name]
		s := WebhookState{Name: h.Name, Enabled: h.Enabled, Pending: depth.Pending, Oldest: depth.Oldest, Dead: depth.Dead, Parked: depth.Parked,
			Fired: d.outbox.lastFired.of(h.Name)}
		if l := d.laneOf(h.Name); l != nil {
			l.describe(&s, elsewhere[h.Name])
		}
		out = append(out, s)
	}
	return out, nil
}

// Redeliver makes deliveries due now, in any state but parked. It returns how many. Where the
// circuit of their webhook is open, the next probe is due now too.
func (d *Dispatcher) Redeliver(ctx context.Context, q store.DeliveryQuery) (int, error) {
	n, err := d.store.Redeliver(ctx, q)
	d.wake(store.Wake{Webhook: q.Webhook})
	if err != nil {
		return n, fmt.Errorf("redelivering: %w", err)
	}
	if n == 0 {
		return 0, nil
	}
	return n, d.probeNow(ctx, q)
}

// probeNow makes the next probe due of all webhooks of the deliveries that q selects.
func (d *Dispatcher) probeNow(ctx context.Context, q store.DeliveryQuery) error {
	names := map[string]bool{q.Webhook: true}
	if q.Webhook == "" {
		q.Limit = max(q.Limit, len(q.IDs))
		q.States = nil // they are pending now
		found, err := d.store.Deliveries(ctx, q)
		if err != nil {
			return fmt.Errorf("reading what is redelivered: %w", err)
		}
		for _, f := range found {
			names[f.Webhook] = true
		}
	}
	for name := range names {
		if l := d.laneOf(name); l != nil {
			l.probeNow()
		}
	}
	return nil
}

// Sample returns the message of a webhook for a sample event of a type; "" is the first type that
// the webhook gets.
func Sample(w Webhook, t detect.Type) (webhook.Message, error) {
	h, err := compile(w)
	if err != nil {
		return webhook.Message{}, err
	}
	if t == "" {
		t = h.sampleType()
	}
	if !h.canRender(t) {
		return webhook.Message{}, fmt.Errorf("it has no body for %s", t)
	}
	return h.sample(t)
}

func (h *compiledWebhook) sample(t detect.Type) (webhook.Message, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return webhook.Message{}, fmt.Errorf("making an id: %w", err)
	}
	e := format.Sample(t)
	e.ID, e.At, e.FirstSeen = id.String(), time.Now(), time.Now()
	number := 0
	if h.perTag() && perTagType(e.Type) {
		number = 1
	}
	p, err := h.payload(e, number)
	if err != nil {
		return webhook.Message{}, err
	}
	return message(messageID(store.Delivery{EventID: e.ID, Number: number}), p), nil
}

// Explain reports, for each webhook, whether it would get the event.
func (d *Dispatcher) Explain(e detect.Event) []Verdict { return d.set.Load().Explain(e) }

// Events returns recorded events.
func (d *Dispatcher) Events(ctx context.Context, q store.EventQuery) ([]detect.Event, error) {
	found, err := d.store.Events(ctx, q)
	if err != nil {
		return nil, err
	}
	return shownEvents(found), nil
}

// shownEvents decodes events. One that cannot be decoded is shown with its search columns, so that
// the others are still listed.
func shownEvents(found []store.Event) []detect.Event {
	out := make([]detect.Event, 0, len(found))
	for _, s := range found {
		e, err := fromEvent(s)
		if err != nil {
			e = detect.Event{ID: s.ID, Seq: s.Seq, Type: detect.Type(s.Type), At: s.At, Upstream: s.Upstream, Repository: s.Repository}
		}
		out = append(out, e)
	}
	return out
}

// EventsSearched is a page of recorded events, newest first; see store.FoundEvents.
type EventsSearched struct {
	Events   []detect.Event
	Next     int64
	LookedTo time.Time
}

// SearchEvents returns a page of recorded events.
func (d *Dispatcher) SearchEvents(ctx context.Context, q store.EventSearch) (EventsSearched, error) {
	found, err := d.store.SearchEvents(ctx, q)
	if err != nil {
		return EventsSearched{}, err
	}
	return EventsSearched{shownEvents(found.Events), found.Next, found.LookedTo}, nil
}

// SearchDeliveries returns a page of recorded deliveries.
func (d *Dispatcher) SearchDeliveries(ctx context.Context, q store.DeliverySearch) (store.FoundDeliveries, error) {
	return d.store.SearchDeliveries(ctx, q)
}

// LastFired returns when a webhook last got an event of each type.
func (d *Dispatcher) LastFired(webhook string) map[detect.Type]time.Time {
	return d.outbox.lastFired.of(webhook)
}

// EventAppended returns a channel that is closed when an event is appended.
func (d *Dispatcher) EventAppended() <-chan struct{} { return d.store.EventAppended() }

// Deliveries returns recorded deliveries.
func (d *Dispatcher) Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	return d.store.Deliveries(ctx, q)
}

// Attempts returns the recorded attempts of one delivery.
func (d *Dispatcher) Attempts(ctx context.Context, deliveryID int64) ([]store.Attempt, error) {
	return d.store.Attempts(ctx, deliveryID)
}

// sampleType returns a type that the webhook wants, or a push if it wants none.
func (h *compiledWebhook) sampleType() detect.Type {
	for _, t := range Types() {
		if h.types[t] {
			return t
		}
	}
	return detect.PushArtifact
}
