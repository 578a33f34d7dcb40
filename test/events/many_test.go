package events

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The webhooks of a tag that moves quickly arrive in the order of the pushes.
func TestOrderOfATag(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	const moves = 15
	images := []harness.Artifact{harness.NewImage(harness.ImageOptions{}), harness.NewImage(harness.ImageOptions{})}
	for _, a := range images {
		harness.PutBlobs(s, s.Buoy.ProxyURL, "order/app", a)
	}
	for i := range moves {
		if resp, err := harness.PutManifest(s.Buoy.ProxyURL, "order/app", "v1", images[i%2]); err != nil || resp.StatusCode != http.StatusCreated {
			t.Fatalf("push: got %v, %v", resp, err)
		}
	}
	for i, p := range s.Hooks.WaitAt("/harbor", moves, harness.Soon) {
		if got, want := p.Text("event_data.resources.0.digest"), images[i%2].Digest.String(); got != want {
			t.Errorf("webhook %d: got %s, want %s", i, got, want)
		}
	}
	for i, p := range s.Hooks.WaitAt("/full", moves, harness.Soon) {
		want := images[(i+1)%2].Digest.String()
		if i == 0 {
			want = ""
		}
		if got := p.Text("previous_digest"); got != want {
			t.Errorf("push %d: the tag stood on %q before, want %q", i, got, want)
		}
	}
}

// Many clients push at once, each to tags of its own. Every push has one event.
func TestManyAtOnce(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	s := harness.NewFaultStage(t)
	const clients, each = 24, 8
	a := harness.NewImage(harness.ImageOptions{})
	harness.PutBlobs(s, s.Buoy.ProxyURL, "many/app", a)
	errs := make(chan error, clients)
	for client := range clients {
		go func() {
			for i := range each {
				resp, err := harness.PutManifest(s.Buoy.ProxyURL, "many/app", fmt.Sprintf("c%d-%d", client, i), a)
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
	for _, p := range s.Hooks.WaitAt("/full", clients*each, harness.Soon) {
		counts[p.Text("tags.0")]++
	}
	if len(counts) != clients*each {
		t.Errorf("%d different tags, want %d", len(counts), clients*each)
	}
	s.Hooks.WaitAt("/harbor", clients*each, harness.Soon)
	s.Hooks.Quiet(harness.Strays)
}
