package detect

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

func TestMeaningOfRequests(t *testing.T) {
	for _, tt := range []struct {
		request     Request
		event       Type
		because     string
		sample      Event // Type, ID, Upstream and At aside
		description string
	}{
		{Request{Action: ManifestPut, Repository: "a", Reference: "v1"}, PushArtifact, "if the upstream answers 2xx",
			Event{Repository: "a", Tags: []string{"v1"}}, "manifest put: repository a, tag v1"},
		{Request{Action: ManifestPut, Repository: "a", Reference: someDigest}, PushArtifact, "unless an index that lists it, or a tag, follows; then it is part of that push",
			Event{Repository: "a", Digest: someDigest}, "manifest put: repository a, digest " + someDigest},
		{Request{Action: ManifestPut, Repository: "a", Reference: someDigest, Tags: []string{"x"}}, PushArtifact, "if the upstream answers 2xx",
			Event{Repository: "a", Digest: someDigest, Tags: []string{"x"}}, "manifest put: repository a, digest " + someDigest},
		{Request{Action: ManifestDelete, Repository: "a", Reference: "v1"}, DeleteTag, "the artifact stays",
			Event{Repository: "a", Tags: []string{"v1"}}, "manifest delete: repository a, tag v1"},
		{Request{Action: ChartGet, Repository: "t", File: "demo-1.0.0.tgz"}, DownloadChart, "if the upstream answers 200",
			Event{Repository: "t", Chart: &Chart{Name: "demo", Version: "1.0.0"}}, "chart get: repository t, file demo-1.0.0.tgz"},
		{Request{Action: ChartDelete, Chart: "demo", Version: "1.0.0"}, DeleteChart, "if the upstream answers 200",
			Event{Chart: &Chart{Name: "demo", Version: "1.0.0"}}, "chart delete: chart demo, version 1.0.0"},
		{Request{Action: BlobGet, Repository: "a", Reference: someDigest}, "", "a blob is part of the pull of a manifest that lists it",
			Event{Repository: "a", Digest: someDigest}, "blob get: repository a, digest " + someDigest},
		{Request{}, "", "this request raises no event", Event{Tags: []string{""}}, "other"},
	} {
		event, because := tt.request.Meaning()
		if event != tt.event || because != tt.because {
			t.Errorf("Meaning of %+v: got %q, %q, want %q, %q", tt.request, event, because, tt.event, tt.because)
		}
		sample := tt.request.Sample(event, "registry", Client{Operator: "alice"})
		tt.sample.Type, tt.sample.Upstream, tt.sample.Client = event, "registry", Client{Operator: "alice"}
		if diff := cmp.Diff(tt.sample, sample, cmpopts.IgnoreFields(Event{}, "ID"), cmpopts.IgnoreTypes(time.Time{})); diff != "" {
			t.Errorf("Sample of %+v (-want +got):\n%s", tt.request, diff)
		}
		if got := tt.request.Description(); got != tt.description {
			t.Errorf("Description of %+v: got %q, want %q", tt.request, got, tt.description)
		}
	}
}
