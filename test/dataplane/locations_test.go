package dataplane

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A Location that names the upstream is rewritten to bellbuoy. One that names another host is not.
func TestLocations(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	h := harness.NewFaultProxy(t, registry.URL)
	b := harness.Bellbuoy(t, harness.RegistryUpstream(h.URL, ", host: upstream"))
	resp := harness.Must(t, http.StatusAccepted, http.MethodPost, b.ProxyURL+"/v2/app/blobs/uploads/", nil)
	if got := resp.Header.Get("Location"); !strings.HasPrefix(got, b.ProxyURL+"/v2/app/blobs/uploads/") {
		t.Errorf("an upload's Location is %s", got)
	}
	const storage = "https://storage.example.com/blob?signature=x"
	h.Twist(1, http.MethodGet, "/blobs/", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		http.Redirect(w, r, storage, http.StatusTemporaryRedirect)
	})
	resp = harness.Must(t, http.StatusTemporaryRedirect, http.MethodGet, b.ProxyURL+"/v2/app/blobs/sha256:"+strings.Repeat("ab", 32), nil)
	if got := resp.Header.Get("Location"); got != storage {
		t.Errorf("a blob's redirect became %s", got)
	}
}

// Answers of an upstream arrive unchanged: unusual statuses, many headers, trailers, no length.
func TestAnswersAreUnchanged(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header()["X-Twice"] = []string{"a", "b"}
		w.Header().Set("Www-Authenticate", `Bearer realm="https://auth.example.com/token",service="s"`)
		w.Header().Set("Etag", `W/"x"`)
		w.WriteHeader(http.StatusTeapot)
		w.Write([]byte("short and stout"))
	}))
	defer up.Close()
	b := harness.Bellbuoy(t, harness.RegistryUpstream(up.URL))
	through, direct := harness.Request(t, http.MethodGet, b.ProxyURL+"/v2/x/manifests/y", nil), harness.Request(t, http.MethodGet, up.URL+"/v2/x/manifests/y", nil)
	if through.StatusCode != direct.StatusCode || harness.BodyOf(through) != harness.BodyOf(direct) {
		t.Errorf("through bellbuoy %s %q, directly %s %q", through.Status, harness.BodyOf(through), direct.Status, harness.BodyOf(direct))
	}
	for name, want := range direct.Header {
		if got := through.Header[name]; name != "Date" && strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%s is %q, directly %q", name, got, want)
		}
	}
}
