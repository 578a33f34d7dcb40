package detect

import (
	"net/http"
	"net/url"
	"strings"
)

// Classify tells what a request asks for. It is pure: kind and prefix are the upstream's (path_prefix, "" or "/x"), path is the decoded
// path and rawQuery the query as it came. Paths are read from the right, because repositories may be called "manifests" or "blobs".
//
// Names and tags are taken as they come, also those that the specification forbids: the upstream decides what exists. Only what could
// never be told apart again (empty and dot segments, control characters) is Other.
func Classify(kind Kind, prefix, method, path, rawQuery string) Request {
	rest, ok := strings.CutPrefix(path, prefix)
	if !ok || !strings.HasPrefix(rest, "/") || hasControl(rest) {
		return Request{}
	}
	var r Request
	if kind == ChartMuseum {
		r = classifyChart(method, prefix, rest[1:])
	} else {
		r = classifyRegistry(method, rest, rawQuery)
	}
	if r.Action != Other && (hasDotSegment(r.Repository) || dots(r.Reference) || dots(r.Chart) || dots(r.Version)) {
		return Request{}
	}
	return r
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
	if r.Action == Other || r.Repository == "" || strings.HasPrefix(r.Repository, "/") || strings.Contains(r.Repository, "//") {
		return Request{}
	}
	addQuery(&r, rawQuery)
	return r
}

// registryResource reads what stands behind /v2/.
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

// onRead is action for GET and HEAD.
func onRead(method string, action Action) Action {
	if method == http.MethodGet || method == http.MethodHead {
		return action
	}
	return Other
}

// addQuery reads the parameters that matter: ns anywhere, tag of a manifest PUT by digest, mount, from and digest of an upload's start.
func addQuery(r *Request, rawQuery string) {
	if rawQuery == "" {
		return
	}
	q, _ := url.ParseQuery(rawQuery) // what can be read of a broken query is what counts
	r.Hint = clean(q.Get("ns"))
	switch r.Action {
	case ManifestPut:
		if IsDigest(r.Reference) {
			for _, tag := range q["tag"] {
				if tag = clean(tag); tag != "" && !dots(tag) {
					r.Tags = append(r.Tags, tag)
				}
			}
		}
	case UploadStart:
		r.Mount, r.From = clean(q.Get("mount")), clean(q.Get("from"))
		r.Reference = clean(q.Get("digest"))
	}
}

// clean is s, or "" when it holds control characters.
func clean(s string) string {
	if hasControl(s) {
		return ""
	}
	return s
}

// classifyChart reads a ChartMuseum path without its leading slash. The tenant is what stands before /charts/, on writes after /api/.
func classifyChart(method, prefix, path string) Request {
	if strings.Contains(path, "//") || strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
		return Request{} // ChartMuseum cleans nothing: these are 404
	}
	head, last := cutLast(path)
	whole := prefix + "/" + path
	if last == "index.yaml" { // also below /api/: Gitea's
		return Request{Action: onRead(method, ChartIndex), Repository: head, File: whole}
	}
	if rest, ok := strings.CutPrefix(path, "api/"); ok && !(method == http.MethodGet && isChartFile(last)) { // a tenant may be called api
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

func dots(segment string) bool { return segment == "." || segment == ".." }

func hasDotSegment(path string) bool {
	if !strings.Contains(path, ".") {
		return false
	}
	for segment := range strings.SplitSeq(path, "/") {
		if dots(segment) {
			return true
		}
	}
	return false
}

// IsDigest tells a digest from a tag: tags hold no colon.
func IsDigest(reference string) bool {
	algorithm, hex, ok := strings.Cut(reference, ":")
	return ok && algorithm != "" && hex != ""
}

// FallbackTag reads the tags that stand for another artifact's accessories where a registry has no referrers API: sha256-<64 hex>, or with
// the suffix .sig, .att or .sbom. It returns the digest of the artifact they belong to.
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
