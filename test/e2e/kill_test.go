package e2e

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A faultStage has a hinge between bellbuoy and its upstream.
type faultStage struct {
	*stage
	hinge    *hinge
	registry *harness.RegistryServer // nil where the upstream is none
}

func faultyRegistry(t *testing.T, more ...string) faultStage {
	t.Helper()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	h := newHinge(t, registry.URL)
	s := newStage(t, registryUpstream(h.URL)+strings.Join(more, ""))
	s.direct = registry.URL
	return faultStage{s, h, registry}
}

// kill9 kills bellbuoy; whatever is in flight is cut.
func (s faultStage) kill9() { s.buoy.Kill9() }

// background runs a request whose answer does not matter, or may never come.
func background(do func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	return done
}

// killed runs a write to a point, kills bellbuoy there, lets the upstream go on, and starts bellbuoy again.
func (s faultStage) killed(p *point, write func() (*http.Response, error)) {
	s.Helper()
	done := background(func() { write() })
	p.await(s)
	s.kill9()
	<-done // cut
	p.Release()
	s.buoy.Start()
}

// A push: killed between the intent and the upstream's commit.
func TestKilledBeforeTheUpstreamCommits(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	for name, arrives := range map[string]bool{"kill/arrives": true, "kill/lost": false} {
		a := harness.NewImage(harness.ImageOptions{})
		putBlobs(s, s.buoy.ProxyURL, name, a)
		hold := s.hinge.swallow
		if arrives {
			hold = s.hinge.holdBefore
		}
		s.killed(hold(http.MethodPut, name+"/manifests"), func() (*http.Response, error) { return putManifest(s.buoy.ProxyURL, name, "v1", a) })
		if arrives {
			s.expect(name, pushed(name, a, "v1").inferred())
		} else {
			s.still(name)
			s.settled()
		}
	}
	s.end()
}

// settled waits until no outcome is unknown any more.
func (s faultStage) settled() {
	s.Helper()
	if !harness.Eventually(soon, func() bool { return s.buoy.Metric("bellbuoy_open_intents") == 0 }) {
		s.Fatalf("%v intents are still open", s.buoy.Metric("bellbuoy_open_intents"))
	}
}

// Every write: killed between the upstream's commit and ours. A retry of the client joins what is told.
func TestKilledBeforeOurCommit(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	repo, a := "kill/after", harness.NewImage(harness.ImageOptions{})
	base := s.buoy.ProxyURL
	manifest := func(reference string) string { return base + "/v2/" + repo + "/manifests/" + reference }
	remove := func(reference string) func() (*http.Response, error) {
		return func() (*http.Response, error) { return send(http.MethodDelete, manifest(reference), nil) }
	}

	putBlobs(s, base, repo, a)
	put := func() (*http.Response, error) { return putManifest(base, repo, "v1", a) }
	s.killed(s.hinge.holdAfter(http.MethodPut, repo+"/manifests"), put)
	s.expect(repo, pushed(repo, a, "v1").inferred())
	if resp, err := put(); err != nil || resp.StatusCode != http.StatusCreated { // the client's retry
		t.Fatalf("%v %v", resp, err)
	}
	push(s, base, repo, "v2", a)
	s.expect(repo, pushed(repo, a, "v2"))

	s.killed(s.hinge.holdAfter(http.MethodDelete, repo+"/manifests/v2"), remove("v2"))
	s.expect(repo, untagged(repo, a, "v2").inferred())
	must(s, http.StatusNotFound, http.MethodDelete, manifest("v2"), nil)
	s.killed(s.hinge.holdAfter(http.MethodDelete, repo+"/manifests/sha256"), remove(a.Digest.String()))
	s.expect(repo, deleted(repo, a, "v1").inferred())
	must(s, http.StatusNotFound, http.MethodDelete, manifest(a.Digest.String()), nil)
	s.end()
}

// A tag that moves: the client's push is killed after the upstream's commit, and the tag moves on before bellbuoy is back.
func TestKilledAndOvertaken(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	repo := "kill/moved"
	old, lost, next := harness.NewImage(harness.ImageOptions{}), harness.NewImage(harness.ImageOptions{}), harness.NewImage(harness.ImageOptions{})
	push(s, s.buoy.ProxyURL, repo, "v1", old)
	s.expect(repo, pushed(repo, old, "v1"))
	putBlobs(s, s.buoy.ProxyURL, repo, lost)
	p := s.hinge.holdAfter(http.MethodPut, repo+"/manifests")
	done := background(func() { putManifest(s.buoy.ProxyURL, repo, "v1", lost) })
	p.await(t)
	s.kill9()
	<-done
	p.Release()
	push(s, s.direct, repo, "v1", next) // by somebody who goes around
	s.buoy.Start()
	s.expect(repo, pushed(repo, lost, "v1").inferred().with(func(e *event) { e.Previous = old.Digest.String() }))
	s.end()
}

// A push of what stood there already, killed: nothing changed, and nothing is told.
func TestKilledUnchangedPush(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	repo, a := "kill/same", harness.NewImage(harness.ImageOptions{})
	push(s, s.buoy.ProxyURL, repo, "v1", a)
	s.expect(repo, pushed(repo, a, "v1"))
	s.killed(s.hinge.holdAfter(http.MethodPut, repo+"/manifests"), func() (*http.Response, error) { return putManifest(s.buoy.ProxyURL, repo, "v1", a) })
	s.settled()
	s.end()
}

// Killed between our commit and the client's answer: the client did not read on, and the webhook has not been taken by its receiver yet.
func TestKilledBeforeTheClientsAnswer(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	repo, a := "kill/unread", harness.NewImage(harness.ImageOptions{})
	putBlobs(s, s.buoy.ProxyURL, repo, a)
	killed := make(chan struct{})
	s.hooks.Answer("/full", func(http.ResponseWriter, *http.Request) { // the event is committed as soon as this comes
		s.kill9()
		s.hooks.Answer("/full", nil)
		close(killed)
	})
	conn, err := net.Dial("tcp", s.buoy.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req, _ := http.NewRequest(http.MethodPut, s.buoy.ProxyURL+"/v2/"+repo+"/manifests/v1", strings.NewReader(string(a.Manifest)))
	req.Header.Set("Content-Type", a.MediaType)
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	select { // and reads nothing
	case <-killed:
	case <-time.After(soon):
		t.Fatal("no webhook came")
	}
	s.buoy.Start()
	s.expect(repo, pushed(repo, a, "v1"))
	harness.Eventually(soon, func() bool { return len(s.hooks.Posts("/full")) >= 2 })
	posts := s.hooks.Posts("/full")
	if len(posts) < 2 || posts[0].ID() != posts[1].ID() || string(posts[0].Body) != string(posts[1].Body) {
		t.Errorf("the POST that was cut was not made again, the same")
	}
	s.end()
}

// Killed before the POST: the receiver is not there when the push is acknowledged.
func TestKilledBeforeThePost(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	receiver := newLateReceiver(t)
	b := harness.Bellbuoy(t, registryUpstream(registry.URL)+"webhooks: [{name: late, url: "+receiver.url+", retry: [0s"+strings.Repeat(", 1s", 90)+"]}]\n")
	a, digest := harness.NewImage(harness.ImageOptions{}), make(chan string, 10)
	push(t, b.ProxyURL, "kill/late", "v1", a)
	b.Kill9()
	receiver.open(t, func(p harness.Post) { digest <- p.Text("event_data.resources.0.digest") })
	b.Start()
	select {
	case got := <-digest:
		if got != a.Digest.String() {
			t.Errorf("the webhook tells of %s", got)
		}
	case <-time.After(soon):
		t.Fatal("no webhook came")
	}
	time.Sleep(quiet)
	if len(digest) > 0 {
		t.Errorf("%d webhooks more", len(digest))
	}
}

// A manifest put by digest waits for its tag across a crash; and so does one that no tag follows.
func TestKilledWhileAPushWaits(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	tagged, lone := harness.NewImage(harness.ImageOptions{}), harness.NewImage(harness.ImageOptions{})
	index := harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	push(s, s.buoy.ProxyURL, "wait/helm", tagged.Digest.String(), tagged)
	push(s, s.buoy.ProxyURL, "wait/lone", lone.Digest.String(), lone)
	for _, child := range index.Children {
		push(s, s.buoy.ProxyURL, "wait/index", child.Digest.String(), child)
	}
	s.kill9()
	s.buoy.Start()
	push(s, s.buoy.ProxyURL, "wait/helm", "v1", tagged)
	push(s, s.buoy.ProxyURL, "wait/index", "v1", index)
	s.expect("wait/helm", pushed("wait/helm", tagged, "v1"))
	s.expect("wait/index", pushed("wait/index", index, "v1"))
	s.expect("wait/lone", pushed("wait/lone", lone))
	s.end()
}

// Charts: killed on both sides of ChartMuseum's commit.
func TestKilledCharts(t *testing.T) {
	t.Parallel()
	museum := harness.ChartMuseum(t, harness.ChartMuseumOptions{})
	h := newHinge(t, museum.URL)
	s := faultStage{newStage(t, chartUpstream(h.URL)), h, nil}
	archive, charts := harness.NewChart("app", "1.0.0", harness.ChartOptions{}), s.buoy.ProxyURL+"/api/charts"
	upload := func(body []byte) func() (*http.Response, error) {
		return func() (*http.Response, error) { return send(http.MethodPost, charts, body) }
	}
	repo := "library/app"
	s.killed(h.swallow(http.MethodPost, "/api/charts"), upload(archive))
	s.settled()
	s.killed(h.holdAfter(http.MethodPost, "/api/charts"), upload(archive))
	s.expect(repo, charted("UPLOAD_CHART", "", "app", "1.0.0", archive).inferred())
	must(s, http.StatusConflict, http.MethodPost, charts, archive) // the client's retry
	s.killed(h.holdAfter(http.MethodDelete, "/api/charts/app"), func() (*http.Response, error) { return send(http.MethodDelete, charts+"/app/1.0.0", nil) })
	s.expect(repo, charted("DELETE_CHART", "", "app", "1.0.0", archive).inferred())
	must(s, http.StatusNotFound, http.MethodDelete, charts+"/app/1.0.0", nil)
	s.end()
}

// A lateReceiver is an address at which nobody listens yet.
type lateReceiver struct{ url, address string }

func newLateReceiver(t *testing.T) lateReceiver {
	t.Helper()
	address := net.JoinHostPort("127.0.0.1", portOf(t))
	return lateReceiver{"http://" + address, address}
}

func (r lateReceiver) open(t *testing.T, got func(harness.Post)) {
	t.Helper()
	l, err := net.Listen("tcp", r.address)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			got(harness.Post{Path: req.URL.Path, Header: req.Header, Body: body})
		}
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
}
