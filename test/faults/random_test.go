package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// bellbuoy is killed again and again while clients push and delete. Every tag whose push was
// acknowledged has exactly one push event with changed, and one delete. (TestChaos is the long
// version of this.)
func TestKilledAtRandom(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	s := harness.NewFaultStage(t)
	killAtRandom(s, "bellbuoy", &s.Buoy.Daemon)
}

// The same, but the registry is killed.
func TestRegistryKilledAtRandom(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	t.Parallel()
	s := harness.NewFaultStage(t)
	killAtRandom(s, "registry", &s.Registry.Daemon)
}

func killAtRandom(s harness.FaultStage, what string, victim *harness.Daemon) {
	s.Helper()
	const clients, each = 4, 12
	base := harness.NewImage(harness.ImageOptions{})
	for client := range clients {
		harness.PutBlobs(s, s.Buoy.ProxyURL, fmt.Sprintf(what+"/c%d", client), base)
	}
	var working sync.WaitGroup
	for client := range clients {
		working.Go(func() { persist(s, fmt.Sprintf(what+"/c%d", client), base, each) })
	}
	done := harness.Background(working.Wait)
	for kills := 1; kills > 0; {
		select {
		case <-done:
			kills = 0
		case <-time.After(time.Duration(150+rand.IntN(400)) * time.Millisecond):
			victim.Kill()
			victim.StartOnly()
			// Only every other start may be killed before bellbuoy is ready. Otherwise
			// nothing would ever be done.
			if kills++; kills%2 == 0 {
				if err := victim.WaitReady(harness.Soon); err != nil {
					s.Error(err)
				}
			}
		}
	}
	for _, d := range []*harness.Daemon{&s.Buoy.Daemon, &s.Registry.Daemon} {
		if err := d.WaitReady(harness.Soon); err != nil {
			s.Fatal(err)
		}
	}
	s.Settled()
	for client := range clients {
		repo := fmt.Sprintf(what+"/c%d", client)
		harness.Eventually(harness.Soon, func() bool { full, _ := s.Arrived(repo); return len(full) >= 2*each })
	}
	time.Sleep(time.Second) // for unexpected events
	for client := range clients {
		repo := fmt.Sprintf(what+"/c%d", client)
		onceEach(s, repo, base, each)
	}
}

// persist pushes tags and deletes them, each until it is acknowledged, as patient clients do.
func persist(s harness.FaultStage, repo string, a harness.Artifact, n int) {
	for i := range n {
		tag := fmt.Sprintf("t%d", i)
		until(s, "PUT "+tag, func() (*http.Response, error) { return harness.PutManifest(s.Buoy.ProxyURL, repo, tag, a) }, http.StatusCreated)
		// after a 404, an earlier try has deleted it
		until(s, "DELETE "+tag, func() (*http.Response, error) {
			return harness.Send(http.MethodDelete, s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/"+tag, nil)
		}, http.StatusAccepted, http.StatusNotFound)
	}
}

func until(s harness.FaultStage, what string, do func() (*http.Response, error), statuses ...int) {
	for deadline := time.Now().Add(2 * time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		resp, err := do()
		if err != nil {
			continue
		}
		for _, status := range statuses {
			if resp.StatusCode == status {
				return
			}
		}
	}
	s.Errorf("%s was never acknowledged", what)
}

func onceEach(s harness.FaultStage, repo string, a harness.Artifact, n int) {
	s.Helper()
	full, _ := s.Arrived(repo)
	counts := map[string]int{}
	for _, e := range full {
		if e.Changed != nil && !*e.Changed {
			continue // killed between the commit and the answer: for bellbuoy the client's retry is another push of the same manifest
		}
		for _, tag := range e.Tags {
			counts[e.Type+" "+tag]++
		}
		if e.Digest != a.Digest.String() {
			s.Errorf("%s of %s%v is of digest %q", e.Type, repo, e.Tags, e.Digest)
		}
	}
	for i := range n {
		for _, kind := range []string{"PUSH_ARTIFACT", "DELETE_TAG"} {
			what := fmt.Sprintf("%s t%d", kind, i)
			if counts[what] != 1 {
				s.Errorf("%s: %d events %s, want 1", repo, counts[what], what)
			}
			delete(counts, what)
		}
	}
	for what := range counts {
		s.Errorf("%s: an event %s that nobody caused", repo, what)
	}
}
