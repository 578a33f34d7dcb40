package dataplane

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/proxy/upstream"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The probes that bellbuoy sends without credentials create nothing at any registry here, although
// none requires a login.
func TestProbesCreateNothing(t *testing.T) {
	t.Parallel()
	image := harness.NewImage(harness.ImageOptions{LayerSize: 1 << 10})
	for name, start := range map[string]func(t *testing.T) other{
		"distribution 3":       func(t *testing.T) other { return distribution(t, "") },
		"distribution 2.8":     func(t *testing.T) other { return distribution(t, "docker-registry") },
		"go-containerregistry": craneRegistry,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := start(t)
			pushOver(t, plain(t), o.URL, "team/app", "v1", image)
			o.lists = append(o.lists, "/v2/team/app/tags/list")
			before := o.standing(t)
			asks := upstream.New(upstream.Options{URL: mustParse(t, o.URL)})
			for _, repository := range []string{"team/app", "team/new", "new"} {
				for _, q := range []struct{ method, path string }{
					{http.MethodPut, "/v2/" + repository + "/blobs/uploads/" + uuid.NewString()},
					{http.MethodHead, "/v2/" + repository + "/manifests/v1"},
					{http.MethodHead, "/v2/" + repository + "/manifests/" + string(image.Digest)},
					{http.MethodHead, "/v2/" + repository + "/blobs/" + string(image.Layers[0].Digest)},
				} {
					status, err := asks.Probe(t.Context(), q.method, q.path)
					if err != nil || q.method == http.MethodPut && status < 400 {
						t.Errorf("%s %s: got %d, %v", q.method, q.path, status, err)
					}
				}
			}
			if after := o.standing(t); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
	for name, options := range map[string]harness.ChartMuseumOptions{"ChartMuseum": {}, "ChartMuseum with tenants": {Depth: 1}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := harness.ChartMuseum(t, options)
			tenant := strings.Repeat("/team", options.Depth)
			o := other{URL: c.URL, dir: c.Storage, lists: []string{"/api" + tenant + "/charts"}}
			before := o.standing(t)
			asks := upstream.New(upstream.Options{URL: mustParse(t, o.URL)})
			for _, q := range []struct{ method, path string }{
				{http.MethodPost, "/api" + tenant + "/charts"},
				{http.MethodGet, tenant + "/charts/app-1.0.0.tgz"},
			} {
				if status, err := asks.Probe(t.Context(), q.method, q.path); err != nil || status < 400 {
					t.Errorf("%s %s: got %d, %v", q.method, q.path, status, err)
				}
			}
			if after := o.standing(t); after != before {
				t.Errorf("before:\n%s\nafter:\n%s", before, after)
			}
		})
	}
}

// distribution starts a version of distribution. 2.8 is Debian's program.
func distribution(t *testing.T, part string) other {
	t.Helper()
	r := harness.Registry(t, harness.RegistryOptions{Part: part, Delete: true})
	return other{URL: r.URL, dir: r.Dir, lists: []string{"/v2/_catalog"}}
}

func mustParse(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
