package api

import (
	"context"
	"net/http"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// V1Trials tests webhooks and definitions within an account's scope. *manage.Desk implements it.
type V1Trials interface {
	Test(ctx context.Context, by access.Principal, number int64, eventType string) (manage.Sent, error)
	TestDefinition(ctx context.Context, by access.Principal, project string, number int64, def manage.Definition, eventType string) (manage.Sent, error)
	Preview(ctx context.Context, by access.Principal, project string, number int64, def manage.Definition, eventType string) (manage.Body, error)
	Matching(ctx context.Context, by access.Principal, project string, number int64, def manage.Definition, since time.Time) (manage.Matched, error)
}

// V1Draft is a definition that is not saved.
type V1Draft struct {
	Project    string            `json:"project" maxLength:"255" doc:"project of the webhook"`
	Number     int64             `json:"number,omitempty" minimum:"0" doc:"number of the webhook that the definition would replace; absent: a new one"`
	Definition manage.Definition `json:"definition" doc:"keys as in an entry of webhooks in the file"`
}

// V1TypedDraft is a draft and the type of the sample event.
type V1TypedDraft struct {
	V1Draft
	Type string `json:"type,omitempty" maxLength:"64" doc:"type of the sample event; by default the first one that the webhook gets"`
}

// V1Sent is a sample event that was sent, and the answer.
type V1Sent struct {
	OK       bool        `json:"ok"`
	Status   int         `json:"status,omitempty"`
	Millis   float64     `json:"milliseconds"`
	Response string      `json:"response,omitempty" doc:"the first 4 KiB"`
	Error    string      `json:"error,omitempty"`
	URL      string      `json:"url" doc:"without its secret parts"`
	Header   http.Header `json:"header" doc:"secrets are masked"`
	Body     V1Body      `json:"body"`
}

func shownSent(s manage.Sent, err error) (*struct{ Body V1Sent }, error) {
	if err != nil {
		return nil, err
	}
	return &struct{ Body V1Sent }{V1Sent{OK: s.OK, Status: s.Status, Millis: float64(s.Latency.Microseconds()) / 1000, Response: s.Response,
		Error: s.Error, URL: s.URL, Header: s.Header, Body: V1Body(s.Body)}}, nil
}

// addTrials adds the endpoints that test webhooks.
func (v *V1) addTrials() {
	addV1(v, operation("testWebhook", "POST /webhooks/{number}/test", "Send a sample event to a webhook", "webhooks", 422), everyAccount,
		func(ctx context.Context, by access.Principal, in *struct {
			PathWebhook
			Type string `query:"type" maxLength:"64" doc:"type of the sample event; by default the first one that the webhook gets"`
		}) (*struct{ Body V1Sent }, error) {
			return shownSent(v.Trials.Test(ctx, by, in.Number, in.Type))
		})
	addV1(v, operation("testDraft", "POST /webhooks/test", "Send a sample event with a definition that is not saved", "webhooks", 422), everyAccount,
		func(ctx context.Context, by access.Principal, in *struct{ Body V1TypedDraft }) (*struct{ Body V1Sent }, error) {
			return shownSent(v.Trials.TestDefinition(ctx, by, in.Body.Project, in.Body.Number, in.Body.Definition, in.Body.Type))
		})
	addV1(v, operation("previewDraft", "POST /webhooks/preview", "The body of a sample event with a definition that is not saved; nothing is sent", "webhooks", 422), everyAccount,
		func(ctx context.Context, by access.Principal, in *struct{ Body V1TypedDraft }) (*struct{ Body V1Body }, error) {
			body, err := v.Trials.Preview(ctx, by, in.Body.Project, in.Body.Number, in.Body.Definition, in.Body.Type)
			return &struct{ Body V1Body }{V1Body(body)}, err
		})
	addV1(v, operation("matchDraft", "POST /webhooks/matching", "The number of recorded events that match a definition that is not saved", "webhooks", 422), everyAccount, v.matchDraft)
}

func (v *V1) matchDraft(ctx context.Context, by access.Principal, in *struct {
	Since time.Time `query:"since" doc:"events since this time; by default of the last 24 hours"`
	Body  V1Draft
}) (*struct{ Body V1Matched }, error) {
	if in.Since.IsZero() {
		in.Since = time.Now().Add(-24 * time.Hour)
	}
	m, err := v.Trials.Matching(ctx, by, in.Body.Project, in.Body.Number, in.Body.Definition, in.Since)
	return &struct{ Body V1Matched }{V1Matched(m)}, err
}

// V1Matched counts the recorded events that a definition matches.
type V1Matched struct {
	Events   int  `json:"events"`
	Looked   int  `json:"looked" doc:"events of the project that were tested"`
	Complete bool `json:"complete" doc:"false: older events were not tested, because there are too many"`
}
