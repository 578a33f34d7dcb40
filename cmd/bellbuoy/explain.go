package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/proxy"
)

func (a *app) explainCommand() *cobra.Command {
	var client detect.Client
	c := &cobra.Command{
		Use:   "explain METHOD URL",
		Short: "What a request would be classified as, which webhooks would fire, and why not",
		Long: "What a request would be classified as, which webhooks would fire, and for the others the first filter that says no.\n" +
			"URL is one at bellbuoy, or a path: /v2/team/app/manifests/v1. Nothing is sent anywhere; what only an answer tells\n" +
			"(kind, size, whether a push changes anything) is taken as unknown, and filters on it as passed.",
		Example: "  bellbuoy explain PUT /v2/team/app/manifests/v1\n  bellbuoy explain --operator alice DELETE https://registry.example.com/v2/team/app/manifests/v1",
		Args:    cobra.ExactArgs(2),
		RunE:    func(_ *cobra.Command, args []string) error { return a.explain(args[0], args[1], client) },
	}
	c.Flags().StringVar(&client.Operator, "operator", "", "who asks; default: anonymous")
	c.Flags().StringVar(&client.UserAgent, "user-agent", "", "with which client")
	return c
}

func (a *app) explain(method, rawURL string, client detect.Client) error {
	_, c, _, err := a.load()
	if err != nil {
		return err
	}
	w, err := wire(c, nil)
	if err != nil {
		return err
	}
	defer w.close()
	r, err := explained(method, rawURL)
	if err != nil {
		return err
	}
	handler, err := proxy.New(w.proxyOptions(data{}))
	if err != nil {
		return err
	}
	upstream, request := handler.Classify(r)
	if upstream == "" {
		fmt.Fprintln(a.Stdout, "no upstream is configured for this host and path: bellbuoy answers 404")
		return nil
	}
	if request.TooLong != "" {
		fmt.Fprintf(a.Stdout, "upstream:  %s\nevent:     none: bellbuoy answers 400: %s\n", upstream, request.TooLong)
		return nil
	}
	m := meaningOf(&request)
	fmt.Fprintf(a.Stdout, "upstream:  %s\nrequest:   %s\n", upstream, describe(&request))
	if m.event == "" {
		fmt.Fprintf(a.Stdout, "event:     none: %s\n", m.because)
		return nil
	}
	fmt.Fprintf(a.Stdout, "event:     %s, %s\n", m.event, m.because)
	a.printVerdicts(w.set.Explain(sampleOf(&request, m.event, upstream, client)))
	return nil
}

// explained is the request that the arguments describe.
func explained(method, rawURL string) (*http.Request, error) {
	u, err := url.Parse(rawURL)
	if err != nil || !strings.HasPrefix(u.Path, "/") {
		return nil, fmt.Errorf("%q is neither a URL nor a path that begins with /", rawURL)
	}
	method = strings.ToUpper(method)
	r := &http.Request{Method: method, URL: u, Host: u.Host, Header: http.Header{}, RemoteAddr: "127.0.0.1:1", RequestURI: u.RequestURI(), ProtoMajor: 1, ProtoMinor: 1}
	return r, nil
}

// meaning is what comes of a request that the upstream answers with success.
type meaning struct {
	event   detect.Type // "": none
	because string
}

// meaningOf follows the tables of the documentation as far as one request alone tells.
func meaningOf(r *detect.Request) meaning {
	_, _, fallback := detect.FallbackTag(r.Reference)
	byDigest := detect.IsDigest(r.Reference)
	switch r.Action {
	case detect.ManifestPut:
		switch {
		case fallback:
			return meaning{detect.PushArtifact, "of an accessory; an index put here is bookkeeping and no event"}
		case byDigest && len(r.Tags) == 0:
			return meaning{detect.PushArtifact, "unless an index that lists it or a tag follows: then it belongs to that push"}
		}
		return meaning{detect.PushArtifact, "when the upstream answers 2xx"}
	case detect.ManifestGet:
		switch {
		case fallback:
			return meaning{"", "reading an accessory's tag is no pull"}
		case byDigest:
			return meaning{detect.PullArtifact, "of the tag that the client resolved to it by HEAD, else by digest; a child of an index that it reads is part of that pull"}
		}
		return meaning{detect.PullArtifact, "when a blob follows; without one it is a read of the manifest only"}
	case detect.ManifestHead:
		return meaning{"", "a HEAD is a check and no pull; it tells which tag a GET by digest belongs to"}
	case detect.ManifestDelete:
		if byDigest {
			return meaning{detect.DeleteArtifact, "with all tags that stand on it"}
		}
		return meaning{detect.DeleteTag, "the artifact stays"}
	case detect.ChartPost:
		return meaning{detect.UploadChart, "name and version are read from the archive"}
	case detect.ChartGet:
		return meaning{detect.DownloadChart, "when the upstream answers 200"}
	case detect.ChartDelete:
		return meaning{detect.DeleteChart, "when the upstream answers 200"}
	case detect.ProvenancePost, detect.ProvenanceGet:
		return meaning{"", "a provenance file alone is no event"}
	case detect.BlobGet, detect.BlobHead:
		return meaning{"", "a blob is part of the pull of a manifest that lists it"}
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd, detect.UploadInfo, detect.UploadCancel:
		return meaning{"", "a blob's upload is no push until a manifest lists it"}
	}
	return meaning{"", "this request means nothing for events"}
}

// sampleOf is the event that would come, with what the request alone tells.
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
	return strings.TrimSuffix(r.Action.String()+": "+strings.Join(parts, ", "), ": ")
}

func (a *app) printVerdicts(verdicts []notify.Verdict) {
	t := tabwriter.NewWriter(a.Stdout, 0, 0, 2, ' ', 0)
	defer t.Flush()
	fmt.Fprintln(t, "\nWEBHOOK\tFIRES\tBECAUSE")
	for _, v := range verdicts {
		if v.Fires {
			fmt.Fprintf(t, "%s\tyes\t%s\n", v.Webhook, plural(v.POSTs, "POST"))
		} else {
			fmt.Fprintf(t, "%s\tno\t%s\n", v.Webhook, v.Because)
		}
	}
}
