package manage

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// DeliveryDetail is a delivery with its request and all attempts.
type DeliveryDetail struct {
	Delivery
	Request *Request // nil: no attempt was made
	Log     []Attempt
}

// Request is a POST as it is shown: with the webhook's current settings and masked secrets.
type Request struct {
	URL    string // "": the webhook was removed
	Header http.Header
	Body   string
	Binary []byte // the body, if it is not text
}

// Attempt is one POST and its answer.
type Attempt struct {
	At       time.Time
	Status   int
	Latency  time.Duration
	Reason   string
	Error    string
	Response string
	Replica  string
}

// Delivery returns one delivery.
func (d *AccountDeliveries) Delivery(ctx context.Context, by access.Principal, id int64) (detail DeliveryDetail, err error) {
	s, err := d.search(ctx, by, DeliveryQuery{IDs: []int64{id}})
	if err != nil {
		return detail, err
	}
	inScope := false
	_, _, err = d.find(ctx, s, 1, func(store.Delivery, *detect.Event) error { inScope = true; return nil })
	if err != nil {
		return detail, err
	}
	found, err := d.Dispatcher.Deliveries(ctx, store.DeliveryQuery{IDs: []int64{id}}) // with its payload
	if err != nil {
		return detail, err
	}
	if !inScope || len(found) == 0 {
		return detail, fmt.Errorf("%w: there is no delivery %d", ErrNotFound, id)
	}
	show, err := d.shower(ctx, by)
	if err != nil {
		return detail, err
	}
	events, err := d.eventsOf(ctx, found)
	if err != nil {
		return detail, err
	}
	detail.Delivery = show(found[0], events[found[0].EventSeq])
	detail.Request = requestOf(d.Running.Set(), &found[0])
	attempts, err := d.Attempts(ctx, by, id)
	for _, at := range attempts {
		detail.Log = append(detail.Log, Attempt{at.At, at.Status, at.Latency, at.Reason, at.Error, strings.ToValidUTF8(string(at.Response), "\uFFFD"), at.Replica})
	}
	return detail, err
}

// requestOf returns the request of a delivery; nil if no attempt was made.
func requestOf(set *HookSet, d *store.Delivery) *Request {
	if d.Payload == nil {
		return nil
	}
	r := &Request{Header: http.Header{"Content-Type": {d.Payload.ContentType}}, Body: string(d.Payload.Body)}
	if !utf8.Valid(d.Payload.Body) {
		r.Body, r.Binary = "", d.Payload.Body
	}
	if h := set.Named(d.Webhook); h != nil {
		m := notify.MessageOf(*d)
		if r.URL = h.Complete.URL; len(m.Values) > 0 {
			r.URL = webhook.Filled(h.URL, m.Values)
		}
		r.Header = h.Client.Shown(m)
	}
	return r
}

// Attempts returns the attempts of a delivery in scope, as an account may see them.
func (d *AccountDeliveries) Attempts(ctx context.Context, by access.Principal, delivery int64) ([]store.Attempt, error) {
	all, err := d.Dispatcher.Attempts(ctx, delivery)
	for i := range all {
		at := &all[i]
		at.Error = errorFor(by, at.Status, at.Reason, at.Error)
		at.Reason = reasonFor(by, at.Reason)
	}
	return all, err
}

// shower returns a function that converts a delivery to the form that an account sees.
func (d *AccountDeliveries) shower(ctx context.Context, by access.Principal) (func(store.Delivery, *detect.Event) Delivery, error) {
	waits, err := d.Dispatcher.Waits(ctx)
	if err != nil {
		return nil, err
	}
	set := d.Running.Set()
	return func(one store.Delivery, e *detect.Event) Delivery {
		shown := Delivery{ID: one.ID, Webhook: d.refOf(set, one.Webhook), State: stateNames[one.State], EventID: one.EventID, Attempts: one.Attempts,
			Status: one.Status, Reason: reasonFor(by, one.Reason), Created: one.CreatedAt, Finished: one.FinishedAt}
		if one.State == store.Pending || one.State == store.Parked {
			wait := waits(one)
			shown.NextAt, shown.Waits = wait.Until, wait.For
		}
		if e != nil {
			shown.EventType, shown.Repository, shown.Tag = string(e.Type), format.NewBellbuoyEvent(e).Repository, tagOf(e, one.Number)
		}
		return shown
	}, nil
}

// tagOf returns the tags of a delivery: the tag with its number, which counts from 1, or all tags
// if the number is 0.
func tagOf(e *detect.Event, number int) string {
	switch {
	case e.Chart != nil:
		return e.Chart.Version
	case number == 0 || number > len(e.Tags):
		return joined(e.Tags)
	}
	return e.Tags[number-1]
}
