package detect

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

// Kind is the protocol that an upstream speaks.
type Kind string

// The kinds of upstream.
const (
	Registry    Kind = "registry"
	ChartMuseum Kind = "chartmuseum"
)

// Action is what a request asks for, by its method and path.
type Action uint8

// The actions. Other is everything that has no meaning for events.
const (
	Other Action = iota
	Ping         // GET /v2/
	ManifestHead
	ManifestGet
	ManifestPut
	ManifestDelete
	BlobHead
	BlobGet
	BlobDelete
	// POST …/blobs/uploads/, with Mount and From when it asks for a mount, Digest when
	// monolithic
	UploadStart
	UploadChunk // PATCH
	UploadEnd   // PUT
	UploadInfo  // GET
	UploadCancel
	TagsList
	Referrers
	Catalog
	ChartPost
	ProvenancePost
	ChartGet
	ProvenanceGet
	ArchiveGet // GET of an archive elsewhere that may be a chart: an index.yaml shows whether it is
	ChartIndex // GET …/index.yaml
	ChartDelete
	ChartInfo // GET or HEAD below /api/…/charts
)

// String returns the action in words, as a label of metrics and in the access log.
func (a Action) String() string { return actionNames[a] }

// Actions is the number of actions.
const Actions = len(actionNames)

var actionNames = [...]string{
	Other: "other", Ping: "ping", ManifestHead: "manifest_head", ManifestGet: "manifest_get",
	ManifestPut: "manifest_put", ManifestDelete: "manifest_delete", BlobHead: "blob_head", BlobGet: "blob_get",
	BlobDelete: "blob_delete", UploadStart: "upload_start", UploadChunk: "upload_chunk", UploadEnd: "upload_end",
	UploadInfo: "upload_info", UploadCancel: "upload_cancel", TagsList: "tags_list", Referrers: "referrers",
	Catalog: "catalog", ChartPost: "chart_post", ProvenancePost: "provenance_post", ChartGet: "chart_get",
	ProvenanceGet: "provenance_get", ArchiveGet: "archive_get", ChartIndex: "chart_index",
	ChartDelete: "chart_delete", ChartInfo: "chart_info",
}

// WholeAnswer reports whether the answer is all of what was asked for.
func (op *Operation) WholeAnswer() bool {
	return op.Status == http.StatusOK || op.Status == http.StatusPartialContent && op.Whole
}

// WholeBlob reports whether a blob was asked for, and is answered, in full.
func (op *Operation) WholeBlob() bool {
	return op.Whole || !op.Range && op.Status != http.StatusPartialContent
}

// DigestRead returns the digest of the manifest that an answer shows, or "".
func (op *Operation) DigestRead() string {
	switch {
	case op.ContentDigest != "":
		return op.ContentDigest
	case op.Got.Digest != "":
		return op.Got.Digest
	case IsDigest(op.Reference):
		return op.Reference
	}
	return ""
}

// Writes reports whether the action needs an intent before it is forwarded.
func (a Action) Writes() bool {
	switch a {
	case ManifestPut, ManifestDelete, ChartPost, ChartDelete:
		return true
	}
	return false
}

// Request is what a request line means. Classify makes it.
type Request struct {
	Action Action
	// registry: the name below /v2/; chartmuseum: the tenant path ("" where there is none)
	Repository string
	Reference  string   // tag or digest of a manifest; digest of a blob
	Tags       []string // ?tag= of a manifest put by digest
	Mount      string   // UploadStart: digest to mount
	From       string   // UploadStart: repository to mount from
	Hint       string   // ?ns= of a containerd mirror
	Chart      string   // ChartDelete, ChartInfo: name
	Version    string   // ChartDelete, ChartInfo: version
	// ChartGet, ProvenanceGet: file name with its ending; ArchiveGet, ChartIndex: the whole
	// path
	File string
	// why a write must be refused: one of its names is too long; Action is Other
	TooLong string
}

// Client is who did something. Operator, address and user agent are one client within a repository,
// whatever connections it uses.
type Client struct {
	Operator string `json:"operator,omitempty"` // vouched for; "" is anonymous
	Claimed  string `json:"claimed,omitempty"`  // a name that nothing vouches for
	// without port; as trusted proxies name it
	Address   string `json:"address,omitempty"`
	UserAgent string `json:"user_agent,omitempty"`
}

// Name returns the name of the client, vouched for or only claimed. Clients with different names
// are different.
func (c *Client) Name() string {
	if c.Operator != "" {
		return c.Operator
	}
	return c.Claimed
}

// ID returns a hash that stands for a client in the keys of rows, so that the database has neither
// address nor name in them. It is the same in every replica.
func (c *Client) ID() string {
	sum := sha256.Sum256([]byte(c.Name() + "\x00" + c.Address + "\x00" + c.UserAgent))
	return hex.EncodeToString(sum[:12])
}

// External is how users name the upstream in image references and chart URLs.
type External struct {
	Scheme string `json:"scheme,omitempty"`
	// with port where it has one; with a path where external_url has one
	Host string `json:"host,omitempty"`
}

// Operation is one request on its way through the proxy. The proxy owns it and fills it in as the
// transfer goes on. The tracker reads it within its calls and keeps no pointer to it, but may keep
// what its fields point to.
type Operation struct {
	Request
	Upstream  string // configured name
	Kind      Kind
	ID        string // X-Request-Id
	At        time.Time
	Client    Client
	External  External
	Range     bool // the client asked for a part
	NotModify bool // the client sent If-None-Match or If-Modified-Since

	// Of a put or post: known once the body of the request has arrived.
	Sent   Body
	Upload Upload // a chart's

	// Of a delete: what the look-up before forwarding found.
	Before *Found

	// The answer, known at Answered.
	Status        int
	ContentDigest string   // Docker-Content-Digest
	MediaType     string   // Content-Type without parameters
	Size          int64    // Content-Length, -1 unknown
	OCITags       []string // OCI-Tag of a manifest put by digest with ?tag=

	// The answer's body, known at End.
	Got      Body
	GotChart *Chart
	Complete bool // every byte of the answer went to the client
	Whole    bool // the answer is a 206 with all of the bytes, as some proxies and CDNs send it
}

// Body is a manifest or another small body.
type Body struct {
	// without its Content-Encoding; nil if it is longer than the limit or cannot be decoded
	Bytes     []byte
	Digest    string // sha256 of the decoded bytes; "" when it could not be decoded
	MediaType string // Content-Type without parameters
	Size      int64  // bytes decoded
}

// Chart is what a chart archive says of itself.
type Chart struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Type       string `json:"type,omitempty"`        // application or library
	AppVersion string `json:"app_version,omitempty"` // of the application that it installs
	Digest     string `json:"digest,omitempty"`      // sha256 of the archive
	Size       int64  `json:"size,omitempty"`        // bytes of the archive
	// where the archive is, unless it is where ChartMuseum has it
	Path string `json:"path,omitempty"`
}

// Found is what stands at a reference, as the upstream has answered.
type Found struct {
	Absent       bool // the upstream says that nothing stands there
	Digest       string
	MediaType    string
	Size         int64  // of the manifest, or of the chart archive
	Manifest     []byte // its bytes, when they were read
	Tags         []string
	TagsComplete bool // every known tag was checked in time
}

// Project returns the project of a repository, as Harbor uses the word: its first segment, or
// library where it has only one.
func Project(repository string) string {
	project, _, more := strings.Cut(repository, "/")
	if !more {
		return "library"
	}
	return project
}
