// Package format renders events as the bodies that receivers understand: one file for each payload format, pure functions, golden tests.
// The wire shapes live here and nowhere else; detect.Event is only read.
package format

import (
	"fmt"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Body is what a POST carries.
type Body struct {
	ContentType string
	Header      map[string]string // further headers of the format, such as ce-* of binary CloudEvents
	Bytes       []byte
}

// Post is one POST that an event makes for one webhook.
type Post struct {
	Event   detect.Event
	Number  int    // of the tag in Event.Tags, where the format is per tag
	Webhook string // the webhook's name, its stable identity
}

// Format is a payload format made ready for one webhook.
type Format struct {
	name    string
	webhook string
	perTag  bool
	render  func(Post) (Body, error)
}

// Name is the format's name in the configuration.
func (f Format) Name() string { return f.name }

// PerTag tells that a body names one tag, so that a push or a delete of several tags makes one POST for each.
func (f Format) PerTag() bool { return f.perTag }

// Render makes the POST that tells of e.Tags[n]. It is pure; an error means that the event can never be rendered.
func (f Format) Render(e detect.Event, n int) (contentType string, header map[string]string, body []byte, err error) {
	b, err := f.render(Post{Event: e, Number: n, Webhook: f.webhook})
	if err != nil {
		return "", nil, nil, fmt.Errorf("rendering %s: %w", f.name, err)
	}
	return b.ContentType, b.Header, b.Bytes, nil
}

// Options are a webhook's format_options.
type Options struct {
	Mode    string // cloudevents: structured (default) or binary
	Type    string // cloudevents: overrides the type
	Subject string // cloudevents: the subject; "" sends none, as Harbor
}

// Names of the formats, sorted.
func Names() []string { return []string{"bellbuoy", "cloudevents", "harbor", "slack"} }

// New returns a format by its name, for the webhook of that name.
func New(name, webhook string, o Options) (Format, error) {
	f := Format{name: name, webhook: webhook}
	switch name {
	case "harbor":
		f.perTag, f.render = true, renderHarbor
	case "cloudevents":
		f.perTag, f.render = true, cloudEvents{o}.render
	case "bellbuoy":
		f.render = renderBellbuoy
	case "slack":
		f.render = renderSlack
	default:
		return Format{}, fmt.Errorf("format %q is not one of %s", name, strings.Join(Names(), ", "))
	}
	return f, nil
}

// tag is the one that a post is about, "" where the artifact has none.
func (p *Post) tag() string {
	switch {
	case p.Event.Chart != nil:
		return p.Event.Chart.Version
	case p.Number < len(p.Event.Tags):
		return p.Event.Tags[p.Number]
	}
	return ""
}

// names splits an event's repository as Harbor does: project, and the rest. A repository of one segment is in "library".
func names(e *detect.Event) (namespace, name, full string) {
	if e.Chart != nil {
		namespace = e.Repository
		if namespace == "" {
			namespace = "library"
		}
		return namespace, e.Chart.Name, namespace + "/" + e.Chart.Name
	}
	if project, rest, ok := strings.Cut(e.Repository, "/"); ok {
		return project, rest, e.Repository
	}
	return "library", e.Repository, e.Repository
}

// reference is how users name the artifact: host/repository:tag, or @digest where there is no tag. A chart's is its URL.
func reference(e *detect.Event, tag string) string {
	if e.Chart != nil {
		url := e.External.Scheme + "://" + e.External.Host + "/"
		if e.Repository != "" {
			url += e.Repository + "/"
		}
		return url + "charts/" + e.Chart.Name + "-" + e.Chart.Version + ".tgz"
	}
	ref := e.External.Host + "/" + e.Repository
	if tag == "" || tag == e.Digest {
		return ref + "@" + e.Digest
	}
	return ref + ":" + tag
}

// artifactTypes are the types that are about one artifact or chart; the only ones that can be rendered today.
var artifactTypes = []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact, detect.DeleteTag,
	detect.UploadChart, detect.DownloadChart, detect.DeleteChart}

// check refuses what a format has no shape for, and events whose chart is missing.
func check(e *detect.Event) error {
	if !slices.Contains(artifactTypes, e.Type) {
		return fmt.Errorf("an event of type %q has no body in this format", e.Type)
	}
	if strings.HasSuffix(string(e.Type), "_CHART") != (e.Chart != nil) {
		return fmt.Errorf("a %s event and its chart do not fit", e.Type)
	}
	return nil
}
