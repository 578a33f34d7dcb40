package faults

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A kill between the intent of a push and the upstream's commit.
func TestKilledBeforeTheUpstreamCommits(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	for name, arrives := range map[string]bool{"kill/arrives": true, "kill/lost": false} {
		a := harness.NewImage(harness.ImageOptions{})
		harness.PutBlobs(s, s.Buoy.ProxyURL, name, a)
		hold := s.Proxy.Swallow
		if arrives {
			hold = s.Proxy.HoldBefore
		}
		s.Killed(hold(http.MethodPut, name+"/manifests"), func() (*http.Response, error) { return harness.PutManifest(s.Buoy.ProxyURL, name, "v1", a) })
		if arrives {
			s.Expect(name, harness.Pushed(name, a, "v1").AsInferred())
		} else {
			s.Still(name)
			s.Settled()
		}
	}
	s.End()
}

// For every kind of write, a kill between the upstream's commit and bellbuoy's. The client's retry
// adds no second event.
func TestKilledBeforeBellbuoyCommits(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo, a := "kill/after", harness.NewImage(harness.ImageOptions{})
	base := s.Buoy.ProxyURL
	manifest := func(reference string) string { return base + "/v2/" + repo + "/manifests/" + reference }
	remove := func(reference string) func() (*http.Response, error) {
		return func() (*http.Response, error) { return harness.Send(http.MethodDelete, manifest(reference), nil) }
	}

	harness.PutBlobs(s, base, repo, a)
	put := func() (*http.Response, error) { return harness.PutManifest(base, repo, "v1", a) }
	s.Killed(s.Proxy.HoldAfter(http.MethodPut, repo+"/manifests"), put)
	s.Expect(repo, harness.Pushed(repo, a, "v1").AsInferred())
	if resp, err := put(); err != nil || resp.StatusCode != http.StatusCreated { // the client's retry
		t.Fatalf("the client's retry: got %v, %v", resp, err)
	}
	harness.Push(s, base, repo, "v2", a)
	s.Expect(repo, harness.Pushed(repo, a, "v2"))

	s.Killed(s.Proxy.HoldAfter(http.MethodDelete, repo+"/manifests/v2"), remove("v2"))
	s.Expect(repo, harness.Untagged(repo, a, "v2").AsInferred())
	harness.Must(s, http.StatusNotFound, http.MethodDelete, manifest("v2"), nil)
	s.Killed(s.Proxy.HoldAfter(http.MethodDelete, repo+"/manifests/sha256"), remove(a.Digest.String()))
	s.Expect(repo, harness.Deleted(repo, a, "v1").AsInferred())
	harness.Must(s, http.StatusNotFound, http.MethodDelete, manifest(a.Digest.String()), nil)
	s.End()
}

// A tag that moves: bellbuoy is killed after the upstream has committed a push, and the tag moves
// on before bellbuoy runs again.
func TestKilledAndOvertaken(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo := "kill/moved"
	old, lost, next := harness.NewImage(harness.ImageOptions{}), harness.NewImage(harness.ImageOptions{}), harness.NewImage(harness.ImageOptions{})
	harness.Push(s, s.Buoy.ProxyURL, repo, "v1", old)
	s.Expect(repo, harness.Pushed(repo, old, "v1"))
	harness.PutBlobs(s, s.Buoy.ProxyURL, repo, lost)
	p := s.Proxy.HoldAfter(http.MethodPut, repo+"/manifests")
	done := harness.Background(func() { harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", lost) })
	p.Await(t)
	s.Kill9()
	<-done
	p.Release()
	harness.Push(s, s.Direct, repo, "v1", next) // a push that does not go through bellbuoy
	s.Buoy.Start()
	s.Expect(repo, harness.Pushed(repo, lost, "v1").AsInferred().With(func(e *harness.Event) { e.Previous = old.Digest.String() }))
	s.End()
}

// A kill during a push of the manifest that the tag has already. Nothing changed, so there is no
// event.
func TestKilledUnchangedPush(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo, a := "kill/same", harness.NewImage(harness.ImageOptions{})
	harness.Push(s, s.Buoy.ProxyURL, repo, "v1", a)
	s.Expect(repo, harness.Pushed(repo, a, "v1"))
	s.Killed(s.Proxy.HoldAfter(http.MethodPut, repo+"/manifests"), func() (*http.Response, error) { return harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a) })
	s.Settled()
	s.End()
}

// A kill between bellbuoy's commit and the answer to the client. The client has not read the
// answer, and the receiver has not accepted the delivery.
func TestKilledBeforeTheAnswer(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo, a := "kill/unread", harness.NewImage(harness.ImageOptions{})
	harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
	killed := make(chan struct{})
	s.Hooks.Answer("/full", func(http.ResponseWriter, *http.Request) { // a post shows that the event is committed
		s.Kill9()
		s.Hooks.Answer("/full", nil)
		close(killed)
	})
	conn, err := net.Dial("tcp", s.Buoy.Host)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	req, _ := http.NewRequest(http.MethodPut, s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/v1", strings.NewReader(string(a.Manifest)))
	req.Header.Set("Content-Type", a.MediaType)
	if err := req.Write(conn); err != nil {
		t.Fatal(err)
	}
	select { // reads nothing
	case <-killed:
	case <-time.After(harness.Soon):
		t.Fatal("no webhook came")
	}
	s.Buoy.Start()
	s.Expect(repo, harness.Pushed(repo, a, "v1"))
	harness.Eventually(harness.Soon, func() bool { return len(s.Hooks.Posts("/full")) >= 2 })
	posts := s.Hooks.Posts("/full")
	if len(posts) < 2 || posts[0].ID() != posts[1].ID() || string(posts[0].Body) != string(posts[1].Body) {
		t.Errorf("the POST that was cut was not made again, the same")
	}
	s.End()
}

// A kill before the POST: the receiver does not run when the push is acknowledged.
func TestKilledBeforeThePost(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	host := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	b := harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL)+"webhooks: [{name: late, url: \"http://"+host+"/late\", retry: [0s"+strings.Repeat(", 1s", 90)+"]}]\n")
	a := harness.NewImage(harness.ImageOptions{})
	harness.Push(t, b.ProxyURL, "kill/late", "v1", a)
	b.Kill9()
	hooks := harness.ReceiverAt(t, host)
	b.Start()
	if got := hooks.Wait(1, harness.Soon)[0].Text("event_data.resources.0.digest"); got != a.Digest.String() {
		t.Errorf("the webhook got %s", got)
	}
	hooks.Quiet(harness.Strays)
}

// A manifest put by digest waits for its tag across a crash. So does one that no tag follows.
func TestKilledWhileAPushWaits(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	tagged, lone := harness.NewImage(harness.ImageOptions{}), harness.NewImage(harness.ImageOptions{})
	index := harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	harness.Push(s, s.Buoy.ProxyURL, "wait/helm", tagged.Digest.String(), tagged)
	harness.Push(s, s.Buoy.ProxyURL, "wait/lone", lone.Digest.String(), lone)
	for _, child := range index.Children {
		harness.Push(s, s.Buoy.ProxyURL, "wait/index", child.Digest.String(), child)
	}
	s.Kill9()
	s.Buoy.Start()
	harness.Push(s, s.Buoy.ProxyURL, "wait/helm", "v1", tagged)
	harness.Push(s, s.Buoy.ProxyURL, "wait/index", "v1", index)
	s.Expect("wait/helm", harness.Pushed("wait/helm", tagged, "v1"))
	s.Expect("wait/index", harness.Pushed("wait/index", index, "v1"))
	s.Expect("wait/lone", harness.Pushed("wait/lone", lone))
	s.End()
}

// Kills on both sides of ChartMuseum's commit.
func TestKilledCharts(t *testing.T) {
	t.Parallel()
	museum := harness.ChartMuseum(t, harness.ChartMuseumOptions{})
	h := harness.NewFaultProxy(t, museum.URL)
	s := harness.FaultStage{Stage: harness.NewStage(t, harness.ChartUpstream(h.URL)), Proxy: h}
	archive, charts := harness.NewChart("app", "1.0.0", harness.ChartOptions{}), s.Buoy.ProxyURL+"/api/charts"
	upload := func(body []byte) func() (*http.Response, error) {
		return func() (*http.Response, error) { return harness.Send(http.MethodPost, charts, body) }
	}
	repo := "library/app"
	s.Killed(h.Swallow(http.MethodPost, "/api/charts"), upload(archive))
	s.Settled()
	s.Killed(h.HoldAfter(http.MethodPost, "/api/charts"), upload(archive))
	s.Expect(repo, harness.Charted("UPLOAD_CHART", "", "app", "1.0.0", archive).AsInferred())
	harness.Must(s, http.StatusConflict, http.MethodPost, charts, archive) // the client's retry
	s.Killed(h.HoldAfter(http.MethodDelete, "/api/charts/app"), func() (*http.Response, error) { return harness.Send(http.MethodDelete, charts+"/app/1.0.0", nil) })
	s.Expect(repo, harness.Charted("DELETE_CHART", "", "app", "1.0.0", archive).AsInferred())
	harness.Must(s, http.StatusNotFound, http.MethodDelete, charts+"/app/1.0.0", nil)
	s.End()
}

// A kill in front of a registry that requires a login. With credentials bellbuoy looks up the
// outcome of the push. Without, it warns at its start and keeps the intent open until the client's
// retry settles it. In both cases there is one event.
func TestKilledBehindALogin(t *testing.T) {
	t.Parallel()
	for name, credentials := range map[string]string{"with": ", credentials: {username: ann, password: pw}", "without": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := harness.Registry(t, harness.RegistryOptions{Delete: true, Htpasswd: harness.Users})
			h := harness.NewFaultProxy(t, registry.URL)
			s := harness.FaultStage{Stage: harness.NewStage(t, harness.RegistryUpstream(h.URL, credentials)), Proxy: h, Registry: registry}
			ann, repo, a := harness.Login{User: "ann", Password: "pw"}.Header(), "login/app", harness.NewImage(harness.ImageOptions{})
			harness.Push(s, s.Buoy.ProxyURL, repo, "v0", a, ann...)
			s.Expect(repo, harness.Pushed(repo, a, "v0").By("ann"))
			put := func() (*http.Response, error) { return harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a, ann...) }
			s.Killed(h.HoldAfter(http.MethodPut, repo+"/manifests"), put)
			want := harness.Pushed(repo, a, "v1").By("ann")
			if credentials != "" {
				s.Expect(repo, want.AsInferred())
			} else {
				s.Buoy.WaitLog("asks for a login", harness.Soon)
			}
			if resp, err := put(); err != nil || resp.StatusCode != http.StatusCreated {
				t.Fatalf("push: got %v, %v", resp, err)
			}
			if credentials == "" {
				s.Expect(repo, want)
			}
			s.Settled()
			s.End()
		})
	}
}
