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
func (d *Desk) Delivery(ctx context.Context, by access.Principal, id int64) (detail DeliveryDetail, err error) {
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
