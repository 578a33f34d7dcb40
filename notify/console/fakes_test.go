package console

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// desk is a manage.Desk in memory. It keeps scope as the real one does.
type desk struct {
	webhooks   []manage.Webhook
	deliveries []manage.DeliveryDetail
	refuse     error  // of Make, Change, TestDefinition and Preview
	answer     string // of receivers, to Test; "": {"ok":true}
	did        []string
}

func (d *desk) Webhooks(_ context.Context, by access.Principal) (all []manage.Webhook, _ error) {
	for _, w := range d.webhooks {
		if by.Administrator || w.Project != "" && by.May(w.Project) {
			w.Editable = w.Source == ""
			all = append(all, w)
		}
	}
	return all, nil
}

func (d *desk) Webhook(ctx context.Context, by access.Principal, number int64) (manage.Webhook, error) {
	all, _ := d.Webhooks(ctx, by)
	if i := slices.IndexFunc(all, func(w manage.Webhook) bool { return w.Number == number }); i >= 0 {
		return all[i], nil
	}
	return manage.Webhook{}, manage.ErrNotFound
}

func (d *desk) Find(ctx context.Context, by access.Principal, name string) (manage.Webhook, error) {
	all, _ := d.Webhooks(ctx, by)
	if i := slices.IndexFunc(all, func(w manage.Webhook) bool { return fullName(w) == name }); i >= 0 {
		return all[i], nil
	}
	return manage.Webhook{}, manage.ErrNotFound
}

func (d *desk) do(by access.Principal, number int64, what string) error {
	if _, err := d.Webhook(context.Background(), by, number); err != nil {
		return err
	}
	d.did = append(d.did, fmt.Sprintf("%s %s %d", by.Name, what, number))
	return nil
}

func (d *desk) Remove(_ context.Context, by access.Principal, n int64) error {
	return d.do(by, n, "removes")
}

func (d *desk) Enable(_ context.Context, by access.Principal, n int64) error {
	return d.do(by, n, "enables")
}

func (d *desk) Disable(_ context.Context, by access.Principal, n int64) error {
	return d.do(by, n, "disables")
}

func (d *desk) TakeOver(_ context.Context, by access.Principal, n int64) error {
	if err := d.do(by, n, "takes over"); err != nil {
		return err
	}
	if !by.Administrator {
		return manage.ErrForbidden
	}
	return nil
}

func (d *desk) Triggers(ctx context.Context, by access.Principal, n int64) (all []manage.Trigger, err error) {
	w, err := d.Webhook(ctx, by, n)
	if err != nil {
		return nil, err
	}
	for _, t := range eventTypes {
		trigger := manage.Trigger{Type: string(t), Enabled: slices.Contains(w.Definition.Events, string(t))}
		if trigger.Enabled && t == detect.PushArtifact {
			trigger.Last = time.Now().Add(-7 * time.Minute)
		}
		all = append(all, trigger)
	}
	return all, nil
}

func (d *desk) YAML(ctx context.Context, by access.Principal, n int64) ([]byte, error) {
	w, err := d.Webhook(ctx, by, n)
	return []byte("- name: " + w.Name + "\n"), err
}

func (d *desk) Test(ctx context.Context, by access.Principal, n int64, _ string) (manage.Sent, error) {
	if _, err := d.Webhook(ctx, by, n); err != nil {
		return manage.Sent{}, err
	}
	return manage.Sent{OK: d.answer == "", Status: 200, Latency: 38 * time.Millisecond, Response: cmp.Or(d.answer, `{"ok":true}`), Error: d.answer}, nil
}

func (d *desk) Make(_ context.Context, by access.Principal, project string, def manage.Definition) (manage.Webhook, error) {
	if d.refuse != nil {
		return manage.Webhook{}, d.refuse
	}
	if !by.May(project) {
		return manage.Webhook{}, manage.ErrNotFound
	}
	w := manage.Webhook{Number: int64(len(d.webhooks) + 1), Name: def.Name, Project: project, Definition: def, Complete: def}
	d.webhooks = append(d.webhooks, w)
	return w, nil
}

func (d *desk) Change(ctx context.Context, by access.Principal, n, version int64, def manage.Definition) (manage.Webhook, error) {
	w, err := d.Webhook(ctx, by, n)
	switch {
	case err != nil:
		return w, err
	case d.refuse != nil:
		return w, d.refuse
	case version != w.Version:
		return w, manage.ErrChanged
	}
	i := slices.IndexFunc(d.webhooks, func(w manage.Webhook) bool { return w.Number == n })
	d.webhooks[i].Definition = def
	return d.webhooks[i], nil
}

func (d *desk) TestDefinition(_ context.Context, _ access.Principal, _ string, _ int64, def manage.Definition, _ string) (manage.Sent, error) {
	return manage.Sent{OK: true, Status: 200, Latency: 38 * time.Millisecond, Response: "got " + def.URL}, d.refuse
}

func (d *desk) Preview(_ context.Context, _ access.Principal, _ string, _ int64, def manage.Definition, eventType string) (manage.Body, error) {
	name := def.Format
	if name == "" {
		name = "harbor"
	}
	f, err := format.New(name, def.Name, format.Options{})
	if err != nil {
		return manage.Body{}, err
	}
	contentType, header, body, err := f.Render(format.Sample(detect.Type(eventType)), 0)
	return manage.Body{ContentType: contentType, Header: header, Text: string(body)}, err
}

func (d *desk) Matching(context.Context, access.Principal, string, int64, manage.Definition, time.Time) (manage.Matched, error) {
	return manage.Matched{Events: 142, Looked: 1203, Complete: true}, nil
}

func (d *desk) NewSigningSecret() string { return "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" }

func (d *desk) Deliveries(_ context.Context, by access.Principal, q manage.DeliveryQuery) (p manage.DeliveryPage, _ error) {
	for _, one := range d.matching(by, q) {
		if q.Limit > 0 && len(p.Deliveries) == q.Limit {
			p.Next = "older"
			break
		}
		p.Deliveries = append(p.Deliveries, one.Delivery)
	}
	return p, nil
}

func (d *desk) matching(by access.Principal, q manage.DeliveryQuery) (found []manage.DeliveryDetail) {
	for _, one := range d.deliveries {
		is := func(want []string, has string) bool { return len(want) == 0 || slices.Contains(want, has) }
		if (by.Administrator || by.May(one.Webhook.Project)) && is(q.States, one.State) && is(q.Types, one.EventType) &&
			(q.Webhook == 0 || q.Webhook == one.Webhook.Number) && (len(q.IDs) == 0 || slices.Contains(q.IDs, one.ID)) {
			found = append(found, one)
		}
	}
	return found
}

func (d *desk) Delivery(_ context.Context, by access.Principal, id int64) (manage.DeliveryDetail, error) {
	if found := d.matching(by, manage.DeliveryQuery{IDs: []int64{id}}); len(found) == 1 {
		return found[0], nil
	}
	return manage.DeliveryDetail{}, manage.ErrNotFound
}

func (d *desk) Redeliverable(_ context.Context, by access.Principal, q manage.DeliveryQuery) (int, error) {
	return len(d.matching(by, q)), nil
}

func (d *desk) Redeliver(_ context.Context, by access.Principal, q manage.DeliveryQuery) (int, error) {
	found := d.matching(by, q)
	if len(found) == 0 {
		return 0, manage.ErrNotFound
	}
	d.did = append(d.did, fmt.Sprintf("%s redelivers %d", by.Name, len(found)))
	return len(found), nil
}

func (d *desk) Replay(ctx context.Context, by access.Principal, n int64, _ time.Time, plan bool) (manage.Replayed, error) {
	if _, err := d.Webhook(ctx, by, n); err != nil {
		return manage.Replayed{}, err
	}
	if plan {
		d.did = append(d.did, fmt.Sprintf("%s replays %d", by.Name, n))
	}
	return manage.Replayed{Events: 4, Deliveries: 5}, nil
}

// logins are of one user, ops, whose password is secret.
type logins struct{}

func (logins) HasUsers() bool { return true }

func (logins) LogIn(_ http.ResponseWriter, _ *http.Request, name, password string) error {
	if name == "ops" && password == "secret" {
		return nil
	}
	return access.ErrLogin
}

func (logins) LogInOnce(http.ResponseWriter, *http.Request, string) error { return access.ErrTicket }
func (logins) LogOut(http.ResponseWriter, *http.Request) error            { return nil }

// newConsole returns a console over a desk.
func newConsole(d *desk) *Console {
	p := samplePast()
	return &Console{Logins: logins{}, Webhooks: d, Drafts: d, Deliveries: d, Events: p, Counts: p, Projects: p, Delivering: func() bool { return true }, Log: zap.Must(zap.NewDevelopment())}
}

func share(f float64) *float64 { return &f }

// sample is a desk as a small team would have it.
func sample() *desk {
	now := time.Now()
	defaults := typeNames(slices.DeleteFunc(slices.Clone(eventTypes), func(t detect.Type) bool {
		return t == detect.PullArtifact || t == detect.DownloadChart || t == detect.DeleteTag
	}))
	d := &desk{webhooks: []manage.Webhook{
		{Number: 1, Name: "deploy", Source: "bellbuoy.yaml:14",
			Definition: manage.Definition{Name: "deploy", Enabled: true, URL: "https://argocd.example.com/api/webhook", Format: "harbor", Preset: "argocd", Events: []string{"PUSH_ARTIFACT"}},
			Health:     manage.Health{State: "ok", SuccessRate: share(1), Tried: 312, LastDelivery: now.Add(-90 * time.Second)}},
		{Number: 2, Name: "audit", Source: "bellbuoy.yaml:22",
			Definition: manage.Definition{Name: "audit", Description: "Everything, for the data warehouse", URL: "https://ingest.warehouse.example.com/v1/collect/registry-events", Format: "cloudevents", Events: typeNames(eventTypes)},
			Health: manage.Health{State: "failing", Why: "the receiver answers 503", Since: now.Add(-3 * time.Hour), CircuitOpen: true, NextAttempt: now.Add(3 * time.Minute), SuccessRate: share(.871), Tried: 4210,
				Pending: 1284, Dead: 37, Oldest: now.Add(-3 * time.Hour), LastDelivery: now.Add(-3 * time.Hour)}},
		{Number: 3, Name: "release-channel", Project: "platform", Maker: "maria", Limited: true, Made: now.Add(-30 * 24 * time.Hour), Version: 3,
			Definition: manage.Definition{Name: "release-channel", Description: "Releases, in #platform", Enabled: true, URL: "https://hooks.slack.com/services/T0001/B0001/***", Format: "slack", Events: defaults, AuthHeader: manage.Mask, SigningSecrets: []string{manage.Mask}},
			Health:     manage.Health{State: "ok", SuccessRate: share(.998), Tried: 871, Pending: 2, LastDelivery: now.Add(-7 * time.Minute)}},
		{Number: 4, Name: "security", Project: "platform", Maker: "ops", Made: now.Add(-8 * 24 * time.Hour),
			Definition: manage.Definition{Name: "security", URL: "https://security.example.com/registry", Format: "bellbuoy", Events: []string{"SCANNING_COMPLETED", "SCANNING_FAILED", "QUOTA_EXCEED"}},
			Health:     manage.Health{State: "disabled", Why: "disabled by ops", Since: now.Add(-26 * time.Hour)}},
		{Number: 5, Name: "old-ci", Project: "web", Maker: "jo", Made: now.Add(-90 * 24 * time.Hour),
			Definition: manage.Definition{Name: "old-ci", Enabled: true, URL: "https://jenkins.example.com/dockerregistry-webhook/notify", Format: "distribution", Events: []string{"PUSH_ARTIFACT", "DELETE_ARTIFACT"}},
			Health:     manage.Health{State: "gone", Why: "the receiver answered 410", Since: now.Add(-5 * 24 * time.Hour), SuccessRate: share(0), Tried: 1, Parked: 12, LastDelivery: now.Add(-5 * 24 * time.Hour)}},
	}}
	for i := range d.webhooks {
		d.webhooks[i].Complete = d.webhooks[i].Definition
	}
	states := []string{"delivered", "delivered", "pending", "delivered", "dead", "delivered", "parked"}
	repositories := []string{"platform/api", "platform/worker", "web/shop", "platform/charts/ingress", "web/storefront-assets"}
	for i := range 64 {
		w := d.webhooks[i%len(d.webhooks)]
		one := manage.Delivery{ID: int64(9041 - i), Webhook: manage.Ref{Number: w.Number, Name: w.Name, Key: w.Key, Project: w.Project}, State: states[i%len(states)],
			EventID: fmt.Sprintf("0193a6f2-7b1e-7c3a-9f10-%012d", i), EventType: string(eventTypes[(i*5+2)%len(eventTypes)]), Repository: repositories[i%len(repositories)],
			Tag: fmt.Sprintf("v1.%d.%d", 40-i/8, i%8), Attempts: 1, Status: 200, Created: now.Add(-time.Duration(i) * 97 * time.Second)}
		switch one.State {
		case "pending":
			one.Attempts, one.Status, one.Reason, one.NextAt, one.Waits = 3, 503, "server_error", now.Add(3*time.Minute), "circuit open"
		case "dead":
			one.Attempts, one.Status, one.Reason, one.Finished = 10, 500, "server_error", one.Created.Add(time.Hour)
		case "delivered":
			one.Finished = one.Created.Add(40 * time.Millisecond)
		}
		detail := manage.DeliveryDetail{Delivery: one, Request: &manage.Request{URL: w.Definition.URL, Header: http.Header{"Content-Type": {"application/json"}, "Authorization": {manage.Mask}, "User-Agent": {"bellbuoy/1.0"}, "Webhook-Id": {one.EventID}},
			Body: `{"type":"PUSH_ARTIFACT","occur_at":1796000000,"operator":"maria","event_data":{"resources":[{"digest":"sha256:` + strings.Repeat("4f", 32) + `","tag":"v1.40.2","resource_url":"registry.example.com/platform/api:v1.40.2"}],"repository":{"date_created":1790000000,"name":"api","namespace":"platform","repo_full_name":"platform/api","repo_type":"private"}}}`},
			Log: []manage.Attempt{{At: one.Created, Status: 503, Latency: 1204 * time.Millisecond, Reason: "server_error", Response: "upstream connect error or disconnect/reset before headers"}, {At: one.Created.Add(5 * time.Second), Status: one.Status, Latency: 38 * time.Millisecond, Response: `{"ok":true}`}}}
		d.deliveries = append(d.deliveries, detail)
	}
	return d
}

// past is the events, counts and projects of a console's tests. It keeps scope as manage does.
type past struct {
	events   []detect.Event // newest first
	verdict  manage.Verdict // one more, if its webhook has a key
	reads    atomic.Int64   // of Events
	projects []Project
}

func (p *past) Events(_ context.Context, by access.Principal, q manage.EventQuery) (page manage.EventPage, _ error) {
	p.reads.Add(1)
	for _, e := range p.events {
		project := projectOfEvent(&e)
		if !by.May(project) || q.Project != "" && q.Project != project || len(q.Types) > 0 && !slices.Contains(q.Types, string(e.Type)) {
			continue
		}
		page.Events = append(page.Events, e)
	}
	page.Events = page.Events[:min(len(page.Events), q.Limit)]
	return page, nil
}

func projectOfEvent(e *detect.Event) string {
	project, _, _ := strings.Cut(e.Repository, "/")
	return project
}

func (p *past) Event(_ context.Context, by access.Principal, id string) (detect.Event, error) {
	i := slices.IndexFunc(p.events, func(e detect.Event) bool { return e.ID == id && by.May(projectOfEvent(&e)) })
	if i < 0 {
		return detect.Event{}, manage.ErrNotFound
	}
	return p.events[i], nil
}

func (p *past) EventBody(ctx context.Context, by access.Principal, id, name string) (manage.Body, error) {
	if !slices.Contains(format.Names(), name) {
		return manage.Body{}, manage.Problems{{Field: "format", Message: "there is no such format"}}
	}
	e, err := p.Event(ctx, by, id)
	return manage.Body{ContentType: "application/json", Text: fmt.Sprintf(`{"type":%q,"operator":%q}`, e.Type, e.Client.Operator)}, err
}

func (p *past) Explain(ctx context.Context, by access.Principal, id string) ([]manage.Verdict, error) {
	_, err := p.Event(ctx, by, id)
	verdicts := []manage.Verdict{
		{Webhook: manage.Ref{Number: 3, Name: "release-channel"}, Fires: true, Deliveries: []manage.Delivery{{ID: 17, State: "delivered", Finished: time.Now()}}},
		{Webhook: manage.Ref{Number: 4, Name: "security"}, Because: "events", Value: "PUSH_ARTIFACT", Wanted: "[SCANNING_COMPLETED]"},
	}
	if p.verdict.Webhook.Key != "" {
		verdicts = append(verdicts, p.verdict)
	}
	return verdicts, err
}

func (p *past) EventCounts(_ context.Context, by access.Principal, _ string, s manage.Span) ([]counters.Line, error) {
	return []counters.Line{countLine(s, "", "PUSH_ARTIFACT", 3), countLine(s, "", "PULL_ARTIFACT", 17), countLine(s, "", "DELETE_TAG", 1)}, nil
}

func (p *past) DeliveryCounts(_ context.Context, by access.Principal, _ int64, s manage.Span) ([]counters.Line, error) {
	return []counters.Line{countLine(s, "", counters.Delivered, 9), countLine(s, "", "server_error", 2)}, nil
}

func (p *past) TrafficCounts(_ context.Context, by access.Principal, s manage.Span) ([]counters.Line, error) {
	if !by.Administrator {
		return nil, manage.ErrForbidden
	}
	return []counters.Line{countLine(s, "registry", "", 240)}, nil
}

func countLine(s manage.Span, name, label string, most int64) counters.Line {
	l := counters.Line{Name: name, Label: label}
	for i := range s.Steps {
		n := (int64(i)*7 + most) % (most + 1)
		l.Points = append(l.Points, counters.Point{Count: n, Posts: n, Latency: time.Duration(n) * 30 * time.Millisecond, In: n << 10, Out: n << 22})
	}
	return l
}

func (p *past) Projects(_ context.Context, by access.Principal) (all []Project, _ error) {
	for _, one := range p.projects {
		if by.May(one.Name) {
			all = append(all, one)
		}
	}
	return all, nil
}

func samplePast() *past {
	p := &past{projects: []Project{
		{Name: "library", Public: true},
		{Name: "platform", Usage: []QuotaUse{{Upstream: "registry", Used: 41 << 30, Limit: 50 << 30}}},
		{Name: "web", Usage: []QuotaUse{{Upstream: "registry", Used: 52 << 30, Limit: 50 << 30, Inexact: true}}},
	}}
	for i, t := range eventTypes {
		e := format.Sample(t)
		e.ID, e.At = fmt.Sprintf("019aa%07d", i), time.Now().Add(-time.Duration(i)*7*time.Minute)
		e.Repository = []string{"platform/api", "web/shop"}[i%2]
		p.events = append(p.events, e)
	}
	return p
}
