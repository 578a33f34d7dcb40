package format

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// cdEvents renders CDEvents as binary CloudEvents, in one version of the specification.
type cdEvents struct {
	version string
	types   map[detect.Type]string
}

// cdVersions are the supported versions of the specification. Flux reads 0.4.1.
var cdVersions = map[string]map[detect.Type]string{
	"0.4.1": {
		detect.PushArtifact:   "dev.cdevents.artifact.published.0.2.0",
		detect.PullArtifact:   "dev.cdevents.artifact.downloaded.0.1.0",
		detect.DeleteArtifact: "dev.cdevents.artifact.deleted.0.1.0",
	},
	"0.5.1": {
		detect.PushArtifact:   "dev.cdevents.artifact.published.0.3.0",
		detect.PullArtifact:   "dev.cdevents.artifact.downloaded.0.2.0",
		detect.DeleteArtifact: "dev.cdevents.artifact.deleted.0.2.0",
	},
}

type (
	cdEvent struct {
		Context    cdContext    `json:"context"`
		Subject    cdSubject    `json:"subject"`
		Custom     cdCustomData `json:"customData"`
		CustomType string       `json:"customDataContentType"`
	}
	cdContext struct {
		Version     string `json:"version,omitempty"`     // until 0.4
		SpecVersion string `json:"specversion,omitempty"` // since 0.5
		ID          string `json:"id"`
		Source      string `json:"source"`
		Type        string `json:"type"`
		Timestamp   string `json:"timestamp"`
	}
	cdSubject struct {
		ID      string    `json:"id"` // a purl
		Source  string    `json:"source"`
		Type    string    `json:"type,omitempty"` // until 0.4
		Content cdContent `json:"content"`
	}
	cdContent struct {
		User string `json:"user,omitempty"`
	}
	cdCustomData struct { // fields that the specification does not have
		Registry   string `json:"registry"`
		Repository string `json:"repository"`
		Tag        string `json:"tag,omitempty"`
		Digest     string `json:"digest,omitempty"`
		Reference  string `json:"reference"`
	}
)

func newCDEvents(o Options) (renderers, error) {
	if o.Spec == "" {
		o.Spec = "0.4.1"
	}
	types, ok := cdVersions[o.Spec]
	if !ok {
		return renderers{}, fmt.Errorf("spec: cdevents %q is not one of 0.4.1, 0.5.1", o.Spec)
	}
	return renderers{render: cdEvents{o.Spec, types}.render}, nil
}

func (c cdEvents) render(p Post) (Body, error) {
	e := &p.Event
	source := e.External.Scheme + "://" + e.External.Host
	user := e.Client.Operator
	if user == "" {
		user = e.Client.Address // as the specification suggests for anonymous clients
	}
	event := cdEvent{
		Context: cdContext{ID: postID(&p), Source: source, Type: c.types[e.Type], Timestamp: e.At.UTC().Format(time.RFC3339Nano)},
		Subject: cdSubject{ID: purl(e, p.tag()), Source: source, Content: cdContent{user}},
		Custom: cdCustomData{Registry: e.External.Host, Repository: e.Repository, Tag: p.tag(), Digest: e.Digest,
			Reference: reference(e, p.tag())},
		CustomType: "application/json",
	}
	if strings.HasPrefix(c.version, "0.4.") {
		event.Context.Version, event.Subject.Type = c.version, "artifact"
	} else {
		event.Context.SpecVersion = c.version
	}
	b, err := json.Marshal(event)
	return Body{ContentType: "application/json", Header: attributes(map[string]string{
		"ce-specversion": "1.0", "ce-id": event.Context.ID, "ce-source": source, "ce-type": event.Context.Type,
		"ce-time": event.Context.Timestamp, "ce-subject": event.Subject.ID,
	}), Bytes: b}, err
}

// purl returns an artifact's package URL:
// pkg:oci/app@sha256%3A…?repository_url=registry.example.com%2Fteam%2Fapp&tag=v1.
func purl(e *detect.Event, tag string) string {
	s := "pkg:oci/" + escape(path.Base(e.Repository))
	if e.Digest != "" {
		s += "@" + escape(e.Digest)
	}
	s += "?repository_url=" + escape(e.External.Host+"/"+e.Repository)
	if tag != "" {
		s += "&tag=" + escape(tag)
	}
	return s
}
