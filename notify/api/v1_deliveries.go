package api

import (
	"context"
	"net/http"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// V1Deliveries reads and repeats deliveries within an account's scope. *manage.Desk implements it.
type V1Deliveries interface {
	Deliveries(ctx context.Context, by access.Principal, q manage.DeliveryQuery) (manage.DeliveryPage, error)
	Delivery(ctx context.Context, by access.Principal, id int64) (manage.DeliveryDetail, error)
	Count(ctx context.Context, by access.Principal, q manage.DeliveryQuery) (int, error)
	Redeliver(ctx context.Context, by access.Principal, q manage.DeliveryQuery) (int, error)
	Redeliverable(ctx context.Context, by access.Principal, q manage.DeliveryQuery) (int, error)
	Replay(ctx context.Context, by access.Principal, number int64, since time.Time, plan bool) (manage.Replayed, error)
	ReplayNamed(ctx context.Context, by access.Principal, name string, since time.Time, plan bool) (manage.Replayed, error)
}

// V1Delivery is a delivery as /api/v1 shows it.
type V1Delivery struct {
	ID            int64       `json:"id"`
	Webhook       string      `json:"webhook" doc:"the key of its deliveries"`
	WebhookNumber int64       `json:"webhook_number,omitempty" doc:"absent: the webhook was removed"`
	State         string      `json:"state" enum:"pending,delivered,dead,parked" doc:"parked: its webhook is not configured or not enabled"`
	EventID       string      `json:"event_id"`
	Type          string      `json:"type" doc:"of the event"`
	Repository    string      `json:"repository"`
	Tag           string      `json:"tag,omitempty"`
	Attempts      int         `json:"attempts"`
	Status        int         `json:"status,omitempty" doc:"of the last answer"`
	Reason        string      `json:"reason,omitempty" doc:"of the last failure"`
	CreatedAt     time.Time   `json:"created_at"`
	NextAt        time.Time   `json:"next_at,omitzero" doc:"when the next attempt may begin at the earliest"`
	Waits         string      `json:"waits,omitempty" doc:"what it waits for"`
	FinishedAt    time.Time   `json:"finished_at,omitzero"`
	Sent          *V1Request  `json:"sent,omitempty" doc:"of one delivery: its request, absent before the first attempt"`
	Log           []V1Attempt `json:"log,omitempty" doc:"of one delivery: its attempts"`
}

// V1Request is the request of a delivery, with the webhook's current settings. Secrets are masked.
type V1Request struct {
	URL    string      `json:"url,omitempty"`
	Header http.Header `json:"header"`
	Body   string      `json:"body"`
	Binary []byte      `json:"binary,omitempty" doc:"the body, if it is not text"`
}

// V1Attempt is an attempt of a delivery.
type V1Attempt struct {
	At       time.Time `json:"at"`
	Status   int       `json:"status,omitempty"`
	Millis   float64   `json:"milliseconds"`
	Reason   string    `json:"reason,omitempty"`
	Error    string    `json:"error,omitempty"`
	Response string    `json:"response,omitempty" doc:"the first 4 KiB"`
	Replica  string    `json:"replica,omitempty"`
}

// V1DeliveryPage is a page of deliveries.
type V1DeliveryPage struct {
	Items    []V1Delivery `json:"items" nullable:"false" doc:"newest first"`
	Next     string       `json:"next,omitempty" doc:"the cursor of the next page; without it this is the last one"`
	LookedTo time.Time    `json:"looked_to,omitzero" doc:"the page ended here because enough deliveries were tested; the next page continues; for accounts without limits only"`
}

func shownDelivery(d manage.Delivery) V1Delivery {
	return V1Delivery{ID: d.ID, Webhook: d.Webhook.Key, WebhookNumber: d.Webhook.Number, State: d.State, EventID: d.EventID, Type: d.EventType,
		Repository: d.Repository, Tag: d.Tag, Attempts: d.Attempts, Status: d.Status, Reason: d.Reason,
		CreatedAt: d.Created, NextAt: d.NextAt, Waits: d.Waits, FinishedAt: d.Finished}
}

// DeliveryFilter has the parameters that select deliveries.
type DeliveryFilter struct {
	ID            []int64  `query:"id,explode" maxItems:"1000" doc:"only these deliveries"`
	Webhook       string   `query:"webhook" maxLength:"1024" doc:"key of the webhook, or project/name"`
	WebhookNumber int64    `query:"webhook_number" minimum:"0" doc:"number of the webhook"`
	State         []string `query:"state,explode" maxItems:"4" enum:"pending,delivered,dead,parked" doc:"in one of these states; parked: the webhook is not configured or not enabled"`
	Type          []string `query:"type,explode" maxItems:"20" doc:"of events of one of these types"`
	Project       string   `query:"project" maxLength:"255" doc:"of events of this project"`
	Repository    string   `query:"repository" maxLength:"512" doc:"of events of this repository"`
	Event         string   `query:"event" maxLength:"64" doc:"of the event with this id"`
	TimeSpan
}

func (f *DeliveryFilter) query() manage.DeliveryQuery {
	return manage.DeliveryQuery{IDs: f.ID, Webhook: f.WebhookNumber, WebhookKey: f.Webhook, States: f.State, Types: f.Type, Project: f.Project,
		Repository: f.Repository, Event: f.Event, Since: f.Since, Until: f.Until}
}

// addDeliveries adds the endpoints about deliveries.
func (v *V1) addDeliveries() {
	addV1(v, operation("listDeliveries", "GET /deliveries", "Deliveries, newest first", "deliveries"), everyAccount, v.listDeliveries)
	addV1(v, operation("countDeliveries", "GET /deliveries/count", "The number of deliveries that a filter selects, up to 10,000", "deliveries"), everyAccount, v.countDeliveries)
	addV1(v, operation("getDelivery", "GET /deliveries/{id}", "One delivery with its request and all attempts", "deliveries"), everyAccount, v.getDelivery)
	addV1(v, operation("redeliver", "POST /deliveries/redeliver", "Send deliveries again, now", "deliveries"), everyAccount, v.redeliver)
	addV1(v, operation("replay", "POST /replay", "Send a webhook the recorded events that it missed", "deliveries"), everyAccount, v.replay)
}

func (v *V1) listDeliveries(ctx context.Context, by access.Principal, in *struct {
	DeliveryFilter
	Paging
}) (*struct{ Body V1DeliveryPage }, error) {
	q := in.query()
	q.Cursor, q.Limit = in.Cursor, in.Limit
	found, err := v.Deliveries.Deliveries(ctx, by, q)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body V1DeliveryPage }{V1DeliveryPage{Items: make([]V1Delivery, len(found.Deliveries)), Next: found.Next, LookedTo: found.LookedTo}}
	for i, d := range found.Deliveries {
		out.Body.Items[i] = shownDelivery(d)
	}
	return out, nil
}

// V1Count is a number of deliveries.
type V1Count struct {
	Count int  `json:"count"`
	More  bool `json:"more,omitempty" doc:"there are more than these"`
}

const mostCounted = 10_000 // the bound in manage

func countOf(n int) *struct{ Body V1Count } {
	return &struct{ Body V1Count }{V1Count{n, n >= mostCounted}}
}

func (v *V1) countDeliveries(ctx context.Context, by access.Principal, in *DeliveryFilter) (*struct{ Body V1Count }, error) {
	n, err := v.Deliveries.Count(ctx, by, in.query())
	if err != nil {
		return nil, err
	}
	return countOf(n), nil
}

func (v *V1) getDelivery(ctx context.Context, by access.Principal, in *struct {
	ID int64 `path:"id" doc:"id of the delivery"`
}) (*struct{ Body V1Delivery }, error) {
	d, err := v.Deliveries.Delivery(ctx, by, in.ID)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body V1Delivery }{shownDelivery(d.Delivery)}
	if r := d.Request; r != nil {
		out.Body.Sent = &V1Request{r.URL, r.Header, r.Body, r.Binary}
	}
	for _, at := range d.Log {
		out.Body.Log = append(out.Body.Log, V1Attempt{at.At, at.Status, float64(at.Latency.Microseconds()) / 1000, at.Reason, at.Error, at.Response, at.Replica})
	}
	return out, nil
}

// V1Redeliver selects the deliveries that are sent again.
type V1Redeliver struct {
	IDs           []int64   `json:"ids,omitempty" maxItems:"1000" doc:"these deliveries"`
	Webhook       string    `json:"webhook,omitempty" maxLength:"1024" doc:"key of the webhook, or project/name"`
	WebhookNumber int64     `json:"webhook_number,omitempty" minimum:"0" doc:"number of the webhook"`
	States        []string  `json:"states,omitempty" maxItems:"3" enum:"pending,delivered,dead" doc:"in one of these states; by default dead, with ids any"`
	Types         []string  `json:"types,omitempty" maxItems:"20" doc:"of events of one of these types"`
	Project       string    `json:"project,omitempty" maxLength:"255" doc:"of events of this project"`
	Repository    string    `json:"repository,omitempty" maxLength:"512" doc:"of events of this repository"`
	Event         string    `json:"event,omitempty" maxLength:"64" doc:"of the event with this id"`
	Since         time.Time `json:"since,omitzero" doc:"planned at this time or later"`
	Until         time.Time `json:"until,omitzero" doc:"planned before this time"`
	All           bool      `json:"all,omitempty" doc:"true: all deliveries in these states; required if nothing else selects some"`
	DryRun        bool      `json:"dry_run,omitempty" doc:"true: only count them, up to 10,000"`
}

// selects reports whether the request selects less than everything.
func (r *V1Redeliver) selects() bool {
	return len(r.IDs)+len(r.Types) > 0 || r.Webhook+r.Project+r.Repository+r.Event != "" || r.WebhookNumber != 0 || !r.Since.IsZero() || !r.Until.IsZero()
}

func (v *V1) redeliver(ctx context.Context, by access.Principal, in *struct{ Body V1Redeliver }) (*struct{ Body V1Count }, error) {
	r := &in.Body
	if !r.selects() && !r.All {
		return nil, manage.Problems{{Message: "give ids, a webhook or another filter, or all"}}
	}
	q := manage.DeliveryQuery{IDs: r.IDs, Webhook: r.WebhookNumber, WebhookKey: r.Webhook, States: r.States, Types: r.Types, Project: r.Project,
		Repository: r.Repository, Event: r.Event, Since: r.Since, Until: r.Until}
	if r.DryRun {
		n, err := v.Deliveries.Redeliverable(ctx, by, q)
		if err != nil {
			return nil, err
		}
		return countOf(n), nil
	}
	n, err := v.Deliveries.Redeliver(ctx, by, q)
	if err != nil {
		return nil, err
	}
	return &struct{ Body V1Count }{V1Count{Count: n}}, nil
}

// V1Replay selects events of which a webhook had no delivery.
type V1Replay struct {
	Webhook       string    `json:"webhook,omitempty" maxLength:"1024" doc:"key of the webhook, or project/name"`
	WebhookNumber int64     `json:"webhook_number,omitempty" minimum:"0" doc:"number of the webhook"`
	Since         time.Time `json:"since" doc:"events recorded at this time or later"`
	DryRun        bool      `json:"dry_run,omitempty" doc:"true: only count them"`
}

// V1Replayed counts the events and deliveries of a replay.
type V1Replayed struct {
	Events     int `json:"events"`
	Deliveries int `json:"deliveries"`
}

func (v *V1) replay(ctx context.Context, by access.Principal, in *struct{ Body V1Replay }) (*struct{ Body V1Replayed }, error) {
	r := &in.Body
	var done manage.Replayed
	var err error
	if r.Webhook != "" {
		done, err = v.Deliveries.ReplayNamed(ctx, by, r.Webhook, r.Since, !r.DryRun)
	} else {
		done, err = v.Deliveries.Replay(ctx, by, r.WebhookNumber, r.Since, !r.DryRun)
	}
	if err != nil {
		return nil, err
	}
	return &struct{ Body V1Replayed }{V1Replayed(done)}, nil
}
