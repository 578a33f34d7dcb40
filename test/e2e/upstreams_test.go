package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// wantOCIError holds an answer of bellbuoy's own against what clients of /v2/ understand.
func wantOCIError(t testing.TB, resp *http.Response, status int) {
	t.Helper()
	var body struct {
		Errors []struct{ Code, Message string } `json:"errors"`
	}
	err := json.Unmarshal([]byte(bodyOf(resp)), &body)
	if resp.StatusCode != status || err != nil || len(body.Errors) == 0 || body.Errors[0].Code == "" {
		t.Errorf("answered %s with %q (%v), want %d and an error in JSON", resp.Status, bodyOf(resp), err, status)
	}
	if got := resp.Header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
}

func wantPlainError(t testing.TB, resp *http.Response, status int) {
	t.Helper()
	if body := bodyOf(resp); resp.StatusCode != status || strings.HasPrefix(body, "{") || body == "" || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("answered %s with %q of %s, want %d in plain text", resp.Status, body, resp.Header.Get("Content-Type"), status)
	}
}

// An upstream that is not there: 502 in the client's own words, and no event, also not later.
func TestUnreachableUpstream(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes")
	}
	t.Parallel()
	hooks, gone := harness.NewReceiver(t), "http://127.0.0.1:"+portOf(t)
	b := harness.Bellbuoy(t, fmt.Sprintf("upstreams:\n  - {type: registry, url: %q}\n  - {type: chartmuseum, url: %q}\n", gone, gone)+quick+webhooks(hooks))
	image, archive := harness.NewImage(harness.ImageOptions{}), harness.NewChart("app", "1.0.0", harness.ChartOptions{})
	for _, method := range []string{http.MethodGet, http.MethodPut, http.MethodDelete} {
		wantOCIError(t, request(t, method, b.ProxyURL+"/v2/app/manifests/v1", image.Manifest), http.StatusBadGateway)
	}
	wantOCIError(t, request(t, http.MethodGet, b.ProxyURL+"/v2/", nil), http.StatusBadGateway)
	wantPlainError(t, request(t, http.MethodPost, b.ProxyURL+"/api/charts", archive), http.StatusBadGateway)
	wantPlainError(t, request(t, http.MethodGet, b.ProxyURL+"/charts/app-1.0.0.tgz", nil), http.StatusBadGateway)
	wantPlainError(t, request(t, http.MethodDelete, b.ProxyURL+"/api/charts/app/1.0.0", nil), http.StatusBadGateway)
	if resp, err := send(http.MethodHead, b.ProxyURL+"/v2/app/manifests/v1", nil); err != nil || resp.StatusCode != http.StatusBadGateway {
		t.Errorf("HEAD: %v %v", resp, err)
	}
	if n := b.Metric("bellbuoy_open_intents"); n != 0 {
		t.Errorf("%v intents of writes that never left", n)
	}
	hooks.Quiet(quiet)
}

// An upstream that is slow: 504 in time. What it did after all is told when it is seen to have done it.
func TestSlowUpstream(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t, "limits: {upstream_response_header: 1s, write_timeout: 1s}\n")
	image, repo := harness.NewImage(harness.ImageOptions{}), "slow/app"
	push(s, s.direct, repo, "v0", image)
	read := s.hinge.holdBefore(http.MethodGet, repo+"/manifests/v0")
	begin := time.Now()
	wantOCIError(t, request(t, http.MethodGet, s.buoy.ProxyURL+"/v2/"+repo+"/manifests/v0", nil), http.StatusGatewayTimeout)
	if took := time.Since(begin); took > 30*time.Second {
		t.Errorf("a limit of 1 s took %v", took)
	}
	read.Release()
	next := harness.NewImage(harness.ImageOptions{})
	putBlobs(s, s.direct, repo, next)
	written := s.hinge.holdBefore(http.MethodPut, repo+"/manifests/v1")
	resp, err := putManifest(s.buoy.ProxyURL, repo, "v1", next)
	if err != nil {
		t.Fatal(err)
	}
	wantOCIError(t, resp, http.StatusGatewayTimeout)
	written.Release() // and now it does it
	s.expect(repo, pushed(repo, next, "v1").inferred())
	s.end()
}

// An upstream that dies: after it has done it, with a 500 after it has done it, without doing it, and in the middle of an answer.
func TestDyingUpstream(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	cut := func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		s.hinge.detach(r)
		commit(r, pass)
		panic(http.ErrAbortHandler)
	}
	broken := func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		s.hinge.detach(r)
		commit(r, pass)
		w.WriteHeader(http.StatusInternalServerError)
	}
	refused := func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		s.hinge.detach(r)
		w.WriteHeader(http.StatusInternalServerError)
	}
	for name, tc := range map[string]struct {
		twist  func(http.ResponseWriter, *http.Request, http.Handler)
		status int
		does   bool
	}{"cut": {cut, http.StatusBadGateway, true}, "broken": {broken, http.StatusInternalServerError, true}, "refused": {refused, http.StatusInternalServerError, false}} {
		repo, a := "dying/"+name, harness.NewImage(harness.ImageOptions{})
		putBlobs(s, s.buoy.ProxyURL, repo, a)
		s.hinge.twist(1, http.MethodPut, repo+"/manifests", tc.twist)
		resp, err := putManifest(s.buoy.ProxyURL, repo, "v1", a)
		if err != nil || resp.StatusCode != tc.status {
			t.Fatalf("%s: %v %v", name, resp, err)
		}
		if name == "cut" {
			wantOCIError(t, resp, tc.status)
		}
		if tc.does {
			s.expect(repo, pushed(repo, a, "v1").inferred())
		} else {
			s.still(repo)
		}
		if resp, err := putManifest(s.buoy.ProxyURL, repo, "v1", a); err != nil || resp.StatusCode != http.StatusCreated { // the client's retry
			t.Fatalf("%s: %v %v", name, resp, err)
		}
		if !tc.does {
			s.expect(repo, pushed(repo, a, "v1"))
		}
	}
	s.halfAnAnswer("dying/half")
	s.settled()
	s.end()
}

// halfAnAnswer: of a manifest only a part arrives. The client notices, and no pull is told.
func (s faultStage) halfAnAnswer(repo string) {
	s.Helper()
	a := harness.NewImage(harness.ImageOptions{})
	push(s, s.direct, repo, "v1", a)
	s.hinge.twist(1, http.MethodGet, repo+"/manifests", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		rec := commit(r, pass)
		maps.Copy(w.Header(), rec.Header())
		w.WriteHeader(rec.Code)
		w.Write(rec.Body.Bytes()[:100])
		http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})
	if resp, err := send(http.MethodGet, s.buoy.ProxyURL+"/v2/"+repo+"/manifests/v1", nil, "Accept", a.MediaType); err == nil {
		s.Errorf("half a manifest came as a whole: %s", bodyOf(resp))
	}
	s.still(repo)
}

// An upstream that lies about the digest: its word stands, with a mark and a warning.
func TestLyingUpstream(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	repo, a, lie := "lying/app", harness.NewImage(harness.ImageOptions{}), "sha256:"+strings.Repeat("ab", 32)
	putBlobs(s, s.buoy.ProxyURL, repo, a)
	s.hinge.twist(1, http.MethodPut, repo+"/manifests", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
		s.hinge.detach(r)
		rec := commit(r, pass)
		rec.Header().Set("Docker-Content-Digest", lie)
		answer(w, rec)
	})
	resp, err := putManifest(s.buoy.ProxyURL, repo, "v1", a)
	if err != nil || resp.StatusCode != http.StatusCreated || resp.Header.Get("Docker-Content-Digest") != lie {
		t.Fatalf("%v %v", resp, err)
	}
	s.expect(repo, pushed(repo, a, "v1").with(func(e *event) { e.Digest, e.Mismatch = lie, true }))
	for i, odd := range []string{"", "nonsense", "sha256:short", strings.Repeat("x", 5000)} {
		repo := fmt.Sprintf("lying/odd%d", i)
		putBlobs(s, s.buoy.ProxyURL, repo, a)
		s.hinge.twist(1, http.MethodPut, repo+"/manifests", func(w http.ResponseWriter, r *http.Request, pass http.Handler) {
			s.hinge.detach(r)
			rec := commit(r, pass)
			rec.Header().Set("Docker-Content-Digest", odd)
			answer(w, rec)
		})
		if resp, err := putManifest(s.buoy.ProxyURL, repo, "v1", a); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("%v %v", resp, err)
		}
		harness.Eventually(soon, func() bool { full, _ := s.arrived(repo); return len(full) > 0 })
		full, _ := s.arrived(repo)
		if len(full) != 1 || full[0].Type != "PUSH_ARTIFACT" || full[0].Tags[0] != "v1" {
			t.Errorf("Docker-Content-Digest %.20q: %+v", odd, full)
		} else if full[0].Digest != a.Digest.String() || full[0].Mismatch {
			t.Errorf("Docker-Content-Digest %.20q is no digest, and the event's is %s", odd, full[0].Digest)
		}
	}
	s.buoy.WaitLog(`"level":"warn".*digest`, soon)
}

// A manifest over 4 MiB: distribution refuses it, which is no event; another registry takes it, which is one, by its word alone.
func TestHugeManifest(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	repo := "huge/app"
	huge := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","padding":"` + strings.Repeat("x", 5<<20) + `"}`)
	digest := sha256of(huge)
	put := func(tag string) *http.Response {
		return request(t, http.MethodPut, s.buoy.ProxyURL+"/v2/"+repo+"/manifests/"+tag, huge, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
	}
	if resp := put("refused"); resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("distribution's answer became %s", resp.Status)
	}
	got := 0
	s.hinge.twist(1, http.MethodPut, repo+"/manifests", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		n, _ := io.Copy(io.Discard, r.Body)
		got = int(n)
		w.Header().Set("Docker-Content-Digest", digest)
		w.WriteHeader(http.StatusCreated)
	})
	if resp := put("v1"); resp.StatusCode != http.StatusCreated || got != len(huge) {
		t.Errorf("%s, %d of %d bytes", resp.Status, got, len(huge))
	}
	s.expect(repo, event{
		Type: "PUSH_ARTIFACT", Repository: repo, Namespace: "huge", Name: "app", Tags: []string{"v1"}, Digest: digest, Changed: yes(), // of an unknown kind
	})
	s.end()
}

// Charts that are none: ChartMuseum's word passes, and nothing is told of what it did not take. What another one takes although nobody can
// read it is told all the same.
func TestUnreadableCharts(t *testing.T) {
	t.Parallel()
	museum := harness.ChartMuseum(t, harness.ChartMuseumOptions{})
	h := newHinge(t, museum.URL)
	s := faultStage{newStage(t, chartUpstream(h.URL)), h, nil}
	charts := s.buoy.ProxyURL + "/api/charts"
	bomb := harness.NewChart("bomb", "1.0.0", harness.ChartOptions{Files: map[string]string{"Chart.zeros": strings.Repeat("\x00", 64<<20)}})
	for name, body := range map[string][]byte{
		"text": []byte("this is no gzip"), "empty": nil, "half": harness.NewChart("app", "1.0.0", harness.ChartOptions{})[:60],
	} {
		resp := request(t, http.MethodPost, charts, body)
		if resp.StatusCode < 400 {
			t.Errorf("%s: %s", name, resp.Status)
		}
	}
	body, contentType := form(t, "chart", "../../x-1.tgz", []byte("no gzip"))
	if resp := request(t, http.MethodPost, charts, body, "Content-Type", contentType); resp.StatusCode < 400 {
		t.Errorf("a form: %s", resp.Status)
	}
	if resp := request(t, http.MethodPost, charts, bomb); resp.StatusCode >= 500 && resp.StatusCode != http.StatusInternalServerError {
		t.Errorf("a bomb: %s", resp.Status)
	}
	s.settled()
	h.twist(1, http.MethodPost, "/api/charts", func(w http.ResponseWriter, r *http.Request, _ http.Handler) {
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusCreated)
	})
	must(t, http.StatusCreated, http.MethodPost, charts, bytes.Repeat([]byte("no gzip "), 1000))
	harness.Eventually(soon, func() bool { return s.buoy.Metric(`bellbuoy_events_total{type="UPLOAD_CHART"}`) >= 1 })
	out, err := s.buoy.Command("events", "--type", "UPLOAD_CHART")
	if err != nil || strings.Count(out, "UPLOAD_CHART") < 1 {
		t.Errorf("an unreadable chart that was taken is not told: %v\n%s", err, out)
	}
}
