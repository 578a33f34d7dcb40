package format

import (
	"encoding/json"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Schema is the version of the bellbuoy format. Keys are only added under one version.
const Schema = "bellbuoy.event/v1"

// BellbuoyEvent is the body of the bellbuoy format, with everything known about an event.
// bellbuoy.schema.json is generated from it.
type BellbuoyEvent struct {
	Schema   string      `json:"schema" jsonschema:"const=bellbuoy.event/v1,description=Version of this format."`
	Type     detect.Type `json:"type" jsonschema:"description=Type of the event. Harbor has the same words."`
	ID       string      `json:"id" jsonschema:"description=UUIDv7 of the event; the same in every delivery of it."`
	Time     time.Time   `json:"time" jsonschema:"description=When the request came; in UTC."`
	Upstream string      `json:"upstream" jsonschema:"description=Configured name of the upstream."`

	Registry     string    `json:"registry" jsonschema:"description=Host (with its port) by which users name the upstream."`
	Repository   string    `json:"repository" jsonschema:"description=Full name; of a chart: its tenant path (library if there is none) and its name."`
	Namespace    string    `json:"namespace" jsonschema:"description=Project: first segment of the repository; library if it has only one."`
	Name         string    `json:"name" jsonschema:"description=The rest of the repository; of a chart: its name."`
	Visibility   string    `json:"visibility,omitempty" jsonschema:"enum=public,enum=private,description=Visibility of the project."`
	FirstSeen    time.Time `json:"first_seen,omitzero" jsonschema:"description=When bellbuoy first saw the repository; in UTC."`
	References   []string  `json:"references" jsonschema:"description=How users name the artifact: a name for each tag or one by digest; of a chart: its URL."`
	Tags         []string  `json:"tags" jsonschema:"description=Pushes: those that were pushed. Pulls: the one that was asked for; or all known ones of a digest that was asked for. Deletes: those that were deleted."`
	TagsComplete *bool     `json:"tags_complete,omitempty" jsonschema:"description=Deletes: whether tags are all of the digest. It needs that every tag of the repository is known: by bellbuoy index or by a list of its tags."`
	TagAsked     string    `json:"tag_asked,omitempty" jsonschema:"description=Pulls: the tag that the client asked for."`

	Digest         string `json:"digest,omitempty" jsonschema:"description=Digest of the manifest; of a chart: of its archive."`
	PreviousDigest string `json:"previous_digest,omitempty" jsonschema:"description=Digest on which the tag stood before; absent if it is the same."`
	DigestMismatch bool   `json:"digest_mismatch,omitempty" jsonschema:"description=true: the upstream's digest is not that of the bytes that were sent."`

	Kind         detect.ArtifactKind `json:"kind,omitempty" jsonschema:"description=Kind of the artifact. It is absent while the kind is unknown."`
	MediaType    string              `json:"media_type,omitempty" jsonschema:"description=Media type of the manifest."`
	ArtifactType string              `json:"artifact_type,omitempty" jsonschema:"description=artifactType of the manifest; without one the media type of its config."`
	Size         int64               `json:"size,omitempty" jsonschema:"description=Bytes of manifest and config and layers; of an index: its own and those of its children; of a chart: those of its archive."`
	Subject      string              `json:"subject,omitempty" jsonschema:"description=Digest of the artifact that this one belongs to."`
	Platforms    []string            `json:"platforms,omitempty" jsonschema:"description=Platforms of an image or an index: OS/architecture."`
	Children     []detect.Child      `json:"children,omitempty" jsonschema:"description=Manifests of an index; of its pull those that were chosen."`
	Annotations  map[string]string   `json:"annotations,omitempty" jsonschema:"description=Annotations of the manifest."`
	Chart        *BellbuoyChart      `json:"chart,omitempty" jsonschema:"description=Name and version of a chart of a ChartMuseum."`

	Scan        *detect.Scan           `json:"scan,omitempty" jsonschema:"description=Result of a scan with every finding."`
	Quota       *detect.Quota          `json:"quota,omitempty" jsonschema:"description=Usage and limit of the project in bytes."`
	Replication *detect.ReplicationRun `json:"replication,omitempty" jsonschema:"description=What one run of a replication moved."`

	Operator        string `json:"operator" jsonschema:"description=Who did it; empty if nobody is known."`
	OperatorClaimed string `json:"operator_claimed,omitempty" jsonschema:"description=A name that came with the request and that nothing proves."`
	ClientAddress   string `json:"client_address,omitempty" jsonschema:"description=IP address of the client."`
	UserAgent       string `json:"user_agent,omitempty" jsonschema:"description=User-Agent of the client."`
	RequestID       string `json:"request_id,omitempty" jsonschema:"description=X-Request-Id of the request."`

	Changed       *bool  `json:"changed,omitempty" jsonschema:"description=Pushes: whether the tag stands on another digest than before."`
	Moved         string `json:"moved,omitempty" jsonschema:"enum=layers,enum=config,enum=manifest,description=Pulls: what was moved. Without layers it is an inspection."`
	Inferred      bool   `json:"inferred,omitempty" jsonschema:"description=true: the outcome of the request was unknown and bellbuoy found it out later."`
	Unnamed       bool   `json:"unnamed,omitempty" jsonschema:"description=true: name and version of the chart are unknown. No webhook gets such an event."`
	NamespaceHint string `json:"namespace_hint,omitempty" jsonschema:"description=The ns parameter of a containerd mirror request."`
}

// BellbuoyChart describes a chart of a ChartMuseum.
type BellbuoyChart struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Type       string `json:"type,omitempty"`
	AppVersion string `json:"app_version,omitempty"`
}

func renderBellbuoy(p Post) (Body, error) {
	b, err := json.Marshal(NewBellbuoyEvent(&p.Event))
	return Body{ContentType: "application/json", Bytes: b}, err
}

// NewBellbuoyEvent converts an event to the bellbuoy format. Templates and the command line use it
// too.
func NewBellbuoyEvent(e *detect.Event) BellbuoyEvent {
	namespace, name, full := names(e)
	b := BellbuoyEvent{
		Schema: Schema, Type: e.Type, ID: e.ID, Time: e.At.UTC(), Upstream: e.Upstream,
		Registry: e.External.Host, Repository: full, Namespace: namespace, Name: name, Visibility: e.Visibility, FirstSeen: e.FirstSeen.UTC(),
		Tags: e.Tags, Digest: e.Digest, PreviousDigest: e.Previous, DigestMismatch: e.Mismatch,
		Operator: e.Client.Operator, OperatorClaimed: e.Client.Claimed, ClientAddress: e.Client.Address, UserAgent: e.Client.UserAgent,
		RequestID: e.RequestID, Inferred: e.Inferred, Unnamed: e.Unnamed, NamespaceHint: e.Hint,
		Scan: e.Scan, Quota: e.Quota, Replication: e.Replication,
	}
	if e.FirstSeen.IsZero() {
		b.FirstSeen = time.Time{}
	}
	b.addArtifact(e)
	b.addByType(e)
	if b.Tags == nil {
		b.Tags = []string{}
	}
	return b
}

func (b *BellbuoyEvent) addArtifact(e *detect.Event) {
	if c := e.Chart; c != nil {
		b.Chart = &BellbuoyChart{Name: c.Name, Version: c.Version, Type: c.Type, AppVersion: c.AppVersion}
		b.Kind, b.Size = detect.HelmChart, c.Size
		if !e.Unnamed {
			b.Tags = []string{c.Version}
		}
		b.Digest = chartDigest(e)
	}
	if a := e.Artifact; a != nil {
		b.Kind, b.MediaType, b.ArtifactType, b.Size, b.Subject = a.Kind, a.MediaType, a.ArtifactType, a.Size, a.Subject
		if b.ArtifactType == "" && a.ConfigType != "" {
			b.ArtifactType = a.ConfigType
		}
		b.Platforms, b.Children, b.Annotations = a.Platforms, a.Children, a.Annotations
	}
}

func (b *BellbuoyEvent) addByType(e *detect.Event) {
	b.References = references(e)
	switch e.Type {
	case detect.PushArtifact:
		changed := !e.Unchanged
		b.Changed = &changed
	case detect.DeleteArtifact:
		b.TagsComplete = &e.TagsComplete
	case detect.PullArtifact:
		b.Moved = string(e.Moved)
		if len(e.Tags) > 0 {
			b.TagAsked = e.Tags[0]
		}
		for _, known := range e.KnownTags {
			if known != b.TagAsked {
				b.Tags = append(b.Tags[:len(b.Tags):len(b.Tags)], known)
			}
		}
	}
}

// references returns the names of the artifact, one for each tag; none if the event is about no
// artifact.
func references(e *detect.Event) []string {
	out := []string{}
	if e.Unnamed {
		return out
	}
	for _, tag := range e.Tags {
		out = append(out, reference(e, tag))
	}
	if len(out) == 0 && (e.Chart != nil || e.Digest != "") {
		out = append(out, reference(e, ""))
	}
	return out
}

// chartDigest returns the digest of a chart's archive.
func chartDigest(e *detect.Event) string {
	if e.Digest != "" {
		return e.Digest
	}
	return e.Chart.Digest
}
