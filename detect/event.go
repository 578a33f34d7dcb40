package detect

import (
	"time"

	"github.com/google/uuid"
)

// Type is the type of an event, in the words of Harbor.
type Type string

// The types of events.
const (
	PushArtifact      Type = "PUSH_ARTIFACT"
	PullArtifact      Type = "PULL_ARTIFACT"
	DeleteArtifact    Type = "DELETE_ARTIFACT"
	DeleteTag         Type = "DELETE_TAG"
	UploadChart       Type = "UPLOAD_CHART"
	DownloadChart     Type = "DOWNLOAD_CHART"
	DeleteChart       Type = "DELETE_CHART"
	ScanningCompleted Type = "SCANNING_COMPLETED"
	ScanningFailed    Type = "SCANNING_FAILED"
	QuotaExceed       Type = "QUOTA_EXCEED"
	QuotaWarning      Type = "QUOTA_WARNING"
	Replication       Type = "REPLICATION"
)

// ArtifactKind is the kind of an artifact (match.kinds). "" stands for an artifact whose bytes have
// not been read.
type ArtifactKind string

// The kinds of artifact.
const (
	Image       ArtifactKind = "image"
	Index       ArtifactKind = "index"
	HelmChart   ArtifactKind = "chart"
	Signature   ArtifactKind = "signature"
	Attestation ArtifactKind = "attestation"
	SBOM        ArtifactKind = "sbom"
	Referrer    ArtifactKind = "referrer"
	OtherKind   ArtifactKind = "other"
)

// Accessory reports whether the kind belongs to another artifact (detection.accessories).
func (k ArtifactKind) Accessory() bool {
	switch k {
	case Signature, Attestation, SBOM, Referrer:
		return true
	}
	return false
}

// Event is something that happened at an upstream. The ledger keeps it as JSON, to which fields are
// only ever added. Package notify/format owns the shapes that receivers get.
type Event struct {
	ID       string    `json:"id"`            // UUIDv7
	Seq      int64     `json:"seq,omitempty"` // the ledger's order; 0 until it is stored
	Type     Type      `json:"type"`
	At       time.Time `json:"at"` // when the request came; the first one where it was retried
	Upstream string    `json:"upstream"`
	External External  `json:"external"`

	// registry: full name; chartmuseum: the tenant path
	Repository string    `json:"repository"`
	FirstSeen  time.Time `json:"first_seen,omitzero"`  // of the repository
	Visibility string    `json:"visibility,omitempty"` // public | private
	Hint       string    `json:"namespace_hint,omitempty"`

	// pushes: those put; pulls: the one asked for, or none; deletes: those that are gone
	Tags         []string `json:"tags,omitempty"`
	KnownTags    []string `json:"known_tags,omitempty"`    // pulls: every tag known for the digest
	TagsComplete bool     `json:"tags_complete,omitempty"` // deletes: Tags is all of them
	Digest       string   `json:"digest,omitempty"`
	// the digest on which the tag stood before, if another
	Previous string `json:"previous_digest,omitempty"`
	// the digest in the answer's header is not that of the bytes
	Mismatch bool `json:"digest_mismatch,omitempty"`

	Artifact *Artifact `json:"artifact,omitempty"`
	Chart    *Chart    `json:"chart,omitempty"` // chartmuseum events

	// SCANNING_COMPLETED, SCANNING_FAILED
	Scan        *Scan           `json:"scan,omitempty"`
	Quota       *Quota          `json:"quota,omitempty"`       // QUOTA_EXCEED, QUOTA_WARNING
	Replication *ReplicationRun `json:"replication,omitempty"` // REPLICATION

	Client    Client `json:"client"`
	RequestID string `json:"request_id,omitempty"`

	Unchanged bool  `json:"unchanged,omitempty"` // a push of what stood there already
	Moved     Moved `json:"moved,omitempty"`     // pulls
	// its outcome was unknown, and found out by asking the upstream
	Inferred bool `json:"inferred,omitempty"`
	// a chart whose name could not be found: it is sent to no webhook
	Unnamed bool `json:"unnamed,omitempty"`
}

// Moved is the most that a pull moved. A pull that moves layers is a download. Any other pull is an
// inspection, which is only sent to webhooks that ask for inspections.
type Moved string

// What a pull can move. "" stands for events that are no pulls.
const (
	MovedLayers   Moved = "layers"
	MovedConfig   Moved = "config"
	MovedManifest Moved = "manifest"
)

// NewID returns the ID of an event or an intent, a UUIDv7: IDs sort by when they were made.
func NewID() string { return uuid.Must(uuid.NewV7()).String() }

// Inspection reports whether the event is a pull that moved no layer.
func (e *Event) Inspection() bool { return e.Moved == MovedConfig || e.Moved == MovedManifest }

// Artifact describes a manifest.
type Artifact struct {
	Kind         ArtifactKind `json:"kind"`
	MediaType    string       `json:"media_type,omitempty"`
	ArtifactType string       `json:"artifact_type,omitempty"`
	ConfigType   string       `json:"config_type,omitempty"`
	// manifest + config + layers; an index: its own and its children's
	Size      int64    `json:"size,omitempty"`
	Own       int64    `json:"own,omitempty"`     // bytes of the manifest itself; 0: not known
	Subject   string   `json:"subject,omitempty"` // digest that an accessory belongs to
	Platforms []string `json:"platforms,omitempty"`
	// of an index; in its pull: those that were read
	Children    []Child           `json:"children,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
	// it lists more layers, children or platforms than are kept, or more children than are
	// sized
	Inexact bool `json:"inexact,omitempty"`
}

// IsIndex reports whether an artifact is an index, also one that calls itself an accessory.
func (a *Artifact) IsIndex() bool { return a.Kind == Index || len(a.Children) > 0 }

// Child is a manifest that an index lists.
type Child struct {
	Digest       string `json:"digest"`
	MediaType    string `json:"media_type,omitempty"`
	ArtifactType string `json:"artifact_type,omitempty"`
	Platform     string `json:"platform,omitempty"` // os/arch[/variant]
	Size         int64  `json:"size,omitempty"`     // of the manifest, as the index says
}
