package events

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Repositories and tags with names that look like parts of a path or like digests.
func TestConfusingNames(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	for repo, tag := range map[string]string{
		"manifests": "manifests", "manifests/manifests": "v1", "team/manifests/tags": "list", "blobs/uploads": "uploads", "v2/v2": "v2", "a/referrers": "sha256-x",
	} {
		a := harness.NewImage(harness.ImageOptions{})
		harness.Push(s, s.Buoy.ProxyURL, repo, tag, a)
		s.Expect(repo, harness.Pushed(repo, a, tag))
		harness.Must(s, http.StatusOK, http.MethodGet, s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/"+tag, nil, "Accept", a.MediaType)
		harness.Must(s, http.StatusOK, http.MethodGet, s.Buoy.ProxyURL+"/v2/"+repo+"/blobs/"+a.Layers[0].Digest.String(), nil)
		s.Expect(repo, harness.Pulled(repo, a, tag))
		harness.Must(s, http.StatusAccepted, http.MethodDelete, s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/"+tag, nil)
		s.Expect(repo, harness.Untagged(repo, a, tag))
	}
	s.End()
}

// Unusual spellings of paths: bellbuoy forwards them unchanged, and understands them as the
// registry does. Only a write with a name that is too long for any registry is answered by bellbuoy
// itself.
func TestOddPaths(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo, a := "odd/app", harness.NewImage(harness.ImageOptions{})
	harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
	manifests := s.Buoy.ProxyURL + "/v2/odd%2Fapp/manifests/"
	harness.Must(s, http.StatusCreated, http.MethodPut, manifests+"v%31", a.Manifest, "Content-Type", a.MediaType)
	s.Expect(repo, harness.Pushed(repo, a, "v1"))
	harness.Must(s, http.StatusOK, http.MethodGet, manifests+"v1", nil, "Accept", a.MediaType)
	harness.Must(s, http.StatusOK, http.MethodGet, s.Buoy.ProxyURL+"/v2/odd%2Fapp/blobs/"+strings.Replace(a.Layers[0].Digest.String(), ":", "%3A", 1), nil)
	s.Expect(repo, harness.Pulled(repo, a, "v1"))
	harness.Must(s, http.StatusAccepted, http.MethodDelete, manifests+strings.Replace(a.Digest.String(), ":", "%3A", 1), nil)
	s.Expect(repo, harness.Deleted(repo, a, "v1"))

	long := strings.Repeat("t", 300)
	for _, path := range []string{
		"/v2/odd/app/manifests/" + long, "/v2//odd/app/manifests/v1", "/v2/odd/../app/manifests/v1", "/v2/odd/app/manifests/", "/v2/odd/app/manifests/v1/",
		"/v2/odd%252Fapp/manifests/v1", "/v2/odd/app/manifests/%00", "/v2/odd/app/manifests/v1%0d%0aX-Evil:%201", "/v2/ODD/app/manifests/v1",
		"/v2/odd/app/manifests/sha256:short", "/v2/" + long + "/manifests/v1", "/", "/v2", "/v2/..%2f..%2fetc/passwd",
	} {
		for _, method := range []string{http.MethodPut, http.MethodGet, http.MethodDelete} {
			through, direct := odd(t, method, s.Buoy.ProxyURL, path, a), odd(t, method, s.Direct, path, a)
			if strings.Contains(path, long) && method != http.MethodGet {
				direct = http.StatusBadRequest
			}
			if through != direct {
				t.Errorf("%s %.60s: %d through bellbuoy, %d directly", method, path, through, direct)
			}
		}
	}
	s.End()
}

// odd sends a path exactly as it is written.
func odd(t *testing.T, method, base, path string, a harness.Artifact) int {
	t.Helper()
	req, err := http.NewRequest(method, base, strings.NewReader(string(a.Manifest)))
	if err != nil {
		t.Fatal(err)
	}
	target, query, _ := strings.Cut(path, "?")
	req.URL = &url.URL{Scheme: "http", Host: req.URL.Host, Opaque: "//" + req.URL.Host + target, RawQuery: query}
	req.Header.Set("Content-Type", a.MediaType)
	req.Header.Set("User-Agent", "curl/8.0")
	resp, err := harness.Plain.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// The host in payloads is that of external_url if it is set; else the Host header, if it is one of
// hosts or comes directly from a loopback client.
func TestForgedHost(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{Delete: true}), harness.NewReceiver(t)
	upstream, _ := url.Parse(registry.URL)
	for name, tc := range map[string]struct{ config, host, forwarded, want string }{
		"external_url":            {", external_url: https://registry.example.com", "evil.example.com", "", "registry.example.com"},
		"external_url, forwarded": {", external_url: https://registry.example.com", "evil.example.com", "evil2.example.com", "registry.example.com"},
		"one of hosts":            {", hosts: [a.example.com, b.example.com]", "b.example.com", "evil2.example.com", "b.example.com"},
		"loopback":                {"", "localhost:5000", "", "localhost:5000"},
		"loopback, forwarded":     {"", "evil.example.com", "evil2.example.com", upstream.Host},
	} {
		t.Run(name, func(t *testing.T) {
			path := "/" + url.PathEscape(t.Name())
			b := harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL, tc.config)+"webhooks: [{name: w, url: \""+hooks.URL(path)+"\"}]\n")
			header := []string{"Host", tc.host}
			if tc.forwarded != "" {
				header = append(header, "X-Forwarded-Host", tc.forwarded, "X-Forwarded-For", "10.1.2.3", "X-Forwarded-Proto", "https", "Forwarded", "host="+tc.forwarded)
			}
			a := harness.NewImage(harness.ImageOptions{})
			harness.Push(t, registry.URL, "forged/app", "v1", a) // only its blobs are needed
			resp, err := harness.PutManifest(b.ProxyURL, "forged/app", "v2", a, header...)
			if err != nil || resp.StatusCode != http.StatusCreated {
				t.Fatalf("push with a forged Host: got %v, %v", resp, err)
			}
			unescaped, _ := url.PathUnescape(path)
			post := hooks.WaitAt(unescaped, 1, harness.Soon)[0]
			if got, want := post.Text("event_data.resources.0.resource_url"), tc.want+"/forged/app:v2"; got != want {
				t.Errorf("the webhook names %s, want %s", got, want)
			}
		})
	}
}
