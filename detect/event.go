package detect

import "time"

// Type is the type of an event, in Harbor's words (DESIGN §4.1).
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

// ArtifactKind tells artifacts apart (match.kinds). "" is an artifact whose bytes nobody has read yet.
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

// Accessory tells whether the kind belongs to another artifact (detection.accessories).
func (k ArtifactKind) Accessory() bool {
	switch k {
	case Signature, Attestation, SBOM, Referrer:
		return true
	}
	return false
}

// Event is something that happened at an upstream. It is what the ledger keeps, as JSON; fields are only ever added.
// The shapes that receivers see belong to notify/format.
type Event struct {
	ID       string    `json:"id"`            // UUIDv7
	Seq      int64     `json:"seq,omitempty"` // the ledger's order; 0 until it is stored
	Type     Type      `json:"type"`
	At       time.Time `json:"at"` // of the request that did it; the first one where it was retried
	Upstream string    `json:"upstream"`
	External External  `json:"external"`

	Repository string    `json:"repository"`           // registry: full name; chartmuseum: the tenant path
	FirstSeen  time.Time `json:"first_seen,omitzero"`  // of the repository
	Visibility string    `json:"visibility,omitempty"` // public | private
	Hint       string    `json:"namespace_hint,omitempty"`

	Tags         []string `json:"tags,omitempty"`          // pushes: put; pulls: [the one asked for] or none; deletes: all that went
	KnownTags    []string `json:"known_tags,omitempty"`    // pulls: every tag known for the digest
	TagsComplete bool     `json:"tags_complete,omitempty"` // deletes: Tags is all of them
	Digest       string   `json:"digest,omitempty"`
	Previous     string   `json:"previous_digest,omitempty"` // what the tag stood on before, when another
	Mismatch     bool     `json:"digest_mismatch,omitempty"` // the header's digest is not that of the bytes

	Artifact *Artifact `json:"artifact,omitempty"`
	Chart    *Chart    `json:"chart,omitempty"` // chartmuseum events

	Scan        *Scan           `json:"scan,omitempty"`        // SCANNING_COMPLETED, SCANNING_FAILED
	Quota       *Quota          `json:"quota,omitempty"`       // QUOTA_EXCEED, QUOTA_WARNING
	Replication *ReplicationRun `json:"replication,omitempty"` // REPLICATION

	Client    Client `json:"client"`
	RequestID string `json:"request_id,omitempty"`

	Unchanged bool  `json:"unchanged,omitempty"` // a push of what stood there already
	Moved     Moved `json:"moved,omitempty"`     // pulls
	Inferred  bool  `json:"inferred,omitempty"`  // its outcome was unknown and found out later
	Unnamed   bool  `json:"unnamed,omitempty"`   // a chart whose name nobody could tell: it is sent to no webhook
}

// Moved is the most that a pull moved. A pull that moves layers is a download, any other is an
// inspection, of which only those webhooks hear that ask for it.
type Moved string

// What a pull can move. "" is no pull.
const (
	MovedLayers   Moved = "layers"
	MovedConfig   Moved = "config"
	MovedManifest Moved = "manifest"
)

// Inspection reports whether the event is a pull that moved no layer.
func (e *Event) Inspection() bool { return e.Moved == MovedConfig || e.Moved == MovedManifest }

// Artifact describes a manifest.
type Artifact struct {
	Kind         ArtifactKind      `json:"kind"`
	MediaType    string            `json:"media_type,omitempty"`
	ArtifactType string            `json:"artifact_type,omitempty"`
	ConfigType   string            `json:"config_type,omitempty"`
	Size         int64             `json:"size,omitempty"`    // manifest + config + layers; an index: its own and its children's
	Subject      string            `json:"subject,omitempty"` // digest that an accessory belongs to
	Platforms    []string          `json:"platforms,omitempty"`
	Children     []Child           `json:"children,omitempty"` // of an index; of its pull: those chosen
	Annotations  map[string]string `json:"annotations,omitempty"`
	Inexact      bool              `json:"inexact,omitempty"` // it lists more layers, children or platforms than are kept
}

// Child is a manifest that an index lists.
type Child struct {
	Digest       string `json:"digest"`
	MediaType    string `json:"media_type,omitempty"`
	ArtifactType string `json:"artifact_type,omitempty"`
	Platform     string `json:"platform,omitempty"` // os/arch[/variant]
	Size         int64  `json:"size,omitempty"`     // of the manifest, as the index says
}
