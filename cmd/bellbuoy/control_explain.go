package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

type (
	explainAnswer struct {
		Event    eventLine     `json:"event"`
		Webhooks []explainLine `json:"webhooks"`
		Scanners []scannerLine `json:"scanners,omitempty"` // of a push
	}
	explainLine struct {
		Webhook    string         `json:"webhook"`
		Fires      bool           `json:"fires"`             // by its current filters
		Because    string         `json:"because,omitempty"` // the key that rejects the event
		Value      string         `json:"value,omitempty"`   // the event's value
		Wanted     string         `json:"wanted,omitempty"`  // the key's value
		Deliveries []deliveryLine `json:"deliveries,omitempty"`
	}
)

// explain says what every webhook made of an event.
func (api controlAPI) explain(w http.ResponseWriter, r *http.Request) error {
	id := r.URL.Query().Get("event")
	events, err := api.dispatcher.Events(r.Context(), store.EventQuery{ID: id, Limit: 1})
	if err != nil {
		return err
	}
	if id == "" || len(events) == 0 {
		return fmt.Errorf("there is no event %q (any more): %w; bellbuoy events lists them", id, store.ErrNotFound)
	}
	made, err := api.dispatcher.Deliveries(r.Context(), store.DeliveryQuery{EventID: id, Limit: mostListed})
	if err != nil {
		return err
	}
	answer := explainAnswer{Event: lineOfEvent(&events[0])}
	hooks := api.running.Set()
	for _, v := range api.dispatcher.Explain(events[0]) {
		line := explainLine{Webhook: v.Webhook, Fires: v.Fires, Because: v.Because}
		if h := hooks.Named(v.Webhook); h != nil && !v.Fires {
			line.Value, line.Wanted = whyNot(v.Because, &events[0], h)
		}
		for _, d := range slices.Backward(made) {
			if d.Webhook == v.Webhook {
				line.Deliveries = append(line.Deliveries, lineOf(d))
			}
		}
		answer.Webhooks = append(answer.Webhooks, line)
	}
	if answer.Scanners, err = api.explainScans(r.Context(), &events[0]); err != nil {
		return err
	}
	return json.NewEncoder(w).Encode(answer)
}

// lineOf returns a delivery without the data of its event.
func lineOf(d store.Delivery) deliveryLine {
	line := deliveryLine{ID: d.ID, Webhook: d.Webhook, State: stateNames[d.State], EventID: d.EventID, Attempts: d.Attempts, Status: d.Status, Reason: d.Reason,
		CreatedAt: d.CreatedAt, FinishedAt: d.FinishedAt}
	if d.State == store.Pending {
		line.NextAt = d.NextAt
	}
	return line
}

// whyNot returns the event's value that a key of a webhook's filter rejects, and the value that the
// key wants.
func whyNot(because string, e *detect.Event, w *manage.Hook) (value, wanted string) {
	under, key, _ := strings.Cut(because, ".")
	match := w.Complete.Match
	if under == "exclude" {
		match = w.Complete.Exclude
	}
	client := e.Client
	switch key {
	case "upstreams":
		return e.Upstream, list(match.Upstreams)
	case "projects":
		if under == "match" && w.Stored != nil {
			return orNone(notify.ProjectOf(e)), list(w.Projects())
		}
		return projectOf(e.Repository), list(match.Projects)
	case "repositories":
		return repositoryText(e), list(match.Repositories)
	case "tags":
		return orNone(tagOf(e, 0)), list(match.Tags)
	case "semver":
		return orNone(tagOf(e, 0)), match.Semver
	case "operators":
		return orNone(client.Operator), list(match.Operators)
	case "user_agents":
		return orNone(client.UserAgent), list(match.UserAgents)
	case "kinds":
		return kindOf(e), list(match.Kinds)
	case "tagged":
		return fmt.Sprint(tagOf(e, 0) != ""), wantText(match.Tagged)
	case "changed":
		return fmt.Sprint(!e.Unchanged), wantText(match.Changed)
	case "min_severity":
		return e.Scan.Severity, match.MinSeverity
	case "new_findings":
		return fmt.Sprint(e.Scan.New > 0), wantText(match.NewFindings)
	}
	switch under {
	case "events":
		return string(e.Type), list(w.Events)
	case "enabled":
		return "", "true"
	case "manifest_reads":
		return "a read of the manifest without a layer", "true"
	case notify.Unnamed:
		return "a chart whose name is unknown", "a name"
	}
	return "", ""
}

func repositoryText(e *detect.Event) string {
	if e.Chart != nil {
		return strings.TrimPrefix(e.Repository+"/"+e.Chart.Name, "/")
	}
	return e.Repository
}

func kindOf(e *detect.Event) string {
	switch {
	case e.Chart != nil:
		return string(detect.HelmChart)
	case e.Artifact != nil:
		return string(e.Artifact.Kind)
	}
	return "unknown"
}

func list(values []string) string { return "[" + strings.Join(values, ", ") + "]" }

func wantText(want *bool) string {
	if want == nil {
		return ""
	}
	return fmt.Sprint(*want)
}

func orNone(text string) string {
	if text == "" {
		return "(none)"
	}
	return text
}

// waits are the webhooks that are not delivered to.
func (api controlAPI) waits(w http.ResponseWriter, r *http.Request) error {
	states, err := api.dispatcher.States(r.Context())
	if err != nil {
		return err
	}
	waits := []waitLine{}
	for _, s := range states {
		state, since, why := manage.StateOf(s)
		if state == manage.StateOK || state == manage.StateFailing && !s.Open {
			continue
		}
		waits = append(waits, waitLine{Webhook: s.Name, State: state, Since: since, Why: why, NextTry: s.ProbeAt})
	}
	return json.NewEncoder(w).Encode(waits)
}
