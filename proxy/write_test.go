package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

func TestPut(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		s := newStand(t, http.HandlerFunc(registry), nil)
		var body io.Reader = strings.NewReader(manifest)
		if chunked {
			body = io.MultiReader(body)
		}
		res, _ := s.do("PUT", "/v2/a/b/manifests/v1", body, "Content-Type", "application/vnd.oci.image.manifest.v1+json")
		if res.StatusCode != 201 {
			t.Fatalf("got the status %d", res.StatusCode)
		}
		op := s.tracker.settled[0]
		if string(op.Sent.Bytes) != manifest || op.Sent.Digest != digestOf(manifest) || op.Sent.MediaType != "application/vnd.oci.image.manifest.v1+json" {
			t.Errorf("got the sent body %+v", op.Sent)
		}
		if op.Status != 201 || op.ContentDigest != digestOf(manifest) || op.Action != detect.ManifestPut {
			t.Errorf("got the operation %+v", op)
		}
		s.tracker.wait("word that the client has its answer", func() bool { return s.tracker.acknowledged == 1 })
		if got := s.tracker.intended[0]; got.Sent.Digest != digestOf(manifest) || got.Status != 0 {
			t.Errorf("got the intents %+v", got)
		}
	}
}

// The intent is committed before the upstream has the end of the body, and the event before the
// client has the answer.
func TestOrderOfAWrite(t *testing.T) {
	for _, chunked := range []bool{false, true} {
		var arrived, settled atomic.Bool
		s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			arrived.Store(true)
			w.WriteHeader(201)
		}), nil)
		s.tracker.onIntend = func() {
			time.Sleep(20 * time.Millisecond) // if the last byte were in flight, it would have arrived by then
			if arrived.Load() {
				t.Error("the upstream has the whole body before the intent is committed")
			}
		}
		s.tracker.onSettle = func() { time.Sleep(20 * time.Millisecond); settled.Store(true) }
		var body io.Reader = strings.NewReader(manifest)
		if chunked {
			body = io.MultiReader(body)
		}
		s.do("PUT", "/v2/a/manifests/v1", body)
		if !settled.Load() {
			t.Error("the client has the answer before the event is committed")
		}
	}
}

// The tag is looked up as for every delete of a tag, and the path is forwarded unchanged.
func TestDeleteByGitLabsPath(t *testing.T) {
	var path string
	a := &asker{before: func(repository, reference string, _ []string) (upstream.Deleted, error) {
		return upstream.Deleted{Digest: digestOf(repository + ":" + reference)}, nil
	}}
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		w.WriteHeader(http.StatusOK)
	}), func(o *Options) { o.Upstreams[0].Asker = a })
	s.do("DELETE", "/v2/group/project/tags/reference/v1", nil)
	if path != "/v2/group/project/tags/reference/v1" || len(s.tracker.settled) != 1 {
		t.Fatalf("%q reached the upstream, %d settled", path, len(s.tracker.settled))
	}
	if f := s.tracker.intended[0].Before; f == nil || f.Digest != digestOf("group/project:v1") {
		t.Errorf("got the look-up %+v", f)
	}
}

func TestDeleteLooksUpFirst(t *testing.T) {
	d := digestOf(manifest)
	a := &asker{before: func(repository, reference string, known []string) (upstream.Deleted, error) {
		if repository != "a" || reference != d || fmt.Sprint(known) != "[v1 v2]" {
			return upstream.Deleted{}, fmt.Errorf("look-up of %s %s %v", repository, reference, known)
		}
		return upstream.Deleted{Digest: d, Size: 7, Tags: []string{"v1"}, TagsComplete: true, Body: []byte(manifest)}, nil
	}}
	s := newStand(t, http.HandlerFunc(registry), func(o *Options) { o.Upstreams[0].Asker = a })
	s.tracker.tags, s.tracker.indexed = []string{"v1", "v2"}, true
	res, _ := s.do("DELETE", "/v2/a/manifests/"+d, nil, "Authorization", "Basic YTpi")
	if res.StatusCode != 202 || len(s.tracker.settled) != 1 {
		t.Fatalf("got the status %d", res.StatusCode)
	}
	found := s.tracker.intended[0].Before
	if found == nil || found.Digest != d || found.Size != 7 || !found.TagsComplete || string(found.Manifest) != manifest {
		t.Errorf("got the look-up %+v", found)
	}
	s.tracker.sized, s.tracker.indexed = true, false
	s.do("DELETE", "/v2/a/manifests/"+d, nil)
	if s.tracker.intended[1].Before.TagsComplete {
		t.Error("the tags are complete, in a repository that bellbuoy has never read")
	}
	if a.bodies != 1 {
		t.Errorf("%d look-ups read the manifest", a.bodies)
	}
	if a.askedAs[0].Authorization != "Basic YTpi" || a.askedAs[0].Own {
		t.Errorf("looked up as %+v", a.askedAs)
	}
}

func TestPutLooksUpTheEarlierManifest(t *testing.T) {
	a := &asker{head: func(string, string) (upstream.Manifest, error) { return upstream.Manifest{Digest: "sha256:old"}, nil }}
	s := newStand(t, http.HandlerFunc(registry), func(o *Options) { o.Upstreams[0].Asker = a })
	s.tracker.standing = map[string]string{"a:known": "sha256:x"}
	s.do("PUT", "/v2/a/manifests/v1", strings.NewReader(manifest))
	s.do("PUT", "/v2/a/manifests/known", strings.NewReader(manifest))
	s.do("PUT", "/v2/a/manifests/"+digestOf(manifest), strings.NewReader(manifest))
	a.head = nil
	s.do("PUT", "/v2/a/manifests/new", strings.NewReader(manifest))
	in := s.tracker.intended
	if in[0].Before == nil || in[0].Before.Digest != "sha256:old" || in[1].Before != nil || in[2].Before != nil {
		t.Errorf("got the earlier manifests %+v, %+v, %+v", in[0].Before, in[1].Before, in[2].Before)
	}
	if in[3].Before == nil || !in[3].Before.Absent {
		t.Errorf("got the earlier manifest %+v", in[3].Before)
	}
}

func TestOutcomes(t *testing.T) {
	for _, c := range []struct {
		status        int
		settled, left int
	}{{201, 1, 0}, {202, 1, 0}, {307, 1, 0}, {401, 1, 0}, {404, 1, 0}, {500, 0, 1}, {503, 0, 1}} {
		s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(c.status)
			_, _ = io.WriteString(w, `{"errors":[]}`)
		}), nil)
		res, body := s.do("PUT", "/v2/a/manifests/v1", strings.NewReader(manifest))
		if res.StatusCode != c.status || body != `{"errors":[]}` || len(s.tracker.settled) != c.settled || s.tracker.leftOpen != c.left {
			t.Errorf("%d: got %d %q, settled %d, left %d", c.status, res.StatusCode, body, len(s.tracker.settled), s.tracker.leftOpen)
		}
		if c.status == 404 && string(s.tracker.settled[0].Got.Bytes) != `{"errors":[]}` {
			t.Errorf("the upstream's answer is missing: %+v", s.tracker.settled[0].Got)
		}
	}
}

func TestUpstreamResets(t *testing.T) {
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		panic(http.ErrAbortHandler)
	}), nil)
	res, body := s.do("PUT", "/v2/a/manifests/v1", strings.NewReader(manifest))
	if res.StatusCode != 502 || s.tracker.leftOpen != 1 || !strings.Contains(body, "UNAVAILABLE") {
		t.Errorf("got %d %s, left %d", res.StatusCode, body, s.tracker.leftOpen)
	}
}

func TestStoreFails(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		var taken atomic.Int32
		s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if _, err := io.Copy(io.Discard, r.Body); err == nil {
				taken.Add(1)
			}
			w.WriteHeader(201)
		}), func(o *Options) { o.Refuse = refuse })
		s.tracker.intendErr = fmt.Errorf("committing: %w", detect.ErrStore)
		statuses := ""
		for _, r := range []struct {
			method string
			body   io.Reader
		}{{"PUT", strings.NewReader(manifest)}, {"PUT", io.MultiReader(strings.NewReader(manifest))}, {"DELETE", nil}} {
			res, _ := s.do(r.method, "/v2/a/manifests/v1", r.body)
			statuses += fmt.Sprint(res.StatusCode, " ")
			if refuse && res.Header.Get("Retry-After") == "" {
				t.Error("no Retry-After")
			}
		}
		if !refuse && (statuses != "201 201 201 " || taken.Load() != 3 || len(s.tracker.settled) != 3) {
			t.Errorf("pass: %s, %d taken", statuses, taken.Load())
		}
		if refuse && (statuses != "503 503 503 " || taken.Load() != 0 || s.tracker.dropped != 3) {
			t.Errorf("refuse: %s, %d taken, %d dropped", statuses, taken.Load(), s.tracker.dropped)
		}
	}
}

func TestWritesWhileTheStoreIsDown(t *testing.T) {
	var asked atomic.Int32
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked.Add(1) }), func(o *Options) {
		o.Refuse = true
		o.StoreHealthy = func() error { return errors.New("disk full") }
	})
	res, body := s.do("PUT", "/v2/a/manifests/v1", strings.NewReader(manifest))
	if res.StatusCode != 503 || asked.Load() != 0 || len(s.tracker.intended) != 0 || strings.Contains(body, "disk") {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	if res, _ := s.do("GET", "/v2/a/manifests/v1", nil); res.StatusCode != 200 {
		t.Errorf("a read got %d", res.StatusCode)
	}
}

func TestClientBreaksOff(t *testing.T) {
	for _, head := range []string{"Content-Length: 1000\r\n\r\n12345", "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"} {
		began, broke := make(chan struct{}), make(chan error)
		s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			close(began)
			_, err := io.Copy(io.Discard, r.Body)
			broke <- err
		}), nil)
		c := s.dial()
		fmt.Fprintf(c, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\n%s", head)
		<-began
		c.Close()
		if err := <-broke; err == nil {
			t.Error("the upstream got a clean end")
		}
		if len(s.tracker.intended) != 0 {
			t.Error("an intent for half a manifest")
		}
	}
}

// When a client disconnects after it has sent everything, the write continues.
func TestClientVanishes(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(entered)
		<-release
		if r.Context().Err() != nil {
			t.Error("the upstream's request was cancelled")
		}
		w.WriteHeader(201)
	}), nil)
	c := s.dial()
	fmt.Fprintf(c, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(manifest), manifest)
	<-entered
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	time.Sleep(20 * time.Millisecond) // the server notices
	close(release)
	s.tracker.wait("the event", func() bool { return len(s.tracker.settled) == 1 })
	s.front.Close() // returns when every handler has returned
	if s.tracker.acknowledged != 0 {
		t.Error("the answer of a client that has disconnected counts as acknowledged")
	}
}

func TestEarlyAnswer(t *testing.T) {
	address := serveRaw(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
			_, _ = io.Copy(io.Discard, c)
		}
	})
	s := newRawStand(t, address, nil)
	c := s.dial()
	defer c.Close()
	fmt.Fprintf(c, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf of it")
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 12)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 401" {
		t.Errorf("got %q, %v", b, err)
	}
	if len(s.tracker.intended) != 0 {
		t.Error("an intent for a refused request")
	}
}

func TestExpectContinue(t *testing.T) {
	s := newStand(t, http.HandlerFunc(registry), nil)
	c := s.dial()
	defer c.Close()
	fmt.Fprintf(c, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: %d\r\n\r\n", len(manifest))
	_ = c.SetReadDeadline(time.Now().Add(patience))
	b := make([]byte, 25)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 100 Continue\r\n\r\n" {
		t.Fatalf("got %q, %v", b, err)
	}
	_, _ = io.WriteString(c, manifest)
	rest, _ := io.ReadAll(c)
	if !strings.HasPrefix(string(rest), "HTTP/1.1 201") || len(s.tracker.settled) != 1 {
		t.Errorf("got %q", rest)
	}
}

func TestWriteTimeout(t *testing.T) {
	release := make(chan struct{})
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-release
	}), func(o *Options) { o.Limits.WriteTimeout = time.Second })
	defer close(release)
	res, _ := s.do("PUT", "/v2/a/manifests/v1", strings.NewReader(manifest))
	if res.StatusCode != 504 || s.tracker.leftOpen != 1 {
		t.Errorf("got %d, left %d", res.StatusCode, s.tracker.leftOpen)
	}
}

// A client that disconnects right after its answer has got the answer.
func TestAnswerOfAClientThatDisconnectsIsAcknowledged(t *testing.T) {
	s := newStand(t, http.HandlerFunc(registry), nil)
	const times = 50
	for range times {
		c := s.dial()
		fmt.Fprintf(c, "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(manifest), manifest)
		if _, err := c.Read(make([]byte, 12)); err != nil {
			t.Fatal(err)
		}
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
	s.front.Close() // returns when every handler has returned
	if s.tracker.acknowledged != times {
		t.Errorf("%d of %d answers count as acknowledged", s.tracker.acknowledged, times)
	}
}
