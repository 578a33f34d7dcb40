// Package format renders events as the bodies that receivers understand: one file for each payload
// format, pure functions, golden tests. The wire shapes live here and nowhere else; detect.Event is
// only read.
package format

import (
	"fmt"
	"maps"
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

// renderer makes a body. It is pure; an error means that the event can never be rendered.
type renderer func(Post) (Body, error)

// Format is a payload format made ready for one webhook.
type Format struct {
	name    string
	webhook string
	kind    kind
	built
}

// Name is the format's name in the configuration.
func (f Format) Name() string { return f.name }

// PerTag reports whether a body names one tag, so that a push or a delete of several tags makes one
// POST for each.
func (f Format) PerTag() bool { return f.kind.perTag }

// Says are the types of events that the format has a body for, in the order of the documentation.
func (f Format) Says() []detect.Type { return slices.Clone(f.kind.says) }

// Render makes the POST about e.Tags[n]. It is pure; an error means that the event can never be
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

// Options are a webhook's format_options.
type Options struct {
	Mode    string // cloudevents: structured (default) or binary
	Type    string // cloudevents: overrides the type
	Subject string // cloudevents: the subject; "" sends none, as Harbor
	Spec    string // cdevents: version of the specification; "" is 0.4.1

	Template     string        // template: its text
	TemplateName string        // template: what errors call it, such as its file
	ContentType  string        // template: of what it makes; "" is application/json
	Events       []detect.Type // template: those that it is tried with
}

// built is a format with its options.
type built struct {
	render renderer
	group  groupRenderer // nil: each event is a message of its own
}

// kind is what is known of a format before it is made ready for a webhook.
type kind struct {
	perTag bool
	says   []detect.Type
	make   func(Options) (built, error)
}

// kinds are the formats by name.
var kinds = map[string]kind{
	"acr":          {true, []detect.Type{detect.PushArtifact, detect.DeleteArtifact, detect.UploadChart, detect.DeleteChart}, plainly(renderACR, nil)},
	"bellbuoy":     {false, allTypes, plainly(renderBellbuoy, nil)},
	"cdevents":     {true, []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact}, newCDEvents},
	"cloudevents":  {true, allTypes, newCloudEvents},
	"discord":      {false, allTypes, plainly(renderDiscord, groupDiscord)},
	"distribution": {true, registryTypes, plainly(renderDistribution, nil)},
	"dockerhub":    {true, []detect.Type{detect.PushArtifact}, plainly(renderDockerHub, nil)},
	"harbor":       {true, allTypes, plainly(renderHarbor, nil)},
	"quay":         {true, []detect.Type{detect.PushArtifact}, plainly(renderQuay, nil)},
	"slack":        {false, allTypes, plainly(renderSlack, groupSlack)},
	"teams":        {false, allTypes, plainly(renderTeams, groupTeams)},
	"template":     {false, allTypes, newTemplate},
}

var (
	registryTypes = []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact, detect.DeleteTag}
	allTypes      = []detect.Type{detect.PushArtifact, detect.PullArtifact, detect.DeleteArtifact, detect.DeleteTag,
		detect.UploadChart, detect.DownloadChart, detect.DeleteChart, detect.ScanningCompleted, detect.ScanningFailed,
		detect.QuotaExceed, detect.QuotaWarning, detect.Replication}
)

// plainly makes a format that has no options.
func plainly(r renderer, g groupRenderer) func(Options) (built, error) {
	return func(Options) (built, error) { return built{r, g}, nil }
}

// Names of the formats, sorted.
func Names() []string { return slices.Sorted(maps.Keys(kinds)) }

// New returns a format by its name, for the webhook of that name.
func New(name, webhook string, o Options) (Format, error) {
	k, ok := kinds[name]
	if !ok {
		return Format{}, fmt.Errorf("format %q is not one of %s", name, strings.Join(Names(), ", "))
	}
	b, err := k.make(o)
	return Format{name: name, webhook: webhook, kind: k, built: b}, err
}

func typeList(types []detect.Type) string {
	texts := make([]string, 0, len(types))
	for _, t := range types {
		texts = append(texts, string(t))
	}
	return strings.Join(texts, ", ")
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

// names splits an event's repository as Harbor does: project, and the rest. A repository of one
// segment is in "library".
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

// reference is how users name the artifact: host/repository:tag, or @digest where there is no tag.
// A chart's is its URL.
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

// complete refuses events without the part that their type is about.
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
