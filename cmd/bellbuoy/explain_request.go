package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/proxy"
)

func runExplainRequest(ctx context.Context, a *app, method, rawURL string, client detect.Client) error {
	_, c, _, err := a.load()
	if err != nil {
		return err
	}
	w, err := wire(c, nil, nil)
	if err != nil {
		return err
	}
	defer w.close()
	handler, err := proxy.New(w.proxyOptions(dataPlaneParts{}))
	if err != nil {
		return err
	}
	m, err := explainRequest(w, w.hooks, handler, waitingByName(ctx, a), api.V1Question{Method: method, URL: rawURL, Operator: client.Operator, UserAgent: client.UserAgent})
	if err != nil {
		return err
	}
	printMeaning(a, &m)
	return nil
}

func printMeaning(a *app, m *api.V1Meaning) {
	if m.Upstream == "" {
		fmt.Fprintln(a.Stdout, "no upstream is configured for this host and path: bellbuoy answers 404")
		return
	}
	fmt.Fprintf(a.Stdout, "upstream:  %s\n", m.Upstream)
	if m.Request != "" {
		fmt.Fprintf(a.Stdout, "request:   %s\n", m.Request)
	}
	if m.Event == "" {
		fmt.Fprintf(a.Stdout, "event:     none: %s\n", m.Because)
		return
	}
	fmt.Fprintf(a.Stdout, "event:     %s, %s\n", m.Event, m.Because)
	if m.Also != "" {
		fmt.Fprintf(a.Stdout, "           also %s\n", oneLine(m.Also))
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nWEBHOOK\tFIRES\tBECAUSE")
	for _, v := range m.Webhooks {
		fmt.Fprintf(t, "%s\t%s\t%s\n", v.Webhook, v.Fires, v.Because)
	}
	_ = t.Flush()
	printScanners(a.Stdout, m.Scanners)
}

// classifier is the part of a proxy.Handler that classifies requests.
type classifier interface {
	Classify(r *http.Request) (upstream string, request detect.Request)
}

// explainRequest returns the event that a request would raise, and what each of the webhooks would
// do with it. waits has the webhooks whose deliveries wait.
func explainRequest(w *wiring, hooks []*manage.Hook, requests classifier, waits map[string]api.V1Waiting, q api.V1Question) (m api.V1Meaning, err error) {
	r, err := newRequest(q.Method, q.URL)
	if err != nil {
		return m, err
	}
	upstream, request := requests.Classify(r)
	m.Upstream = upstream
	switch {
	case upstream == "":
		return m, nil
	case request.TooLong != "":
		m.Because = "bellbuoy answers 400: " + request.TooLong
		return m, nil
	}
	m.Request = request.Description()
	m.Event, m.Because = request.Meaning()
	if m.Event == "" {
		return m, nil
	}
	project := detect.Project(request.Repository)
	if rule := quotaRule(w.config.Projects)(project); m.Event == detect.PushArtifact && rule.Limit > 0 {
		m.Also = fmt.Sprintf("QUOTA_WARNING or QUOTA_EXCEED, if the project %s rises over a level of its quota of %s", project, bytesText(rule.Limit))
	}
	sample := request.Sample(m.Event, upstream, detect.Client{Operator: q.Operator, UserAgent: q.UserAgent})
	if m.Webhooks, err = requestFires(w.config.Notifications.Enabled, hooks, waits, &request, sample); err != nil {
		return m, err
	}
	if m.Event == detect.PushArtifact {
		m.Scanners = scannersOfRequest(&w.scanners, w.config.Scanners, &request, sample)
	}
	return m, nil
}

// newRequest returns the request that the arguments of explain describe.
func newRequest(method, rawURL string) (*http.Request, error) {
	u, err := url.Parse(rawURL)
	if err != nil || !strings.HasPrefix(u.Path, "/") {
		return nil, fmt.Errorf("%q is neither a URL nor a path that begins with /", rawURL)
	}
	method = strings.ToUpper(method)
	r := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}, RemoteAddr: "127.0.0.1:1", RequestURI: u.RequestURI(), ProtoMajor: 1, ProtoMinor: 1}
	return r, nil
}

// undecided returns the keys of a filter that a request alone cannot decide.
func undecided(r *detect.Request) []string {
	switch r.Action {
	case detect.ChartPost:
		return []string{"repositories", "tags", "semver"}
	case detect.ManifestPut:
		return []string{"kinds", "changed"}
	case detect.ManifestDelete:
		if detect.IsDigest(r.Reference) {
			return []string{"kinds", "tags", "semver", "tagged"}
		}
		return []string{"kinds"}
	case detect.ManifestGet:
		if detect.IsDigest(r.Reference) {
			return []string{"kinds", "tags", "semver", "tagged"}
		}
		return []string{"kinds"}
	}
	return nil
}

// requestFires returns, for each webhook, whether an event of this request would fire it. A key
// that the request cannot decide rejects nothing.
func requestFires(enabled bool, hooks []*manage.Hook, waits map[string]api.V1Waiting, r *detect.Request, e detect.Event) (all []api.V1RequestFires, err error) {
	depends := map[string][]string{}
	decided := make([]notify.Webhook, len(hooks))
	for i, h := range hooks {
		decided[i] = h.Webhook
		for _, key := range undecided(r) {
			if clearKey(&decided[i].Match, key) {
				depends[h.Name] = append(depends[h.Name], "match."+key)
			}
			if clearKey(&decided[i].Exclude, key) {
				depends[h.Name] = append(depends[h.Name], "exclude."+key)
			}
		}
	}
	set, err := notify.Compile(enabled, decided)
	if err != nil {
		return nil, err
	}
	for _, v := range set.Explain(e) {
		all = append(all, firesOf(v, depends[v.Webhook], waits))
	}
	return all, nil
}

func firesOf(v notify.Verdict, depends []string, waits map[string]api.V1Waiting) api.V1RequestFires {
	wait, waiting := waits[v.Webhook]
	switch {
	case !v.Fires:
		return api.V1RequestFires{Webhook: v.Webhook, Fires: "no", Because: v.Because}
	case waiting && wait.State != manage.StateFailing:
		return api.V1RequestFires{Webhook: v.Webhook, Fires: "no", Because: whyWaiting(wait)}
	case len(depends) > 0:
		return api.V1RequestFires{Webhook: v.Webhook, Fires: "depends", Because: strings.Join(depends, ", ") + ": only the body or the answer decides"}
	}
	fires := api.V1RequestFires{Webhook: v.Webhook, Fires: "yes", Because: plural(v.POSTs, "POST")}
	if waiting {
		fires.Because += "; " + whyWaiting(wait)
	}
	return fires
}

// clearKey removes one of the keys of undecided from a filter and reports whether it was set.
func clearKey(m *notify.Match, key string) (was bool) {
	switch key {
	case "repositories":
		was, m.Repositories = len(m.Repositories) > 0, nil
	case "tags":
		was, m.Tags = len(m.Tags) > 0, nil
	case "kinds":
		was, m.Kinds = len(m.Kinds) > 0, nil
	case "semver":
		was, m.Semver = m.Semver != "", ""
	case "tagged":
		was, m.Tagged = m.Tagged != nil, nil
	case "changed":
		was, m.Changed = m.Changed != nil, nil
	}
	return was
}

// ExplainRequest implements api.V1Operations.
func (d control) ExplainRequest(ctx context.Context, q api.V1Question) (api.V1Meaning, error) {
	waiting, err := d.Waiting(ctx)
	if err != nil {
		return api.V1Meaning{}, err
	}
	m, err := explainRequest(d.wiring.Load(), d.running.Set().All, d.handler, byWebhook(waiting), q)
	if err != nil {
		return m, manage.Problems{{Message: err.Error()}}
	}
	return m, nil
}
