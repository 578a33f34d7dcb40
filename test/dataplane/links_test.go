package dataplane

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Each Location and each Link leads to bellbuoy, with the scheme and name that the client uses,
// wherever TLS is terminated and whatever the upstream's name is.
func TestLinksLeadToBellbuoy(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	for _, repository := range []string{"app", "bpp"} {
		for _, tag := range []string{"v1", "v2"} {
			pushOver(t, plain(t), registry.URL, repository, tag, harness.NewImage(harness.ImageOptions{}))
		}
	}
	for _, where := range []place{nowhereAtAll, atBellbuoy, inFront} {
		for _, only := range []bool{false, true} {
			for _, external := range []string{"", "https://registry.example.com"} {
				t.Run(fmt.Sprintf("%s, own host %t, %s", where, only, external), func(t *testing.T) {
					t.Parallel()
					v := newVirtualHost(t, registry.URL, only)
					v.external = external
					_, address := stand(t, a, where, v, "")
					base, c := "https://"+address, overTLS(t, a, false, "")
					if where == nowhereAtAll {
						base, c = "http://"+address, plain(t)
					}
					start := must(t, c, http.StatusAccepted, http.MethodPost, base+"/v2/app/blobs/uploads/", nil).Header.Get("Location")
					if !strings.HasPrefix(start, base+"/v2/app/blobs/uploads/") {
						t.Errorf("an upload's Location is %s", start)
					}
					next := must(t, c, http.StatusAccepted, http.MethodPatch, start, strings.NewReader("a piece")).Header.Get("Location")
					if !strings.HasPrefix(next, base+"/v2/app/blobs/uploads/") {
						t.Errorf("a piece's Location is %s", next)
					}
					put := must(t, c, http.StatusCreated, http.MethodPut, base+"/v2/app/manifests/v3", strings.NewReader(manifestOf(t, registry, "app", "v1")),
						"Content-Type", "application/vnd.oci.image.manifest.v1+json").Header.Get("Location")
					if !strings.HasPrefix(put, base+"/v2/app/manifests/sha256:") {
						t.Errorf("a manifest's Location is %s", put)
					}
					for _, path := range []string{"/v2/app/tags/list", "/v2/_catalog"} {
						link := must(t, c, http.StatusOK, http.MethodGet, base+path+"?n=1", nil).Header.Get("Link")
						if !strings.HasPrefix(link, "<"+path+"?") && !strings.HasPrefix(link, "<"+base+path+"?") {
							t.Errorf("the next page of %s is %s", path, link)
						}
					}
					v.allCarried(t, 5)
				})
			}
		}
	}
}

// manifestOf reads a manifest directly from the registry.
func manifestOf(t *testing.T, registry *harness.RegistryServer, repository, tag string) string {
	t.Helper()
	return must(t, plain(t), http.StatusOK, http.MethodGet, registry.URL+"/v2/"+repository+"/manifests/"+tag, nil, "Accept", "application/vnd.oci.image.manifest.v1+json").Body
}
