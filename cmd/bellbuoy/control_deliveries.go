package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
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

// knowsWebhook returns the key of a webhook's deliveries. It returns an error for a name that
// neither the configuration, nor the store, nor a recorded delivery has.
func (api controlAPI) knowsWebhook(ctx context.Context, name string) (string, error) {
	hooks := api.running.Set()
	if name == "" || hooks.Find(name) != nil {
		return hooks.KeyOf(name), nil
	}
	left, err := api.dispatcher.Deliveries(ctx, store.DeliveryQuery{Webhook: name, Limit: 1})
	if err != nil || len(left) > 0 {
		return name, err
	}
	return "", fmt.Errorf("%q: %w; there are %s", name, notify.ErrNoWebhook, strings.Join(hooks.Keys(), ", "))
}

// webhookNames returns the keys of all webhooks.
func (api controlAPI) webhookNames(w http.ResponseWriter, _ *http.Request) error {
	return json.NewEncoder(w).Encode(api.running.Set().Keys())
}

// deliveries lists deliveries, oldest first.
func (api controlAPI) deliveries(w http.ResponseWriter, r *http.Request) error {
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
	if q.Webhook, err = api.knowsWebhook(r.Context(), q.Webhook); err != nil {
		return err
	}
	found, err := api.dispatcher.Deliveries(r.Context(), q)
	if err != nil {
		return err
	}
	slices.Reverse(found)
	out := json.NewEncoder(w)
	about := api.subjects()
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

// delivery returns one delivery with its request and all attempts.
func (api controlAPI) delivery(w http.ResponseWriter, r *http.Request) error {
	id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
	if err != nil {
		return fmt.Errorf("%w: the id of a delivery is a number", errBad)
	}
	found, err := api.dispatcher.Deliveries(r.Context(), store.DeliveryQuery{IDs: []int64{id}})
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return fmt.Errorf("there is no delivery %d: %w", id, store.ErrNotFound)
	}
	line, err := api.subjects()(r.Context(), found[0])
	if err != nil {
		return err
	}
	line.Sent = api.sentBy(&found[0])
	attempts, err := api.dispatcher.Attempts(r.Context(), id)
	if err != nil {
		return err
	}
	for _, at := range attempts {
		line.Log = append(line.Log, attemptLine{At: at.At, Status: at.Status, Millis: millis(at.Latency), Reason: at.Reason, Error: at.Error,
			Replica: at.Replica, Response: strings.ToValidUTF8(string(at.Response), "\uFFFD")})
	}
	return json.NewEncoder(w).Encode(line)
}

// sentBy returns the request of a delivery, with the webhook's current settings and masked secrets;
// nil if no attempt was made.
func (api controlAPI) sentBy(d *store.Delivery) *sentRequest {
	if d.Payload == nil {
		return nil
	}
	sent := &sentRequest{Header: http.Header{"Content-Type": {d.Payload.ContentType}}, Body: string(d.Payload.Body)}
	if !utf8.Valid(d.Payload.Body) {
		sent.Body, sent.Binary = "", d.Payload.Body
	}
	if h := api.running.Set().Named(d.Webhook); h != nil {
		m := notify.MessageOf(*d)
		sent.URL, sent.Header = h.ShownURL(m), h.Client.Shown(m)
	}
	return sent
}

// subjects returns a function that makes the line of a delivery, including its event. It reads an
// event only once for consecutive deliveries.
func (api controlAPI) subjects() func(context.Context, store.Delivery) (deliveryLine, error) {
	var last *detect.Event
	return func(ctx context.Context, d store.Delivery) (deliveryLine, error) {
		line := lineOf(d)
		if last == nil || last.ID != d.EventID {
			events, err := api.dispatcher.Events(ctx, store.EventQuery{ID: d.EventID, Limit: 1})
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

// tagOf returns the tags of a delivery: the one of its number, which counts from 1, or all for
// number 0.
func tagOf(e *detect.Event, number int) string {
	switch {
	case e.Chart != nil:
		return e.Chart.Version
	case number == 0 || number > len(e.Tags):
		return strings.Join(e.Tags, ",")
	}
	return e.Tags[number-1]
}

// replay answers GET, which counts, and POST, which plans.
func (api controlAPI) replay(w http.ResponseWriter, r *http.Request) error {
	since, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get("since"))
	if err != nil {
		return fmt.Errorf("%w: since: %w", errBad, err)
	}
	webhook, plan := api.running.Set().KeyOf(r.URL.Query().Get("webhook")), r.Method == http.MethodPost
	done, err := api.dispatcher.Replay(r.Context(), webhook, since, plan)
	if plan && done.Deliveries > 0 {
		api.log.Info("missed events planned for a webhook by command", zap.String("webhook", webhook), zap.Time("since", since), zap.Int("deliveries", done.Deliveries))
	}
	switch {
	case errors.Is(err, notify.ErrNotEnabled):
		return fmt.Errorf("%w: %w", errBad, err)
	case err != nil:
		return err
	}
	return json.NewEncoder(w).Encode(replayAnswer(done))
}

func (api controlAPI) redeliver(w http.ResponseWriter, r *http.Request) error {
	var in redeliverRequest
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil {
		return fmt.Errorf("%w: %w", errBad, err)
	}
	q := store.DeliveryQuery{IDs: in.IDs, Webhook: in.Webhook, Since: in.Since}
	for _, name := range in.States {
		state, err := stateOf(name)
		if err != nil {
			return err
		}
		if state == store.Parked {
			return fmt.Errorf("%w: parked deliveries cannot be delivered: their webhook is not configured or not enabled", errBad)
		}
		q.States = append(q.States, state)
	}
	if len(q.IDs) == 0 && q.Webhook == "" {
		return fmt.Errorf("%w: give deliveries or a webhook", errBad)
	}
	if q.Webhook != "" {
		h := api.running.Set().Find(q.Webhook)
		if h == nil {
			return fmt.Errorf("%q: %w", q.Webhook, notify.ErrNoWebhook)
		}
		q.Webhook = h.Name
	}
	n, err := api.dispatcher.Redeliver(r.Context(), q)
	if err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(countAnswer{Count: n})
}
