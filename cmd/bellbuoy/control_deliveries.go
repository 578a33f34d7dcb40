package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

var stateNames = map[store.State]string{store.Pending: "pending", store.Delivered: "delivered", store.Dead: "dead", store.Parked: "parked"}

func stateOf(name string) (store.State, error) {
	for state, known := range stateNames {
		if known == name {
			return state, nil
		}
	}
	return 0, fmt.Errorf("%w: %q is not a state: pending, delivered, dead or parked", errBad, name)
}

// knowsWebhook refuses a name that neither the configuration has nor a recorded delivery.
func (b *buoy) knowsWebhook(ctx context.Context, name string) error {
	hooks := b.wiring.Load().config.Webhooks
	if name == "" || slices.ContainsFunc(hooks, func(w config.Webhook) bool { return w.Name == name }) {
		return nil
	}
	left, err := b.dispatcher.Deliveries(ctx, store.DeliveryQuery{Webhook: name, Limit: 1})
	if err != nil || len(left) > 0 {
		return err
	}
	return fmt.Errorf("%q: %w; there are %s", name, notify.ErrNoWebhook, strings.Join(b.webhookNames(), ", "))
}

func (b *buoy) webhookNames() (names []string) {
	for _, w := range b.wiring.Load().config.Webhooks {
		names = append(names, w.Name)
	}
	return names
}

// controlWebhooks is the names of the configured webhooks.
func (b *buoy) controlWebhooks(w http.ResponseWriter, _ *http.Request) error {
	return json.NewEncoder(w).Encode(b.webhookNames())
}

// controlDeliveries lists deliveries, oldest first.
func (b *buoy) controlDeliveries(w http.ResponseWriter, r *http.Request) error {
	form := r.URL.Query()
	q := store.DeliveryQuery{Webhook: form.Get("webhook"), EventID: form.Get("event")}
	var err error
	if q.Limit, err = limitOf(form, 50); err != nil {
		return err
	}
	if q.Since, q.Until, err = spanOf(form); err != nil {
		return err
	}
	for _, name := range form["state"] {
		state, err := stateOf(name)
		if err != nil {
			return err
		}
		q.States = append(q.States, state)
	}
	if err := b.knowsWebhook(r.Context(), q.Webhook); err != nil {
		return err
	}
	found, err := b.dispatcher.Deliveries(r.Context(), q)
	if err != nil {
		return err
	}
	slices.Reverse(found)
	out := json.NewEncoder(w)
	about := b.subjects()
	for _, d := range found {
		line, err := about(r.Context(), d)
		if err != nil {
			return err
		}
		if out.Encode(line) != nil {
			return nil
		}
	}
	return nil
}

// controlDelivery shows one delivery with what was sent and every answer.
func (b *buoy) controlDelivery(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: the id of a delivery is a number", errBad)
	}
	found, err := b.dispatcher.Deliveries(r.Context(), store.DeliveryQuery{IDs: []int64{id}})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("there is no delivery %d: %w", id, store.ErrNotFound)
	}
	line, err := b.subjects()(r.Context(), found[0])
	if err != nil {
		return err
	}
	line.Sent = b.sentBy(&found[0])
	attempts, err := b.dispatcher.Attempts(r.Context(), id)
	if err != nil {
		return err
	}
	for _, at := range attempts {
		line.Log = append(line.Log, attemptLine{At: at.At, Status: at.Status, Millis: millis(at.Latency), Reason: at.Reason, Error: at.Error,
			Replica: at.Replica, Response: strings.ToValidUTF8(string(at.Response), "\uFFFD")})
	}
	return json.NewEncoder(w).Encode(line)
}

// sentBy is the request of a delivery as its webhook is configured now, secrets masked. nil: none was made yet.
func (b *buoy) sentBy(d *store.Delivery) *sentRequest {
	if d.Payload == nil {
		return nil
	}
	sent := &sentRequest{Header: http.Header{"Content-Type": {d.Payload.ContentType}}, Body: string(d.Payload.Body)}
	if !utf8.Valid(d.Payload.Body) {
		sent.Body, sent.Binary = "", d.Payload.Body
	}
	w := b.wiring.Load()
	for i := range w.config.Webhooks {
		if w.config.Webhooks[i].Name == d.Webhook {
			m := notify.MessageOf(*d)
			sent.URL = w.config.Webhooks[i].URL.String()
			if len(m.Values) > 0 {
				sent.URL = webhook.Filled(w.config.Webhooks[i].URL.Reveal(), m.Values)
			}
			sent.Header = w.clients[i].Shown(m)
		}
	}
	return sent
}

// subjects returns a function that makes the line of a delivery with what its event is about. It reads an event once for all of
// its deliveries that follow each other.
func (b *buoy) subjects() func(context.Context, store.Delivery) (deliveryLine, error) {
	var last *detect.Event
	return func(ctx context.Context, d store.Delivery) (deliveryLine, error) {
		line := lineOf(d)
		if last == nil || last.ID != d.EventID {
			events, err := b.dispatcher.Events(ctx, store.EventQuery{ID: d.EventID, Limit: 1})
			if err != nil || len(events) == 0 {
				return line, err
			}
			last = &events[0]
		}
		line.Type, line.Repository = string(last.Type), format.NewBellbuoyEvent(last).Repository
		line.Tag = tagOf(last, d.Number)
		return line, nil
	}
}

// tagOf is what a delivery is about: the tag of its number, which counts from 1; all of them where its format names them together (0).
func tagOf(e *detect.Event, number int) string {
	switch {
	case e.Chart != nil:
		return e.Chart.Version
	case number == 0 || number > len(e.Tags):
		return strings.Join(e.Tags, ",")
	}
	return e.Tags[number-1]
}
