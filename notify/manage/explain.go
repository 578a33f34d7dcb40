package manage

import (
	"context"
	"fmt"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
)

// Verdict is the decision of a webhook about an event, and its deliveries of it.
type Verdict struct {
	Webhook    Ref
	Fires      bool   // by its current filters
	Because    string // the key that rejects the event; "": none
	Value      string // the event's
	Wanted     string // the key's
	Deliveries []Delivery
}

// Explain returns the verdict of each webhook in scope about an event.
func (d *AccountEvents) Explain(ctx context.Context, by access.Principal, id string) ([]Verdict, error) {
	e, err := d.Event(ctx, by, id)
	if err != nil {
		return nil, err
	}
	made := map[string][]Delivery{}
	show, err := d.deliveries.shower(ctx, by)
	if err != nil {
		return nil, err
	}
	s, err := d.deliveries.search(ctx, by, DeliveryQuery{Event: id})
	if err != nil {
		return nil, err
	}
	s.Limit = mostCounted
	found, err := d.Dispatcher.SearchDeliveries(ctx, s.DeliverySearch)
	if err != nil {
		return nil, err
	}
	for i := len(found.Deliveries) - 1; i >= 0; i-- {
		one := found.Deliveries[i]
		made[one.Webhook] = append(made[one.Webhook], show(one, &e))
	}
	set := d.Running.Set()
	var all []Verdict
	for _, v := range d.Dispatcher.Explain(e) {
		h := set.Named(v.Webhook)
		if h == nil || !by.MayAll(h.Projects()) {
			continue
		}
		verdict := Verdict{Webhook: d.deliveries.refOf(set, v.Webhook), Fires: v.Fires, Because: v.Because, Deliveries: made[v.Webhook]}
		if !v.Fires {
			verdict.Value, verdict.Wanted = whyNot(v.Because, &e, h)
		}
		all = append(all, verdict)
	}
	return all, nil
}

// whyNot returns the event's value that a key of a webhook's filter rejects, and the value that the
// key wants.
func whyNot(because string, e *detect.Event, h *Hook) (value, wanted string) {
	under, key, _ := strings.Cut(because, ".")
	match := h.Match
	if under == "exclude" {
		match = h.Exclude
	}
	switch under {
	case "events":
		return string(e.Type), list(h.Events)
	case "enabled":
		return "", "true"
	case "manifest_reads":
		return "a read of the manifest without a layer", "true"
	case notify.Unnamed:
		return "a chart whose name is unknown", "a name"
	case "match", "exclude":
		if key == "projects" && under == "match" && h.Stored != nil {
			return orNone(notify.ProjectOf(e)), list(h.Projects())
		}
		return valueOf(key, e, &match)
	}
	return "", ""
}

// valueOf returns the event's value of a key, and the value in the filter.
func valueOf(key string, e *detect.Event, match *notify.Match) (value, wanted string) {
	switch key {
	case "upstreams":
		return e.Upstream, list(match.Upstreams)
	case "projects":
		return orNone(notify.ProjectOf(e)), list(match.Projects)
	case "repositories":
		return repositoryText(e), list(match.Repositories)
	case "tags":
		return orNone(tagOf(e, 0)), list(match.Tags)
	case "semver":
		return orNone(tagOf(e, 0)), match.Semver
	case "operators":
		return orNone(e.Client.Operator), list(match.Operators)
	case "user_agents":
		return orNone(e.Client.UserAgent), list(match.UserAgents)
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

func joined(tags []string) string { return strings.Join(tags, ",") }

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
