package proxy

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
)

const manifest = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"digest":"sha256:aa"},"layers":[]}`

func digestOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// registry is a small upstream: it returns the manifest for any reference and accepts every write.
func registry(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("Docker-Content-Digest", digestOf(manifest))
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		w.Header().Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
		_, _ = io.WriteString(w, manifest)
	case http.MethodDelete:
		w.WriteHeader(http.StatusAccepted)
	default:
		w.WriteHeader(http.StatusCreated)
	}
}

func TestManifestRead(t *testing.T) {
	s := newStand(t, http.HandlerFunc(registry), nil)
	res, body := s.do("GET", "/v2/a/b/manifests/v1", nil, "Host", "reg.example.com", "User-Agent", "crane/1")
	if res.StatusCode != 200 || body != manifest {
		t.Fatalf("got %d with the body %q", res.StatusCode, body)
	}
	op := s.tracker.lastEnded(1)
	if op.Action != detect.ManifestGet || op.Repository != "a/b" || op.Reference != "v1" || !op.Complete || op.Status != 200 {
		t.Errorf("got the operation %+v", op)
	}
	if string(op.Got.Bytes) != manifest || op.Got.Digest != digestOf(manifest) || op.ContentDigest != digestOf(manifest) {
		t.Errorf("got the body %+v", op.Got)
	}
	want := detect.Client{Address: "127.0.0.1", UserAgent: "crane/1"}
	if op.Client != want || op.External != (detect.External{Scheme: "http", Host: "reg.example.com"}) {
		t.Errorf("client %+v, external %+v", op.Client, op.External)
	}
}

func TestTrackerHasAManifestBeforeTheClient(t *testing.T) {
	s := newStand(t, http.HandlerFunc(registry), nil)
	for range 200 {
		r, _ := http.NewRequest("GET", s.front.URL+"/v2/a/manifests/v1", nil)
		res, err := s.front.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		s.tracker.mu.Lock()
		flying := len(s.tracker.inFlight)
		s.tracker.mu.Unlock()
		if flying != 0 {
			t.Fatal("the client has the manifest before the tracker")
		}
	}
}

// A manifest that is answered 206 with all of its bytes is kept as one that is answered 200. A part
// of one is not.
func TestWholeRange(t *testing.T) {
	for contentRange, whole := range map[string]bool{
		fmt.Sprintf("bytes 0-%d/%d", len(manifest)-1, len(manifest)):   true,
		fmt.Sprintf("bytes 0-%d/%d", len(manifest)-1, len(manifest)+1): false,
		fmt.Sprintf("bytes 0-%d/*", len(manifest)-1):                   false,
		fmt.Sprintf("bytes 1-%d/%d", len(manifest), len(manifest)+1):   false,
		"bytes 0--1/0": false,
		"":             false,
	} {
		for _, encoding := range []string{"", "chunked"} {
			s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Range", contentRange)
				w.WriteHeader(http.StatusPartialContent)
				if encoding != "" {
					_ = http.NewResponseController(w).Flush()
				}
				_, _ = io.WriteString(w, manifest)
			}), nil)
			s.do("GET", "/v2/a/manifests/v1", nil, "Range", "bytes=0-")
			op := s.tracker.lastEnded(1)
			if kept := string(op.Got.Bytes) == manifest; op.Whole != whole || kept != whole || !op.Complete {
				t.Errorf("%q: whole %v, kept %v, complete %v", contentRange, op.Whole, kept, op.Complete)
			}
		}
	}
}

func TestHeadAndOtherReads(t *testing.T) {
	s := newStand(t, http.HandlerFunc(registry), nil)
	res, body := s.do("HEAD", "/v2/a/manifests/v1", nil)
	if body != "" || res.ContentLength != int64(len(manifest)) {
		t.Errorf("HEAD: length %d, body %q", res.ContentLength, body)
	}
	if op := s.tracker.lastEnded(1); op.Action != detect.ManifestHead || !op.Complete || op.Size != int64(len(manifest)) {
		t.Errorf("got the operation %+v", op)
	}
	s.do("GET", "/v2/a/blobs/"+digestOf("x"), nil, "Range", "bytes=1-")
	if op := s.tracker.lastEnded(2); op.Action != detect.BlobGet || !op.Range || op.Got.Bytes != nil {
		t.Errorf("got the operation %+v", op)
	}
}

func TestGzippedManifest(t *testing.T) {
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = io.WriteString(zw, manifest)
	_ = zw.Close()
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write(packed.Bytes())
	}), nil)
	_, body := s.do("GET", "/v2/a/manifests/v1", nil, "Accept-Encoding", "gzip")
	if body != packed.String() {
		t.Error("the body was altered")
	}
	if op := s.tracker.lastEnded(1); string(op.Got.Bytes) != manifest || op.Got.Digest != digestOf(manifest) {
		t.Errorf("got the body %+v", op.Got)
	}
}

func TestManifestOverTheLimit(t *testing.T) {
	big := strings.Repeat("x", maxManifest+1)
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, big) }), nil)
	_, body := s.do("GET", "/v2/a/manifests/v1", nil)
	if body != big {
		t.Error("the body was altered")
	}
	if op := s.tracker.lastEnded(1); op.Got.Bytes != nil || op.Got.Digest != digestOf(big) || op.Got.Size != int64(len(big)) || !op.Complete {
		t.Errorf("kept %d bytes, digest %s, size %d, complete %v", len(op.Got.Bytes), op.Got.Digest, op.Got.Size, op.Complete)
	}
}

func TestUpstreamDiesInTheMiddle(t *testing.T) {
	for _, path := range []string{"/v2/a/blobs/" + digestOf("x"), "/v2/a/manifests/v1"} {
		s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "100000")
			_, _ = io.WriteString(w, strings.Repeat("x", 50000))
			panic(http.ErrAbortHandler)
		}), nil)
		res, err := http.Get(s.front.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, res.Body); err == nil {
			t.Errorf("%s: a clean end after %d bytes", path, n)
		}
		res.Body.Close()
		if op := s.tracker.lastEnded(1); op.Complete {
			t.Errorf("%s: counted as complete", path)
		}
	}
}

func TestUpstreamDown(t *testing.T) {
	s := newRawStand(t, "127.0.0.1:1", nil)
	res, body := s.do("GET", "/v2/a/manifests/v1", nil)
	if res.StatusCode != 502 || !strings.Contains(body, `{"errors":[{"code":"UNAVAILABLE"`) || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	res, _ = s.do("DELETE", "/v2/a/manifests/v1", nil)
	if res.StatusCode != 502 || s.tracker.dropped != 1 {
		t.Errorf("got %d, %d dropped", res.StatusCode, s.tracker.dropped)
	}
	res, body = s.do("GET", "/other", nil)
	if res.StatusCode != 502 || strings.Contains(body, "{") {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func TestRawTargets(t *testing.T) {
	for _, target := range []string{
		"/v2/a%2Fb/manifests/v%31", "/v2//a/./b/../c/", "/v2/a/manifests/sha256%3Aabc?ns=docker.io", "/v2/a/tags/list?n=1;last=%zz&x", "/x?", "/a\"b<c>{d}|e",
		"/v2/%00/x", "//double//slash?x=//y", "/caf%C3%A9/é", "/v2/a#frag", "/%2e%2e/%2E",
	} {
		rec := newRecorder(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
		s := newRawStand(t, rec.Addr().String(), nil)
		for _, method := range []string{"GET", "POST"} {
			s.raw(method + " " + target + " HTTP/1.1\r\nHost: h.example.com\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
		}
		for _, got := range rec.requests() {
			line, _, _ := strings.Cut(got, "\r\n")
			if parts := strings.Split(line, " "); len(parts) != 3 || parts[1] != target {
				t.Errorf("%s arrived as %q", target, line)
			}
		}
		if n := len(rec.requests()); n != 2 {
			t.Errorf("%s: %d requests arrived", target, n)
		}
	}
}

func TestRouting(t *testing.T) {
	up := func(name string, kind detect.Kind, edit func(*Upstream)) Upstream {
		u := Upstream{Name: name, Kind: kind, URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}
		if edit != nil {
			edit(&u)
		}
		return u
	}
	all := []Upstream{
		up("reg", detect.Registry, func(u *Upstream) { u.Paths = []string{"/service/token"} }),
		up("charts", detect.ChartMuseum, nil),
		up("team", detect.ChartMuseum, func(u *Upstream) { u.PathPrefix = "/team" }),
		up("teamdeep", detect.ChartMuseum, func(u *Upstream) { u.PathPrefix = "/team/deep" }),
		up("mirror", detect.Registry, func(u *Upstream) { u.Hosts = []string{"mirror.example.com"} }),
	}
	for _, c := range []struct{ host, path, want string }{
		{"any", "/v2/", "reg"},
		{"any", "/v2", "reg"},
		{"any", "/v2/a/manifests/v1", "reg"},
		{"any", "/v23", "charts"},
		{"any", "/index.yaml", "charts"},
		{"any", "/service/token", "reg"},
		{"any", "/service/tokens", "charts"},
		{"any", "/team", "team"},
		{"any", "/team/index.yaml", "team"},
		{"any", "/teams/index.yaml", "charts"},
		{"any", "/team/deep/api/charts", "teamdeep"},
		{"mirror.example.com", "/v2/", "mirror"},
		{"MIRROR.example.com:443", "/v2/", "mirror"},
		{"mirror.example.com", "/token", "mirror"},
	} {
		if got := routeName(t, all, c.host, c.path); got != c.want {
			t.Errorf("%s%s goes to %q, want %q", c.host, c.path, got, c.want)
		}
	}
	if got := routeName(t, all[4:], "other", "/anything"); got != "mirror" {
		t.Errorf("a lone upstream gets everything, got %q", got)
	}
	if got := routeName(t, []Upstream{all[0], all[4]}, "any", "/index.yaml"); got != "" {
		t.Errorf("no ChartMuseum, but %q", got)
	}
}

func routeName(t *testing.T, upstreams []Upstream, host, path string) string {
	t.Helper()
	h, err := New(Options{Upstreams: upstreams, Tracker: newTracker(t)})
	if err != nil {
		t.Fatal(err)
	}
	rt := h.now.Load().find(host, path)
	if rt == nil {
		return ""
	}
	return rt.Name
}

func TestNoRoute(t *testing.T) {
	s := newStand(t, http.HandlerFunc(registry), func(o *Options) {
		o.Upstreams[0].Hosts = []string{"a.example.com"}
		o.Upstreams = append(o.Upstreams, o.Upstreams[0])
		o.Upstreams[1].Name = "second"
	})
	res, body := s.do("GET", "/v2/x/manifests/v1", nil, "Host", "b.example.com")
	if res.StatusCode != 404 || !strings.Contains(body, `"NAME_UNKNOWN"`) {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	if res, body = s.do("GET", "/index.yaml", nil, "Host", "b.example.com"); res.StatusCode != 404 || strings.Contains(body, "{") {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
}

func TestReloadLeavesRequestsInFlight(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		close(entered)
		<-release
		_, _ = io.WriteString(w, "all of it")
	}), nil)
	done := make(chan string)
	go func() {
		_, body := s.do("GET", "/v2/a/blobs/"+digestOf("x"), nil)
		done <- body
	}()
	<-entered
	o := s.handler.now.Load().Options
	o.Upstreams = []Upstream{{Name: "other", Kind: detect.Registry, URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}}}
	if err := s.handler.Configure(o); err != nil {
		t.Fatal(err)
	}
	close(release)
	if got := <-done; got != "all of it" {
		t.Errorf("got %q", got)
	}
	if res, _ := s.do("GET", "/v2/", nil); res.StatusCode != 502 {
		t.Errorf("the new configuration is not in force: %d", res.StatusCode)
	}
	if err := s.handler.Configure(Options{Upstreams: []Upstream{{Name: "bad"}}}); err == nil {
		t.Error("a bad upstream was accepted")
	}
}

func TestPanickingTracker(t *testing.T) {
	s := newStand(t, http.HandlerFunc(registry), nil)
	s.tracker.panics = true
	if _, body := s.do("GET", "/v2/a/manifests/v1", nil); body != manifest {
		t.Errorf("got %q", body)
	}
	if res, _ := s.do("PUT", "/v2/a/manifests/v1", strings.NewReader(manifest)); res.StatusCode != 201 {
		t.Errorf("got %d", res.StatusCode)
	}
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "bellbuoy_panics_total" && f.Metric[0].Counter.GetValue() < 4 {
			t.Errorf("%v panics counted", f.Metric[0].Counter.GetValue())
		}
	}
}
