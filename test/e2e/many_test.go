package e2e

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Killed in front of a registry that asks for a login: with credentials bellbuoy finds out what became of the push; without, it says so at
// start, keeps the question open, and the client's retry answers it. Either way there is one event.
func TestKilledBehindALogin(t *testing.T) {
	t.Parallel()
	for name, credentials := range map[string]string{"with": ", credentials: {username: ann, password: pw}", "without": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			registry := harness.Registry(t, harness.RegistryOptions{Delete: true, Htpasswd: users})
			h := newHinge(t, registry.URL)
			s := faultStage{newStage(t, registryUpstream(h.URL, credentials)), h, registry}
			ann, repo, a := login{"ann", "pw"}.header(), "login/app", harness.NewImage(harness.ImageOptions{})
			push(s, s.buoy.ProxyURL, repo, "v0", a, ann...)
			s.expect(repo, pushed(repo, a, "v0").by("ann"))
			put := func() (*http.Response, error) { return putManifest(s.buoy.ProxyURL, repo, "v1", a, ann...) }
			s.killed(h.holdAfter(http.MethodPut, repo+"/manifests"), put)
			want := pushed(repo, a, "v1").by("ann")
			if credentials != "" {
				s.expect(repo, want.inferred())
			} else {
				s.buoy.WaitLog("asks for a login", soon)
			}
			if resp, err := put(); err != nil || resp.StatusCode != http.StatusCreated {
				t.Fatalf("%v %v", resp, err)
			}
			if credentials == "" {
				s.expect(repo, want)
			}
			s.settled()
			s.end()
		})
	}
}

// A tag that moves quickly: its webhooks arrive in the order in which the registry took the pushes.
func TestOrderOfATag(t *testing.T) {
	t.Parallel()
	s := faultyRegistry(t)
	const moves = 15
	images := []harness.Artifact{harness.NewImage(harness.ImageOptions{}), harness.NewImage(harness.ImageOptions{})}
	for _, a := range images {
		putBlobs(s, s.buoy.ProxyURL, "order/app", a)
	}
	for i := range moves {
		if resp, err := putManifest(s.buoy.ProxyURL, "order/app", "v1", images[i%2]); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("%v %v", resp, err)
		}
	}
	for i, p := range s.hooks.WaitAt("/harbor", moves, soon) {
		if got, want := p.Text("event_data.resources.0.digest"), images[i%2].Digest.String(); got != want {
			t.Errorf("webhook %d tells of %s, want %s", i, got, want)
		}
	}
	for i, p := range s.hooks.WaitAt("/full", moves, soon) {
		want := images[(i+1)%2].Digest.String()
		if i == 0 {
			want = ""
		}
		if got := p.Text("previous_digest"); got != want {
			t.Errorf("push %d: the tag stood on %q before, want %q", i, got, want)
		}
	}
}

// Many clients at once, each with a tag of its own: every push rings once.
func TestManyAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	s := faultyRegistry(t)
	const clients, each = 24, 8
	a := harness.NewImage(harness.ImageOptions{})
	putBlobs(s, s.buoy.ProxyURL, "many/app", a)
	errs := make(chan error, clients)
	for client := range clients {
		go func() {
			for i := range each {
				resp, err := putManifest(s.buoy.ProxyURL, "many/app", fmt.Sprintf("c%d-%d", client, i), a)
				if err == nil && resp.StatusCode != http.StatusCreated {
					err = fmt.Errorf("%s", resp.Status)
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
	}
	for range clients {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	counts := map[string]int{}
	for _, p := range s.hooks.WaitAt("/full", clients*each, soon) {
		counts[p.Text("tags.0")]++
	}
	if len(counts) != clients*each {
		t.Errorf("%d different tags, want %d", len(counts), clients*each)
	}
	s.hooks.WaitAt("/harbor", clients*each, soon)
	s.hooks.Quiet(quiet)
}
