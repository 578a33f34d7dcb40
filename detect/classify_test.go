package detect

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someDigest = "sha256:378cd67058a5cff7d183a9d12b816b03152eb28d6374a2a90247f91edee1abaa"

func TestClassifyRegistry(t *testing.T) {
	tests := []struct {
		method, path, query string
		want                Request
	}{
		{"GET", "/v2", "", Request{Action: Ping}},
		{"GET", "/v2/", "", Request{Action: Ping}},
		{"POST", "/v2/", "", Request{}},
		{"GET", "/v2/_catalog", "n=2", Request{Action: Catalog}},
		{"GET", "/v2x/a/manifests/v1", "", Request{}},
		{"GET", "/v2/a/manifests/v1", "", Request{Action: ManifestGet, Repository: "a", Reference: "v1"}},
		{"HEAD", "/v2/a/b/c/manifests/v1", "ns=docker.io", Request{Action: ManifestHead, Repository: "a/b/c", Reference: "v1", Hint: "docker.io"}},
		{"PUT", "/v2/a/manifests/" + someDigest, "tag=x&tag=y", Request{Action: ManifestPut, Repository: "a", Reference: someDigest, Tags: []string{"x", "y"}}},
		{"PUT", "/v2/a/manifests/v1", "tag=x", Request{Action: ManifestPut, Repository: "a", Reference: "v1"}},
		{"DELETE", "/v2/a/manifests/v1", "", Request{Action: ManifestDelete, Repository: "a", Reference: "v1"}},
		{"PATCH", "/v2/a/manifests/v1", "", Request{}},
		{"DELETE", "/v2/group/project/tags/reference/v1", "", Request{Action: ManifestDelete, Repository: "group/project", Reference: "v1"}},
		{"DELETE", "/v2/a/tags/reference/" + someDigest, "", Request{}},
		{"GET", "/v2/a/tags/reference/v1", "", Request{}},
		{"DELETE", "/v2/tags/reference/v1", "", Request{}},
		// repositories with the names of resources
		{"PUT", "/v2/flux/manifests/manifests/v1", "", Request{Action: ManifestPut, Repository: "flux/manifests", Reference: "v1"}},
		{"GET", "/v2/flux/manifests/blobs/" + someDigest, "", Request{Action: BlobGet, Repository: "flux/manifests", Reference: someDigest}},
		{"POST", "/v2/flux/manifests/blobs/uploads/", "", Request{Action: UploadStart, Repository: "flux/manifests"}},
		{"PATCH", "/v2/a/blobs/uploads/manifests", "", Request{Action: UploadChunk, Repository: "a"}},
		{"GET", "/v2/a/blobs/uploads/manifests/v1", "", Request{Action: ManifestGet, Repository: "a/blobs/uploads", Reference: "v1"}},
		{"GET", "/v2/tags/list/manifests/list", "", Request{Action: ManifestGet, Repository: "tags/list", Reference: "list"}},
		{"GET", "/v2/a/tags/list", "n=1", Request{Action: TagsList, Repository: "a"}},
		{"GET", "/v2/a/referrers/" + someDigest, "", Request{Action: Referrers, Repository: "a", Reference: someDigest}},
		{"POST", "/v2/a/blobs/uploads/", "mount=" + someDigest + "&from=b/c&origin=x", Request{Action: UploadStart, Repository: "a", Mount: someDigest, From: "b/c"}},
		{"POST", "/v2/a/blobs/uploads", "digest=" + someDigest, Request{Action: UploadStart, Repository: "a", Reference: someDigest}},
		{"PUT", "/v2/a/blobs/uploads/u-1", "digest=" + someDigest, Request{Action: UploadEnd, Repository: "a"}},
		{"DELETE", "/v2/a/blobs/uploads/u-1", "", Request{Action: UploadCancel, Repository: "a"}},
		{"GET", "/v2/a/blobs/uploads/u-1", "", Request{Action: UploadInfo, Repository: "a"}},
		{"DELETE", "/v2/a/blobs/" + someDigest, "", Request{Action: BlobDelete, Repository: "a", Reference: someDigest}},
		{"PUT", "/v2/a/manifests/" + someDigest, "tag=..&tag=a%2Fb&tag=-x&tag=%FF&tag=x.y-z_1", Request{Action: ManifestPut, Repository: "a", Reference: someDigest, Tags: []string{"x.y-z_1"}}},
		// paths that proxies and registries clean
		{"PUT", "/v2/a//b/manifests/v1", "", Request{Action: ManifestPut, Repository: "a/b", Reference: "v1"}},
		{"PUT", "/v2/./a/./manifests/./v1", "", Request{Action: ManifestPut, Repository: "a", Reference: "v1"}},
		{"DELETE", "/v2/a/x/../manifests/v1", "", Request{Action: ManifestDelete, Repository: "a", Reference: "v1"}},
		{"PUT", "//v2//a/manifests//v1", "", Request{Action: ManifestPut, Repository: "a", Reference: "v1"}},
		{"PUT", "/../v2/a/manifests/v1", "", Request{Action: ManifestPut, Repository: "a", Reference: "v1"}},
		{"PUT", "/v2/a/manifests/v1/", "", Request{Action: ManifestPut, Repository: "a", Reference: "v1"}},
		{"PUT", "/v2/a/manifests/v1/.", "", Request{Action: ManifestPut, Repository: "a", Reference: "v1"}},
		{"GET", "/v2/a/../b/manifests/v1", "", Request{Action: ManifestGet, Repository: "b", Reference: "v1"}},
		{"POST", "/v2/a/blobs//uploads/./", "", Request{Action: UploadStart, Repository: "a"}},
		{"PUT", "/v2/a/manifests/..", "", Request{}},
		{"PUT", "/v2/../a/manifests/v1", "", Request{}},
		// paths with two readings
		{"GET", "/v2//manifests/v1", "", Request{}},
		{"GET", "/v2/manifests/v1", "", Request{}},
		{"GET", "/v2/a/manifests/v1/", "", Request{}},
		{"GET", "/v2/a/manifests/v\x001", "", Request{}},
		{"GET", "v2/a/manifests/v1", "", Request{}},
		{"GET", "", "", Request{}},
	}
	for _, tt := range tests {
		if got := Classify(Registry, "", tt.method, tt.path, tt.query); !cmp.Equal(got, tt.want) {
			t.Errorf("%s %s?%s: %s", tt.method, tt.path, tt.query, cmp.Diff(tt.want, got))
		}
	}
}

// A name of the greatest length is a name, and a longer one is none. A write with a longer one is
// refused.
func TestClassifyLimits(t *testing.T) {
	of := func(n int) string { return strings.Repeat("a", n) }
	tags := func(n int) string { return strings.Repeat("&tag=v1", n) }
	tests := []struct {
		kind        Kind
		method      string
		path, query func(more int) string
	}{
		{Registry, "PUT", func(n int) string { return "/v2/" + of(MaxRepository+n) + "/manifests/v1" }, nil},
		{Registry, "GET", func(n int) string { return "/v2/" + of(MaxRepository+n) + "/tags/list" }, nil},
		{Registry, "DELETE", func(n int) string { return "/v2/a/manifests/" + of(MaxTag+n) }, nil},
		{Registry, "HEAD", func(n int) string { return "/v2/a/manifests/" + of(MaxTag+n) }, nil},
		{Registry, "GET", func(n int) string { return "/v2/a/referrers/sha256:" + of(MaxDigest-7+n) }, nil},
		{Registry, "GET", func(n int) string { return "/v2/a/blobs/sha256:" + of(MaxDigest-7+n) }, nil},
		{Registry, "HEAD", nil, func(n int) string { return "ns=" + of(MaxHint+n) }},
		{Registry, "PUT", nil, func(n int) string { return "ns=" + of(MaxHint+n) }},
		{Registry, "PUT", nil, func(n int) string { return tags(MaxTags + n) }},
		{Registry, "PUT", nil, func(n int) string { return "tag=" + of(MaxTag+n) }},
		{ChartMuseum, "POST", func(n int) string { return "/api/" + of(MaxRepository+n) + "/charts" }, nil},
		{ChartMuseum, "DELETE", func(n int) string { return "/api/charts/" + of(MaxChart+n) + "/1" }, nil},
		{ChartMuseum, "GET", func(n int) string { return "/charts/" + of(MaxFile-4+n) + ".tgz" }, nil},
	}
	for _, tt := range tests {
		for more := range 2 {
			path, query := "/v2/a/manifests/"+someDigest, ""
			if tt.path != nil {
				path = tt.path(more)
			}
			if tt.query != nil {
				query = tt.query(more)
			}
			got := Classify(tt.kind, "", tt.method, path, query)
			write := tt.method != "GET" && tt.method != "HEAD"
			if (got.Action != Other) != (more == 0) || (got.TooLong != "") != (more == 1 && write) {
				t.Errorf("%s %s?%s: got %+v", tt.method, path, query, got)
			}
		}
	}
}

func TestClassifyChartMuseum(t *testing.T) {
	tests := []struct {
		prefix, method, path string
		want                 Request
	}{
		{"", "POST", "/api/charts", Request{Action: ChartPost}},
		{"", "POST", "/api/org/team/charts", Request{Action: ChartPost, Repository: "org/team"}},
		{"", "POST", "/api/charts/charts", Request{Action: ChartPost, Repository: "charts"}},
		{"/charts", "POST", "/charts/api/a/b/c/charts", Request{Action: ChartPost, Repository: "a/b/c"}},
		{"/charts", "GET", "/charts/a/charts/x-1.0.0.tgz", Request{Action: ChartGet, Repository: "a", File: "x-1.0.0.tgz"}},
		{"/charts", "GET", "/charts/charts/x-1.0.0.tgz", Request{Action: ChartGet, File: "x-1.0.0.tgz"}},
		{"/charts", "GET", "/chartsx/charts/x-1.0.0.tgz", Request{}},
		{"", "POST", "/api/a/prov", Request{Action: ProvenancePost, Repository: "a"}},
		{"", "GET", "/charts/x-1.0.0.tgz.prov", Request{Action: ProvenanceGet, File: "x-1.0.0.tgz.prov"}},
		{"", "HEAD", "/charts/x-1.0.0.tgz", Request{}},
		{"", "GET", "/charts/.tgz", Request{}},
		{"", "GET", "/index.yaml", Request{Action: ChartIndex, File: "/index.yaml"}},
		{"", "GET", "/a/b/index.yaml", Request{Action: ChartIndex, Repository: "a/b", File: "/a/b/index.yaml"}},
		{"/x", "GET", "/x/a/index.yaml", Request{Action: ChartIndex, Repository: "a", File: "/x/a/index.yaml"}},
		{"", "GET", "/api/packages/o/helm/index.yaml", Request{Action: ChartIndex, Repository: "api/packages/o/helm", File: "/api/packages/o/helm/index.yaml"}},
		{"", "GET", "/demo-1.0.0.tgz", Request{Action: ArchiveGet, File: "/demo-1.0.0.tgz"}},
		{"/x", "GET", "/x/stable/demo-1.0.0.tgz", Request{Action: ArchiveGet, Repository: "stable", File: "/x/stable/demo-1.0.0.tgz"}},
		{"", "GET", "/api/packages/o/helm/demo-1.0.0.tgz", Request{Action: ArchiveGet, Repository: "api/packages/o/helm", File: "/api/packages/o/helm/demo-1.0.0.tgz"}},
		{"", "HEAD", "/demo-1.0.0.tgz", Request{}},
		{"", "DELETE", "/api/charts/x/1.0.0", Request{Action: ChartDelete, Chart: "x", Version: "1.0.0"}},
		{"", "DELETE", "/api/charts/charts/x/1.0.0", Request{Action: ChartDelete, Repository: "charts", Chart: "x", Version: "1.0.0"}},
		{"", "DELETE", "/api/a/b/charts/x/1.0.0-2+b", Request{Action: ChartDelete, Repository: "a/b", Chart: "x", Version: "1.0.0-2+b"}},
		{"", "DELETE", "/api/charts/x", Request{}},
		{"", "GET", "/api/charts/x", Request{Action: ChartInfo}},
		{"", "GET", "/api/charts/x-1.0.0.tgz", Request{Action: ChartGet, Repository: "api", File: "x-1.0.0.tgz"}},
		{"", "GET", "/api/team/charts/x-1.0.0.tgz", Request{Action: ChartGet, Repository: "api/team", File: "x-1.0.0.tgz"}},
		{"", "POST", "/api/charts/", Request{Action: ChartPost}},
		{"", "POST", "/api//charts", Request{Action: ChartPost}},
		{"", "POST", "/api/../charts", Request{}},
		{"", "GET", "//charts/x-1.0.0.tgz", Request{Action: ChartGet, File: "x-1.0.0.tgz"}},
		{"", "GET", "/", Request{}},
	}
	for _, tt := range tests {
		if got := Classify(ChartMuseum, tt.prefix, tt.method, tt.path, ""); !cmp.Equal(got, tt.want) {
			t.Errorf("%s %s: %s", tt.method, tt.path, cmp.Diff(tt.want, got))
		}
	}
}

// The grammar of the distribution specification, as regular expressions: slow, for comparison.
const (
	nameGrammar   = `[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*`
	tagGrammar    = `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}`
	digestGrammar = `[a-z0-9]+(?:[.+_-][a-z0-9]+)*:[a-zA-Z0-9=_-]+`
)

var (
	oracleManifest = regexp.MustCompile(`^/v2/(` + nameGrammar + `)/manifests/(` + tagGrammar + `|` + digestGrammar + `)$`)
	oracleBlob     = regexp.MustCompile(`^/v2/(` + nameGrammar + `)/blobs/(` + digestGrammar + `)$`)
)

func FuzzClassify(f *testing.F) {
	for _, seed := range []string{"/v2/a/manifests/v1", "/v2/flux/manifests/manifests/v1", "/v2/a/blobs/uploads/", "/v2/a/blobs/" + someDigest, "/api/charts", "/charts/x-1.tgz", "/v2/a/../manifests/x"} {
		for _, method := range []string{"GET", "PUT", "DELETE", "POST"} {
			f.Add(method, seed, "tag=a&mount=b&ns=c")
		}
	}
	f.Fuzz(func(t *testing.T, method, path, query string) {
		got := Classify(Registry, "", method, path, query)
		if m := oracleManifest.FindStringSubmatch(path); m != nil {
			want := manifestAction(method)
			if got.Action != want || want != Other && (got.Repository != m[1] || got.Reference != m[2]) {
				t.Errorf("%s %s: got %+v, by the grammar it is the manifest %q of %q", method, path, got, m[2], m[1])
			}
		} else if m := oracleBlob.FindStringSubmatch(path); m != nil && method == http.MethodGet {
			if got.Action != BlobGet || got.Repository != m[1] || got.Reference != m[2] {
				t.Errorf("%s: got %+v, by the grammar it is a blob", path, got)
			}
		}
		for _, r := range []Request{got, Classify(ChartMuseum, "", method, path, query), Classify(ChartMuseum, "/c", method, path, query)} {
			all := r.Repository + r.Reference + r.Mount + r.From + r.Hint + r.Chart + r.Version + r.File + strings.Join(r.Tags, "")
			if hasControl(all) || r.Repository != "" && CleanPath("/"+r.Repository) != "/"+r.Repository || r.tooLong() != "" {
				t.Errorf("%s %q: got the unsafe request %+v", method, path, r)
			}
			if clean := Classify(Registry, "", method, CleanPath(path), query); !cmp.Equal(got, clean) {
				t.Errorf("%s %q: %+v, and cleaned %+v", method, path, got, clean)
			}
			if r.Action == Other && !cmp.Equal(r, Request{TooLong: r.TooLong}) {
				t.Errorf("%s %q: Other with fields %+v", method, path, r)
			}
		}
	})
}

func TestFallbackTag(t *testing.T) {
	hex := strings.TrimPrefix(someDigest, "sha256:")
	for _, suffix := range []string{"", ".sig", ".att", ".sbom"} {
		if subject, got, ok := FallbackTag("sha256-" + hex + suffix); !ok || subject != someDigest || got != suffix {
			t.Errorf("%q: got %q %q %v", suffix, subject, got, ok)
		}
	}
	for _, not := range []string{"v1", "sha256-" + hex[1:], "sha256-" + hex + "0", "sha256-" + hex + ".tgz", "sha256-" + strings.ToUpper(hex), "sha512-" + hex} {
		if _, _, ok := FallbackTag(not); ok {
			t.Errorf("%q taken for a fallback tag", not)
		}
	}
}
