package upstream

import (
	"net/http"
	"testing"
)

func TestProbe(t *testing.T) {
	for _, test := range []struct {
		method, uri, want string // the request at the upstream; "" if there must be none
	}{
		{"HEAD", "/v2/a/manifests/v%31?ns=docker.io", "HEAD registry.test:5000/v2/a/manifests/v%31?ns=docker.io"},
		{"HEAD", "//evil.test/v2/", "HEAD registry.test:5000//evil.test/v2/"},
		{"GET", "/v2/", "GET registry.test:5000/v2/"},
		{"POST", "/api/team/charts?force", "POST registry.test:5000/api/team/charts?force"},
		{"POST", "/v2/a/blobs/uploads/", ""},
		{"POST", "/v2/a/blobs/uploads/charts", ""},
		{"POST", "/api/prov", ""},
		{"PUT", "/v2/a/manifests/v1", ""},
		{"PUT", "/v2/a/blobs/uploads/5b5e1c4c-93d2-4f3a-9c5b-0f6d1f0e8a11", "PUT registry.test:5000/v2/a/blobs/uploads/5b5e1c4c-93d2-4f3a-9c5b-0f6d1f0e8a11"},
		{"PUT", "/v2/a/blobs/uploads/5b5e1c4c-93d2-4f3a-9c5b-0f6d1f0e8a11?digest=sha256:0", ""},
		{"PUT", "/v2/a/blobs/uploads/", ""},
		{"PUT", "/v2/a/blobs/uploads/x", ""},
		{"PUT", "/api/charts", ""},
		{"PATCH", "/v2/a/blobs/uploads/5b5e1c4c-93d2-4f3a-9c5b-0f6d1f0e8a11", ""},
		{"DELETE", "/v2/a/manifests/v1", ""},
		{"HEAD", "http://evil.test/v2/", ""},
		{"HEAD", "evil", ""},
		{"HEAD", "", ""},
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			if req.ContentLength != 0 || req.Header.Get("Authorization") != "" {
				t.Errorf("%s %s: got the length %d", test.method, test.uri, req.ContentLength)
			}
			http.Redirect(w, req, "/elsewhere", http.StatusTemporaryRedirect)
		})
		status, err := n.client(withLogin).Probe(t.Context(), test.method, test.uri)
		seen := n.requests()
		if test.want == "" {
			if err == nil || len(seen) != 0 {
				t.Errorf("%s %s: got %v, and the requests %q", test.method, test.uri, err, seen)
			}
			continue
		}
		if err != nil || status != 307 || len(seen) != 1 || seen[0] != test.want {
			t.Errorf("%s %s: got %d, %v, and the requests %q", test.method, test.uri, status, err, seen)
		}
	}
}
