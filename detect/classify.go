package detect

import (
	"fmt"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Classify returns what a request asks for. It is pure. kind and prefix are the upstream's
// (path_prefix, "" or "/x"), p is the decoded path and rawQuery the query as it came. Paths are
// read from the right, because repositories may be called "manifests" or "blobs". A path that is
// not clean means what its clean form means: upstreams, and proxies in front of them, clean paths.
//
// Names and tags are not checked, because the upstream decides what exists. But a request with a
// name longer than the specification allows has the Action Other. If it is a write, TooLong says
// why it must not be forwarded. The Request shares no memory with the arguments.
func Classify(kind Kind, prefix, method, p, rawQuery string) Request {
	rest, ok := strings.CutPrefix(CleanPath(p), prefix)
	if !ok || !strings.HasPrefix(rest, "/") || hasControl(rest) {
		return Request{}
	}
	if len(rest) <= maxPath { // a longer one has a name that is too long
		rest = strings.Clone(rest)
	}
	if method == http.MethodPut || method == http.MethodDelete {
		rest = strings.TrimSuffix(rest, "/")
	}
	var r Request
	if kind == ChartMuseum {
		r = classifyChart(method, prefix, rest[min(len(rest), 1):])
	} else {
		r = classifyRegistry(method, rest, rawQuery)
	}
	if because := r.tooLong(); because != "" {
		if !r.Action.Writes() {
			return Request{}
		}
		return Request{TooLong: because}
	}
	return r
}

// maxPath is greater than the length of any path whose names are within the limits.
const maxPath = 2048

// tooLong returns which name of a request is longer than the limits; "" if none is.
func (r *Request) tooLong() string {
	reference := MaxTag
	if IsDigest(r.Reference) {
		reference = MaxDigest
	}
	switch {
	case len(r.Repository) > MaxRepository:
		return fmt.Sprintf("the name of the repository is longer than %d bytes", MaxRepository)
	case len(r.Reference) > reference:
		return fmt.Sprintf("the tag or digest is longer than %d bytes", reference)
	case len(r.Hint) > MaxHint:
		return fmt.Sprintf("the parameter ns is longer than %d bytes", MaxHint)
	case len(r.Tags) > MaxTags:
		return fmt.Sprintf("there are more than %d parameters called tag", MaxTags)
	case slices.ContainsFunc(r.Tags, func(tag string) bool { return len(tag) > MaxTag }):
		return fmt.Sprintf("a parameter called tag is longer than %d bytes", MaxTag)
	case len(r.Mount) > MaxDigest, len(r.From) > MaxRepository:
		return "the parameter mount or from is too long"
	case len(r.Chart) > MaxChart, len(r.Version) > MaxChart, len(r.File) > MaxFile:
		return fmt.Sprintf("the name or version of the chart is longer than %d bytes", MaxChart)
	}
	return ""
}

// CleanPath returns a decoded path without empty, "." and ".." segments. A slash at its end stays.
func CleanPath(p string) string {
	if !strings.HasPrefix(p, "/") || !strings.Contains(p, "//") && !strings.Contains(p, "/.") {
		return p
	}
	clean := path.Clean(p)
	if _, last := cutLast(p); clean != "/" && (last == "" || last == "." || last == "..") {
		clean += "/"
	}
	return clean
}

func classifyRegistry(method, path, rawQuery string) Request {
	rest, ok := strings.CutPrefix(path, "/v2")
	switch {
	case !ok:
		return Request{}
	case rest == "" || rest == "/":
		return Request{Action: onRead(method, Ping)}
	case rest == "/_catalog":
		return Request{Action: onRead(method, Catalog)}
	case rest[0] != '/':
		return Request{}
	}
	r := registryResource(method, rest[1:])
	if r.Action == Other || r.Repository == "" {
		return Request{}
	}
	addQuery(&r, rawQuery)
	return r
}

// registryResource reads the path behind /v2/.
func registryResource(method, path string) Request {
	head, last := cutLast(path)
	head, parent := cutLast(head)
	switch {
	case last == "":
		// …/blobs/uploads/
		name, blobs := cutLast(head)
		if parent == "uploads" && blobs == "blobs" && method == http.MethodPost {
			return Request{Action: UploadStart, Repository: name}
		}
	case parent == "manifests":
		return Request{Action: manifestAction(method), Repository: head, Reference: last}
	case parent == "blobs" && last == "uploads" && method == http.MethodPost:
		return Request{Action: UploadStart, Repository: head}
	case parent == "blobs":
		return Request{Action: blobAction(method), Repository: head, Reference: last}
	case parent == "reference" && method == http.MethodDelete && !IsDigest(last):
		if name, tags := cutLast(head); tags == "tags" { // GitLab
			return Request{Action: ManifestDelete, Repository: name, Reference: last}
		}
	case parent == "tags" && last == "list":
		return Request{Action: onRead(method, TagsList), Repository: head}
	case parent == "referrers":
		return Request{Action: onRead(method, Referrers), Repository: head, Reference: last}
	case parent == "uploads":
		if name, blobs := cutLast(head); blobs == "blobs" {
			return Request{Action: uploadAction(method), Repository: name}
		}
	}
	return Request{}
}

func manifestAction(method string) Action {
	switch method {
	case http.MethodGet:
		return ManifestGet
	case http.MethodHead:
		return ManifestHead
	case http.MethodPut:
		return ManifestPut
	case http.MethodDelete:
		return ManifestDelete
	}
	return Other
}

func blobAction(method string) Action {
	switch method {
	case http.MethodGet:
		return BlobGet
	case http.MethodHead:
		return BlobHead
	case http.MethodDelete:
		return BlobDelete
	}
	return Other
}

func uploadAction(method string) Action {
	switch method {
	case http.MethodPatch:
		return UploadChunk
	case http.MethodPut:
		return UploadEnd
	case http.MethodGet, http.MethodHead:
		return UploadInfo
	case http.MethodDelete:
		return UploadCancel
	}
	return Other
}

// onRead returns action for GET and HEAD, and Other for all other methods.
func onRead(method string, action Action) Action {
	if method == http.MethodGet || method == http.MethodHead {
		return action
	}
	return Other
}

// addQuery reads the parameters that matter: ns of any request, tag of a manifest PUT by digest,
// mount, from and digest of the start of an upload.
func addQuery(r *Request, rawQuery string) {
	if rawQuery == "" {
		return
	}
	q, _ := url.ParseQuery(rawQuery) // a broken query counts as far as it can be read
	r.Hint = clean(q.Get("ns"))
	switch r.Action {
	case ManifestPut:
		if IsDigest(r.Reference) {
			for _, tag := range q["tag"] {
				if isTag(tag) {
					r.Tags = append(r.Tags, strings.Clone(tag))
				}
				if len(r.Tags) > MaxTags {
					break
				}
			}
		}
	case UploadStart:
		r.Mount, r.From = clean(q.Get("mount")), clean(q.Get("from"))
		r.Reference = clean(q.Get("digest"))
	}
}

// clean returns a copy of s, or "" if it holds control characters.
func clean(s string) string {
	if hasControl(s) {
		return ""
	}
	return strings.Clone(s)
}

// isTag reports whether s has the characters of a tag.
func isTag(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_'
		if !letter && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return s != ""
}

// classifyChart reads a ChartMuseum path without its leading slash. The tenant stands before
// /charts/, and behind /api/ on writes.
func classifyChart(method, prefix, path string) Request {
	if method == http.MethodPost {
		path = strings.TrimSuffix(path, "/")
	}
	head, last := cutLast(path)
	whole := prefix + "/" + path
	if last == "index.yaml" { // Gitea has it below /api/
		return Request{Action: onRead(method, ChartIndex), Repository: head, File: whole}
	}
	if rest, ok := strings.CutPrefix(path, "api/"); ok && !(method == http.MethodGet && isChartFile(last)) {
		// a tenant may be called api
		return classifyChartAPI(method, rest)
	}
	tenant, parent := cutLast(head)
	switch {
	case method != http.MethodGet:
	case parent != "charts" && isChartFile(last):
		return Request{Action: ArchiveGet, Repository: head, File: whole}
	case parent != "charts":
	case isChartFile(last):
		return Request{Action: ChartGet, Repository: tenant, File: last}
	case strings.HasSuffix(last, ".tgz.prov"):
		return Request{Action: ProvenanceGet, Repository: tenant, File: last}
	}
	return Request{}
}

func isChartFile(name string) bool { return strings.HasSuffix(name, ".tgz") && len(name) > len(".tgz") }

func classifyChartAPI(method, path string) Request {
	head, last := cutLast(path)
	switch method {
	case http.MethodPost:
		switch last {
		case "charts":
			return Request{Action: ChartPost, Repository: head}
		case "prov":
			return Request{Action: ProvenancePost, Repository: head}
		}
	case http.MethodDelete:
		head, name := cutLast(head)
		tenant, parent := cutLast(head)
		if parent == "charts" && name != "" && last != "" {
			return Request{Action: ChartDelete, Repository: tenant, Chart: name, Version: last}
		}
	case http.MethodGet, http.MethodHead:
		return Request{Action: ChartInfo}
	}
	return Request{}
}

// cutLast splits a path before its last segment.
func cutLast(path string) (head, last string) {
	if i := strings.LastIndexByte(path, '/'); i >= 0 {
		return path[:i], path[i+1:]
	}
	return "", path
}

func hasControl(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] == 0x7f {
			return true
		}
	}
	return false
}

// IsDigest reports whether a reference is a digest, and no tag. A tag has no colon.
func IsDigest(reference string) bool {
	algorithm, hex, ok := strings.Cut(reference, ":")
	return ok && algorithm != "" && hex != ""
}

// DigestAlgorithm returns what stands before the colon of a digest, or "".
func DigestAlgorithm(digest string) string {
	algorithm, _, ok := strings.Cut(digest, ":")
	if !ok {
		return ""
	}
	return algorithm
}

// FallbackTag reads the tags that stand for the accessories of an artifact where a registry has no
// referrers API: sha256-<64 hex>, or the same with the suffix .sig, .att or .sbom. subject is the
// digest of that artifact.
func FallbackTag(reference string) (subject, suffix string, ok bool) {
	const prefix, hexLen = "sha256-", 64
	if len(reference) < len(prefix)+hexLen || !strings.HasPrefix(reference, prefix) {
		return "", "", false
	}
	hex, suffix := reference[len(prefix):len(prefix)+hexLen], reference[len(prefix)+hexLen:]
	for i := 0; i < hexLen; i++ {
		if c := hex[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return "", "", false
		}
	}
	switch suffix {
	case "", ".sig", ".att", ".sbom":
		return "sha256:" + hex, suffix, true
	}
	return "", "", false
}
