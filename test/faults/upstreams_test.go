package faults

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

func wantPlainError(t testing.TB, resp *http.Response, status int) {
	t.Helper()
	if body := harness.BodyOf(resp); resp.StatusCode != status || strings.HasPrefix(body, "{") || body == "" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("answered %s with %q of %s, want %d in plain text", resp.Status, body, resp.Header.Get("Content-Type"), status)
	}
}

// An upstream that does not run: 502 in the form of the client's protocol, and no event, also not
// later.
func TestUnreachableUpstream(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	hooks, gone := harness.NewReceiver(t), "http://127.0.0.1:"+fmt.Sprint(harness.FreePort(t))
	b := harness.Bellbuoy(t, fmt.Sprintf("upstreams:\n  - {type: registry, url: %q}\n  - {type: chartmuseum, url: %q}\n", gone, gone)+harness.Quick+harness.Webhooks(hooks))
	image, archive := harness.NewImage(harness.ImageOptions{}), harness.NewChart("app", "1.0.0", harness.ChartOptions{})
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		harness.WantOCIError(t, harness.Request(t, method, b.ProxyURL+"/v2/app/manifests/v1", image.Manifest), http.StatusBadGateway)
	}
	harness.WantOCIError(t, harness.Request(t, http.MethodGet, b.ProxyURL+"/v2/", nil), http.StatusBadGateway)
	wantPlainError(t, harness.Request(t, http.MethodPost, b.ProxyURL+"/api/charts", archive), http.StatusBadGateway)
	wantPlainError(t, harness.Request(t, http.MethodGet, b.ProxyURL+"/charts/app-1.0.0.tgz", nil), http.StatusBadGateway)
	wantPlainError(t, harness.Request(t, http.MethodDelete, b.ProxyURL+"/api/charts/app/1.0.0", nil), http.StatusBadGateway)
	if resp, err := harness.Send(http.MethodHead, b.ProxyURL+"/v2/app/manifests/v1", nil); err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("HEAD at an upstream that is down: got %v, %v", resp, err)
	}
	if n := b.Metric("bellbuoy_open_intents"); n != 0 {
		t.Errorf("%v intents of writes that never left", n)
	}
	hooks.Quiet(harness.Strays)
}

// A slow upstream: 504 in time. If it executes the write later, the event comes when a look-up
// finds that.
func TestSlowUpstream(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t, "limits: {upstream_response_header: 1s, write_timeout: 1s}\n")
	image, repo := harness.NewImage(harness.ImageOptions{}), "slow/app"
	harness.Push(s, s.Direct, repo, "v0", image)
	read := s.Proxy.HoldBefore(http.MethodGet, repo+"/manifests/v0")
	begin := time.Now()
	harness.WantOCIError(t, harness.Request(t, http.MethodGet, s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/v0", nil), http.StatusGatewayTimeout)
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("a limit of 1 s took %v", took)
	}
	read.Release()
	next := harness.NewImage(harness.ImageOptions{})
	harness.PutBlobs(s, s.Direct, repo, next)
	written := s.Proxy.HoldBefore(http.MethodPut, repo+"/manifests/v1")
	resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", next)
	if err != nil {
		t.Fatal(err)
	}
	harness.WantOCIError(t, resp, http.StatusGatewayTimeout)
	written.Release() // the upstream executes it now
	s.Expect(repo, harness.Pushed(repo, next, "v1").AsInferred())
	s.End()
}

// An upstream that dies: after the write, with a 500 after the write, before the write, and in the
// middle of an answer.
func TestDyingUpstream(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	cut := func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		s.Proxy.Detach(r)
		harness.Forward(r, pass)
		panic(http.ErrAbortHandler)
	}
	broken := func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		s.Proxy.Detach(r)
		harness.Forward(r, pass)
		w.WriteHeader(http.StatusInternalServerError)
	}
	refused := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		s.Proxy.Detach(r)
		w.WriteHeader(http.StatusInternalServerError)
	}
	for name, tc := range map[string]struct {
		twist  func(http.ResponseWriter, *http.Request, http.Handler)
		status int
		does   bool
	}{"cut": {cut, http.StatusBadGateway, true}, "broken": {broken, http.StatusInternalServerError, true}, "refused": {refused, http.StatusInternalServerError, false}} {
		repo, a := "dying/"+name, harness.NewImage(harness.ImageOptions{})
		harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
		s.Proxy.Twist(1, http.MethodPut, repo+"/manifests", tc.twist)
		resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a)
		if err != nil || resp.StatusCode != tc.status {
			t.Fatalf("%s: got %v, %v", name, resp, err)
		}
		if name == "cut" {
			harness.WantOCIError(t, resp, tc.status)
		}
		if tc.does {
			s.Expect(repo, harness.Pushed(repo, a, "v1").AsInferred())
		} else {
			s.Still(repo)
		}
		if resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a); err != nil || resp.StatusCode != http.StatusCreated { // the client's retry
			t.Fatalf("%s: the client's retry: got %v, %v", name, resp, err)
		}
		if !tc.does {
			s.Expect(repo, harness.Pushed(repo, a, "v1"))
		}
	}
	halfAnAnswer(s, "dying/half")
	s.Settled()
	s.End()
}

// halfAnAnswer checks that an incomplete manifest is an error for the client and no pull.
func halfAnAnswer(s harness.FaultStage, repo string) {
	s.Helper()
	a := harness.NewImage(harness.ImageOptions{})
	harness.Push(s, s.Direct, repo, "v1", a)
	s.Proxy.Twist(1, http.MethodGet, repo+"/manifests", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		rec := harness.Forward(r, pass)
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes()[:100])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	if resp, err := harness.Send(http.MethodGet, s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/v1", nil, "Accept", a.MediaType); err == nil {
		s.Errorf("half a manifest came as a whole: %s", harness.BodyOf(resp))
	}
	s.Still(repo)
}

// An upstream with a wrong digest: the event has that digest, with digest_mismatch, and a warning
// is logged.
func TestUpstreamWithAWrongDigest(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo, a, lie := "lying/app", harness.NewImage(harness.ImageOptions{}), "sha256:"+strings.Repeat("ab", 32)
	harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
	s.Proxy.Twist(1, http.MethodPut, repo+"/manifests", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		s.Proxy.Detach(r)
		rec := harness.Forward(r, pass)
		rec.Header().Set("Docker-Content-Digest", lie)
		harness.WriteAnswer(w, rec)
	})
	resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a)
	if err != nil || resp.StatusCode != http.StatusCreated || resp.Header.Get("Docker-Content-Digest") != lie {
		t.Fatalf("push: got %v, %v", resp, err)
	}
	s.Expect(repo, harness.Pushed(repo, a, "v1").With(func(e *harness.Event) { e.Digest, e.Mismatch = lie, true }))
	for i, odd := range []string{"", "nonsense", "sha256:short", strings.Repeat("x", 5000)} {
		repo := fmt.Sprintf("lying/odd%d", i)
		harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
		s.Proxy.Twist(1, http.MethodPut, repo+"/manifests", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			s.Proxy.Detach(r)
			rec := harness.Forward(r, pass)
			rec.Header().Set("Docker-Content-Digest", odd)
			harness.WriteAnswer(w, rec)
		})
		if resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("push: got %v, %v", resp, err)
		}
		harness.Eventually(harness.Soon, func() bool { full, _ := s.Arrived(repo); return len(full) > 0 })
		full, _ := s.Arrived(repo)
		if len(full) != 1 || full[0].Type != "PUSH_ARTIFACT" || full[0].Tags[0] != "v1" {
			t.Errorf("Docker-Content-Digest %.20q: %+v", odd, full)
		} else if full[0].Digest != a.Digest.String() || full[0].Mismatch {
			t.Errorf("Docker-Content-Digest %.20q is no digest, and the event's is %s", odd, full[0].Digest)
		}
	}
	s.Buoy.WaitLog(`"level":"warn".*digest`, harness.Soon)
}

// A manifest over 4 MiB: distribution refuses it, so there is no event. Another registry accepts
// it, so there is an event, made from the answer alone.
func TestHugeManifest(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo := "huge/app"
	huge := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","padding":"` + strings.Repeat("x", 5<<20) + `"}`)
	digest := harness.Sha256(huge)
	put := func(tag string) *http.Response {
		return harness.Request(t, http.MethodPut, s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/"+tag, huge, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
	}
	if resp := put("refused"); resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("distribution's answer became %s", resp.Status)
	}
	got := 0
	s.Proxy.Twist(1, http.MethodPut, repo+"/manifests", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		n, _ := io.Copy(io.Discard, r.Body)
		got = int(n)
		w.Header().Set("Docker-Content-Digest", digest)
		w.WriteHeader(http.StatusCreated)
	})
	if resp := put("v1"); resp.StatusCode != http.StatusCreated || got != len(huge) {
		t.Errorf("%s, %d of %d bytes", resp.Status, got, len(huge))
	}
	s.Expect(repo, harness.Event{
		Type: "PUSH_ARTIFACT", Repository: repo, Namespace: "huge", Name: "app", Tags: []string{"v1"}, Digest: digest, Changed: harness.Yes(), // of an unknown kind
	})
	s.End()
}

// Invalid charts: ChartMuseum's answer is passed on, and a refused upload has no event. An upload
// that another server accepts has one, even if bellbuoy cannot read it.
func TestUnreadableCharts(t *testing.T) {
	t.Parallel()
	museum := harness.ChartMuseum(t, harness.ChartMuseumOptions{})
	h := harness.NewFaultProxy(t, museum.URL)
	s := harness.FaultStage{Stage: harness.NewStage(t, harness.ChartUpstream(h.URL)), Proxy: h}
	charts := s.Buoy.ProxyURL + "/api/charts"
	bomb := harness.NewChart("bomb", "1.0.0", harness.ChartOptions{Files: map[string]string{"Chart.zeros": strings.Repeat("\x00", 64<<20)}})
	for name, body := range map[string][]byte{
		"text": []byte("this is no gzip"), "empty": nil, "half": harness.NewChart("app", "1.0.0", harness.ChartOptions{})[:60],
	} {
		resp := harness.Request(t, http.MethodPost, charts, body)
		if resp.StatusCode < 400 {
			t.Errorf("upload of %s: got %s", name, resp.Status)
		}
	}
	body, contentType := harness.Form(t, "chart", "../../x-1.tgz", []byte("no gzip"))
	if resp := harness.Request(t, http.MethodPost, charts, body, "Content-Type", contentType); resp.StatusCode < 400 {
		t.Errorf("upload of an invalid chart in a form: got %s", resp.Status)
	}
	if resp := harness.Request(t, http.MethodPost, charts, bomb); resp.StatusCode >= 500 && resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("upload of a bomb: got %s", resp.Status)
	}
	s.Settled()
	h.Twist(1, http.MethodPost, "/api/charts", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	})
	harness.Must(t, http.StatusCreated, http.MethodPost, charts, bytes.Repeat([]byte("no gzip "), 1000))
	harness.Eventually(harness.Soon, func() bool { return s.Buoy.Metric(`bellbuoy_events_total{type="UPLOAD_CHART"}`) >= 1 })
	out, err := s.Buoy.Command("events", "--type", "UPLOAD_CHART")
	if err != nil || strings.Count(out, "UPLOAD_CHART") < 1 {
		t.Errorf("no event of an unreadable chart that was accepted: %v\n%s", err, out)
	}
}
