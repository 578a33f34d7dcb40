package main

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/proxy"
)

func newExplainCommand(a *app) *cobra.Command {
	var client detect.Client
	c := &cobra.Command{
		Use:   "explain EVENT-ID | METHOD URL",
		Short: "Explain why webhooks fire or not, for a recorded event or a request",
		Long: "With an EVENT-ID: for each webhook, when the event was delivered, or which key of its filter rejected it; for each\n" +
			"scanner, the scans that a push started, or which key prevented one.\n" +
			"With METHOD and URL: how the request is classified, which webhooks would fire, and for the others the first\n" +
			"filter that rejects it; for a push, also which scanners would scan it. URL is a URL of bellbuoy, or a path: /v2/team/app/manifests/v1. Nothing is sent. If only\n" +
			"a body or an answer decides (kind, a chart's version, whether a push changes anything), the output says so.",
		Example: "  bellbuoy explain 01a21fe2-db06-73dd-bfb2-8128bb9ca434\n  bellbuoy explain PUT /v2/team/app/manifests/v1\n" +
			"  bellbuoy explain --operator alice DELETE https://registry.example.com/v2/team/app/manifests/v1",
		Args: eventOrRequest,
		RunE: func(c *cobra.Command, args []string) error {
			if len(args) == 1 {
				return runExplainEvent(c.Context(), a, args[0])
			}
			return runExplainRequest(c.Context(), a, args[0], args[1], client)
		},
	}
	c.Flags().StringVar(&client.Operator, "operator", "", "the operator; default: anonymous")
	c.Flags().StringVar(&client.UserAgent, "user-agent", "", "the client's user agent")
	return c
}

// eventOrRequest accepts the id of an event, or a method and a URL.
func eventOrRequest(c *cobra.Command, args []string) error {
	if len(args) != 1 {
		return cobra.RangeArgs(1, 2)(c, args)
	}
	if _, err := uuid.Parse(args[0]); err != nil {
		return fmt.Errorf("%q is not the id of an event; bellbuoy events lists them. For a request, give METHOD and URL", args[0])
	}
	return nil
}

// runExplainEvent explains what every webhook did with an event.
func runExplainEvent(ctx context.Context, a *app, id string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var got api.V1Explained
	if err := c.call(ctx, http.MethodGet, v1("/events/"+id+"/explain"), nil, nil, &got); err != nil {
		return err
	}
	fmt.Fprintf(a.Stdout, eventColumns, "TIME", "ID", "TYPE", "OPERATOR", "WHAT")
	if err := printEvent(a, got.Event, false); err != nil {
		return err
	}
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\nWEBHOOK\tFIRED\tBECAUSE")
	for _, w := range got.Webhooks {
		fired, because := whatBecame(w)
		fmt.Fprintf(t, "%s\t%s\t%s\n", oneLine(w.Webhook), fired, oneLine(because))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	printScanners(a.Stdout, got.Scanners)
	return nil
}

// whatBecame returns what a webhook did with an event, and why.
func whatBecame(w api.V1Verdict) (fired, because string) {
	if len(w.Deliveries) > 0 {
		var parts []string
		for _, d := range w.Deliveries {
			parts = append(parts, deliveryText(d))
		}
		return "yes", strings.Join(parts, "; ")
	}
	if w.Fires {
		return "no", "its filters match now; then they did not, or it was not configured or not enabled; bellbuoy replay " + w.Webhook + " would send it"
	}
	because = w.Because
	if w.Wanted != "" {
		because += ": the event has " + cmp.Or(w.Value, "(none)") + ", it wants " + w.Wanted
		if strings.HasPrefix(w.Because, "exclude.") {
			because = w.Because + ": the event has " + cmp.Or(w.Value, "(none)") + ", excluded are " + w.Wanted
		}
	}
	return "no", because
}

func deliveryText(d api.V1Delivery) string {
	text := fmt.Sprintf("delivery %d: %s", d.ID, d.State)
	switch {
	case !d.FinishedAt.IsZero():
		text += " " + fullTime(d.FinishedAt)
	case !d.NextAt.IsZero():
		text += ", next attempt " + fullTime(d.NextAt)
	case d.Waits != "":
		text += ", waits for: " + d.Waits
	}
	return text + ", " + plural(d.Attempts, "attempt") + ", last answer " + lastOf(d)
}

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
	m, err := explainRequest(w, w.hooks, handler, notDelivered(ctx, a), api.V1Question{Method: method, URL: rawURL, Operator: client.Operator, UserAgent: client.UserAgent})
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

// explainRequest returns what a request would cause, with these webhooks. waits are the webhooks
// that are not delivered to.
func explainRequest(w *wiring, hooks []*manage.Hook, requests classifier, waits map[string]waitLine, q api.V1Question) (m api.V1Meaning, err error) {
	r, err := explained(q.Method, q.URL)
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
	meaning := meaningOf(&request)
	m.Request, m.Event, m.Because = describe(&request), meaning.event, meaning.because
	if m.Event == "" {
		return m, nil
	}
	project := projectOf(request.Repository)
	if rule := quotaRule(w.config.Projects)(project); m.Event == detect.PushArtifact && rule.Limit > 0 {
		m.Also = fmt.Sprintf("QUOTA_WARNING or QUOTA_EXCEED, if the project %s rises over a level of its quota of %s", project, bytesText(rule.Limit))
	}
	sample := sampleOf(&request, m.Event, upstream, detect.Client{Operator: q.Operator, UserAgent: q.UserAgent})
	if m.Webhooks, err = requestFires(w.config.Notifications.Enabled, hooks, waits, &request, sample); err != nil {
		return m, err
	}
	if m.Event == detect.PushArtifact {
		m.Scanners = scannersOfRequest(&w.scanners, w.config.Scanners, &request, sample)
	}
	return m, nil
}

// notDelivered returns the webhooks whose deliveries wait, by name; none if no bellbuoy runs.
func notDelivered(ctx context.Context, a *app) map[string]waitLine {
	var waits []waitLine
	c, err := a.connect()
	if err != nil || c.call(ctx, http.MethodGet, "/waits", nil, nil, &waits) != nil {
		return nil
	}
	by := map[string]waitLine{}
	for _, w := range waits {
		by[w.Webhook] = w
	}
	return by
}

// explained returns the request that the arguments describe.
func explained(method, rawURL string) (*http.Request, error) {
	u, err := url.Parse(rawURL)
	if err != nil || !strings.HasPrefix(u.Path, "/") {
		return nil, fmt.Errorf("%q is neither a URL nor a path that begins with /", rawURL)
	}
	method = strings.ToUpper(method)
	r := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}, RemoteAddr: "127.0.0.1:1", RequestURI: u.RequestURI(), ProtoMajor: 1, ProtoMinor: 1}
	return r, nil
}

// requestMeaning is the effect of a request that the upstream answers with success.
type requestMeaning struct {
	event   detect.Type // "": none
	because string
}

// meaningOf applies the tables of the documentation, as far as one request alone allows.
func meaningOf(r *detect.Request) requestMeaning {
	_, _, fallback := detect.FallbackTag(r.Reference)
	byDigest := detect.IsDigest(r.Reference)
	switch r.Action {
	case detect.ManifestPut:
		switch {
		case fallback:
			return requestMeaning{detect.PushArtifact, "of an accessory; an index at this tag is bookkeeping and no event"}
		case byDigest && len(r.Tags) == 0:
			return requestMeaning{detect.PushArtifact, "unless an index that lists it, or a tag, follows; then it is part of that push"}
		}
		return requestMeaning{detect.PushArtifact, "if the upstream answers 2xx"}
	case detect.ManifestGet:
		switch {
		case fallback:
			return requestMeaning{"", "a read of an accessory's tag is no pull"}
		case byDigest:
			return requestMeaning{detect.PullArtifact, "of the tag that the client resolved to it by HEAD, else by digest; a child of an index is part of the pull of the index"}
		}
		return requestMeaning{detect.PullArtifact, "if a blob follows; otherwise only a read of the manifest"}
	case detect.ManifestHead:
		return requestMeaning{"", "a HEAD is a check and no pull; it says which tag a later GET by digest belongs to"}
	case detect.ManifestDelete:
		if byDigest {
			return requestMeaning{detect.DeleteArtifact, "with all tags that have this digest"}
		}
		return requestMeaning{detect.DeleteTag, "the artifact stays"}
	case detect.ChartPost:
		return requestMeaning{detect.UploadChart, "name and version are read from the archive"}
	case detect.ChartGet:
		return requestMeaning{detect.DownloadChart, "if the upstream answers 200"}
	case detect.ChartDelete:
		return requestMeaning{detect.DeleteChart, "if the upstream answers 200"}
	case detect.ProvenancePost, detect.ProvenanceGet:
		return requestMeaning{"", "a provenance file alone is no event"}
	case detect.BlobGet, detect.BlobHead:
		return requestMeaning{"", "a blob is part of the pull of a manifest that lists it"}
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd, detect.UploadInfo, detect.UploadCancel:
		return requestMeaning{"", "an uploaded blob is part of a push when a manifest lists it; refused for the upstream's own quota, it is a QUOTA_EXCEED"}
	}
	return requestMeaning{"", "this request raises no event"}
}

// sampleOf returns the event that the request would cause, with the data that the request contains.
func sampleOf(r *detect.Request, kind detect.Type, upstream string, client detect.Client) detect.Event {
	e := detect.Event{ID: "00000000-0000-7000-8000-000000000000", Type: kind, At: time.Now(), Upstream: upstream, Repository: r.Repository, Client: client}
	switch r.Action {
	case detect.ChartGet:
		name, version, _ := detect.SplitChartFile(r.File)
		e.Chart = &detect.Chart{Name: name, Version: version}
	case detect.ChartDelete, detect.ChartPost:
		e.Chart = &detect.Chart{Name: r.Chart, Version: r.Version}
	default:
		if detect.IsDigest(r.Reference) {
			e.Digest, e.Tags = r.Reference, r.Tags
		} else {
			e.Tags = []string{r.Reference}
		}
	}
	return e
}

func describe(r *detect.Request) string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+value)
		}
	}
	add("repository", r.Repository)
	switch {
	case detect.IsDigest(r.Reference):
		add("digest", r.Reference)
	default:
		add("tag", r.Reference)
	}
	add("chart", r.Chart)
	add("version", r.Version)
	add("file", r.File)
	add("mount of", r.Mount)
	add("from", r.From)
	add("namespace hint", r.Hint)
	return strings.TrimSuffix(strings.ReplaceAll(r.Action.String(), "_", " ")+": "+strings.Join(parts, ", "), ": ")
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

// requestFires returns what each webhook would make of an event of which only the request is known.
// A key that the request cannot decide rejects nothing.
func requestFires(enabled bool, hooks []*manage.Hook, waits map[string]waitLine, r *detect.Request, e detect.Event) (all []api.V1RequestFires, err error) {
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

func firesOf(v notify.Verdict, depends []string, waits map[string]waitLine) api.V1RequestFires {
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
