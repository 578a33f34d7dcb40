// Package format renders events as the bodies that receivers expect.
//
// [New] returns a [Format] by its name in the configuration, and [Format.Render] renders an event.
// Rendering is pure: it reads no clock, no file and no network, and never changes the event. Each
// payload format is one file with its wire types, and golden files in testdata hold its output.
// Formats for people (slack, teams, discord, template) can also combine several events into one
// message with [Format.RenderGroup].
//
// [Sample] returns an example of each type of event. [Values] returns the values for placeholders
// of a webhook's URL.
package format

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Body is the body of a POST with its content type and headers.
type Body struct {
	ContentType string
	// the format's own headers, such as ce-* of binary CloudEvents
	Header map[string]string
	Bytes  []byte
}

// Post describes one POST about an event.
type Post struct {
	Event   detect.Event
	Number  int    // index of the tag in Event.Tags, if the format is per tag
	Webhook string // the webhook's name
}

// renderer makes the body of a POST. It is pure; an error means that the event can never be
// rendered.
type renderer func(Post) (Body, error)

// Format is a payload format with the options of one webhook.
type Format struct {
	name    string
	webhook string
	kind    formatKind
	renderers
}

// Name returns the format's name in the configuration.
func (f Format) Name() string { return f.name }

// PerTag reports whether a body names one tag. A push or delete of several tags then needs one POST
// for each.
func (f Format) PerTag() bool { return f.kind.perTag }

// Says returns the types of events that the format can render, in the order of the documentation.
func (f Format) Says() []detect.Type { return slices.Clone(f.kind.says) }

// Render renders the POST about e.Tags[n]. It is pure; an error means that the event can never be
// rendered.
func (f Format) Render(e detect.Event, n int) (contentType string, header map[string]string, body []byte, err error) {
	if !slices.Contains(f.kind.says, e.Type) {
		return "", nil, nil, fmt.Errorf("format %s has no body for %s; it has for %s", f.name, e.Type, typeList(f.kind.says))
	}
	if err := complete(&e); err != nil {
		return "", nil, nil, fmt.Errorf("rendering %s: %w", f.name, err)
	}
	b, err := f.render(Post{Event: e, Number: n, Webhook: f.webhook})
	if err != nil {
		return "", nil, nil, fmt.Errorf("rendering %s: %w", f.name, err)
	}
	return b.ContentType, b.Header, b.Bytes, nil
}

// Options are a webhook's format_options. Each belongs to one format.
type Options struct {
	Mode    string // cloudevents: structured (default) or binary
	Type    string // cloudevents: replaces the type
	Subject string // cloudevents: the subject; "" sends none, as Harbor does
	Spec    string // cdevents: version of the specification; "" is 0.4.1

	Template     string        // template: its text
	TemplateName string        // template: its name in errors, such as its file
	ContentType  string        // template: content type of its output; "" is application/json
	Events       []detect.Type // template: types that New tests it with

	Project func(project string) int64 // cloudevents: returns a project's number; nil: Number of its name
	Number  int64                      // cloudevents: the webhook's number; 0: Number of its name
}

// renderers holds the renderers of a format with its options.
type renderers struct {
	render renderer
	group  groupRenderer // nil: each event is its own message
}

// formatKind describes a format before it has options.
type formatKind struct {
	perTag bool
	says   []detect.Type
	make   func(Options) (renderers, error)
}

// kinds maps names to formats.
var kinds = map[string]formatKind{
	"acr":          {true, []detect.Type{detect.PushArtifact, detect.DeleteArtifact, detect.UploadChart, detect.DeleteChart}, withoutOptions(renderACR, nil)},
	"bellbuoy":     {false, allTypes, withoutOptions(renderBellbuoy, nil)},
	"cdevents":     {true, []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact}, newCDEvents},
	"cloudevents":  {true, allTypes, newCloudEvents},
	"discord":      {false, allTypes, withoutOptions(renderDiscord, groupDiscord)},
	"distribution": {true, registryTypes, withoutOptions(renderDistribution, nil)},
	"dockerhub":    {true, []detect.Type{detect.PushArtifact}, withoutOptions(renderDockerHub, nil)},
	"harbor":       {true, allTypes, withoutOptions(renderHarbor, nil)},
	"quay":         {true, []detect.Type{detect.PushArtifact}, withoutOptions(renderQuay, nil)},
	"slack":        {false, allTypes, withoutOptions(renderSlack, groupSlack)},
	"teams":        {false, allTypes, withoutOptions(renderTeams, groupTeams)},
	"template":     {false, allTypes, newTemplate},
}

var (
	registryTypes = []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact, detect.DeleteTag}
	allTypes      = []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact, detect.DeleteTag,
		detect.UploadChart, detect.DownloadChart, detect.DeleteChart, detect.ScanningCompleted, detect.ScanningFailed,
		detect.QuotaExceed, detect.QuotaWarning, detect.Replication}
)

// withoutOptions returns the constructor of a format without options.
func withoutOptions(r renderer, g groupRenderer) func(Options) (renderers, error) {
	return func(Options) (renderers, error) { return renderers{r, g}, nil }
}

// Names returns the names of the formats, sorted.
func Names() []string { return slices.Sorted(maps.Keys(kinds)) }

// New returns the format of that name, for the webhook of that name.
func New(name, webhook string, o Options) (Format, error) {
	k, ok := kinds[name]
	if !ok {
		return Format{}, fmt.Errorf("format %q is not one of %s", name, strings.Join(Names(), ", "))
	}
	b, err := k.make(o)
	return Format{name: name, webhook: webhook, kind: k, renderers: b}, err
}

func typeList(types []detect.Type) string {
	texts := make([]string, 0, len(types))
	for _, t := range types {
		texts = append(texts, string(t))
	}
	return strings.Join(texts, ", ")
}

// tag returns the tag that the post is about, or "" if the artifact has none.
func (p *Post) tag() string {
	switch {
	case p.Event.Chart != nil:
		return p.Event.Chart.Version
	case p.Number < len(p.Event.Tags):
		return p.Event.Tags[p.Number]
	}
	return ""
}

// names splits a repository into project and name as Harbor does. The project of a repository of
// one segment is "library".
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

// reference returns the artifact's name: host/repository:tag, or host/repository@digest without a
// tag. For a chart it is the URL.
func reference(e *detect.Event, tag string) string {
	if e.Chart != nil {
		url := e.External.Scheme + "://" + e.External.Host + "/"
		if e.Repository != "" {
			url += e.Repository + "/"
		}
		if e.Chart.Path != "" {
			return e.External.Scheme + "://" + e.External.Host + e.Chart.Path
		}
		return url + "charts/" + e.Chart.Name + "-" + e.Chart.Version + ".tgz"
	}
	ref := e.External.Host + "/" + e.Repository
	if tag == "" || tag == e.Digest {
		return ref + "@" + e.Digest
	}
	return ref + ":" + tag
}

// complete returns an error if the event lacks the part that its type requires.
func complete(e *detect.Event) error {
	for _, part := range []struct {
		name     string
		has, own bool
	}{
		{"chart", e.Chart != nil, strings.HasSuffix(string(e.Type), "_CHART")},
		{"scan", e.Scan != nil, e.Type == detect.ScanningCompleted || e.Type == detect.ScanningFailed},
		{"quota", e.Quota != nil, e.Type == detect.QuotaExceed || e.Type == detect.QuotaWarning},
		{"replication", e.Replication != nil, e.Type == detect.Replication},
	} {
		if part.has && !part.own {
			return fmt.Errorf("a %s event with a %s", e.Type, part.name)
		}
		if part.own && !part.has {
			return fmt.Errorf("a %s event without its %s", e.Type, part.name)
		}
	}
	return nil
}
