// Package soak lets many real clients work through bellbuoy for a long time, while receivers fail
// in many ways and the configuration is reloaded again and again. At the end no client has seen an
// error, memory and goroutines have not grown, and exactly the events that the clients caused have
// arrived, each once.
//
// BELLBUOY_SOAK is the duration (default 60s); `make soak` runs half an hour.
package soak

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

func length(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("BELLBUOY_SOAK")
	if text == "" {
		return time.Minute
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("BELLBUOY_SOAK: %v", err)
	}
	return d
}

func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("needs real parts and a minute, which -short leaves out")
	}
	long := length(t)
	s := newScene(t)
	samples := s.observe(t)
	ctx, cancel := context.WithTimeout(t.Context(), long)
	defer cancel()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() { s.keepDoing(ctx, t, c) })
	}
	wg.Go(func() { s.keepReloading(ctx, max(5*time.Second, min(time.Minute, long/12))) })
	wg.Wait()
	s.settle(t)
	s.checkLedger(t)
	flat(t, samples(), long)
	s.checkReturn(t)
}

// scene has everything that runs.
type scene struct {
	registry *harness.RegistryServer
	charts   *harness.ChartMuseumServer
	hooks    *receivers
	buoy     *harness.Buoy
	ledger   *ledger

	generation int // of the configuration
	baseline   sample
}

func newScene(t *testing.T) *scene {
	t.Helper()
	for _, name := range []string{"crane", "skopeo", "oras", "helm3", "wrk"} {
		harness.Part(t, name) // builds a missing part here, in the goroutine of the test
	}
	s := &scene{
		registry: harness.Registry(t, harness.RegistryOptions{Delete: true}), charts: harness.ChartMuseum(t, harness.ChartMuseumOptions{}),
		hooks: newReceivers(t), ledger: newLedger(),
	}
	s.buoy = harness.Bellbuoy(t, s.config())
	s.baseline = s.sample(t)
	return s
}

// config returns the next generation of the configuration. The good webhooks stay and send its
// number in a header; some of the bad ones come and go.
func (s *scene) config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "log: {level: warn}\nlimits: {idle: 5s}\nupstreams:\n  - {type: registry, url: %q}\n  - {type: chartmuseum, url: %q}\nwebhooks:\n", s.registry.URL, s.charts.URL)
	for _, name := range goodHooks {
		fmt.Fprintf(&b, "  - {name: %s, url: %q, events: [\"*\"], format: bellbuoy, headers: {X-Generation: \"%d\"}, retry: %s}\n",
			name, s.hooks.url(name), s.generation, quickRetries)
	}
	for i, name := range badHooks {
		if (s.generation+i)%3 == 0 {
			continue
		}
		fmt.Fprintf(&b, "  - {name: %s, url: %q, events: [\"*\"], timeout: 2s, concurrency: %d}\n", name, s.hooks.url(name), 1+s.generation%8)
	}
	return b.String()
}

// quickRetries is a schedule of short waits that lasts longer than the test.
const quickRetries = "[0s, 100ms, 200ms, 500ms, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s, 1s]"

func (s *scene) keepReloading(ctx context.Context, every time.Duration) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(every):
			s.generation++
			s.buoy.Reload(s.config())
		}
	}
}

// keepDoing runs the rounds of a client until ctx ends; it finishes the last one. An error of a
// client fails the test.
func (s *scene) keepDoing(ctx context.Context, t *testing.T, c client) {
	w := c.start(t, s)
	rounds := 0
	for ctx.Err() == nil && !t.Failed() {
		if err := w(rounds); err != nil {
			t.Errorf("client %s, round %d: %v", c.name, rounds, err)
		}
		rounds++
	}
	t.Logf("client %s: %d rounds", c.name, rounds)
}

// settle waits until the good webhooks have got all events.
func (s *scene) settle(t *testing.T) {
	t.Helper()
	const patience = 3 * time.Minute
	deadline := time.Now().Add(patience)
	for {
		missing := s.missing()
		if missing == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("%d webhooks are missing after %v", missing, patience)
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (s *scene) missing() int {
	n := 0
	for _, name := range goodHooks {
		n += len(s.ledger.missing(s.hooks.events(name)))
	}
	return n
}

// checkLedger compares the events that arrived with the operations.
func (s *scene) checkLedger(t *testing.T) {
	t.Helper()
	for _, name := range goodHooks {
		arrived := s.hooks.events(name)
		for _, line := range s.ledger.missing(arrived) {
			t.Errorf("%s: missing the event %s", name, line)
		}
		for _, line := range s.ledger.extra(arrived) {
			t.Errorf("%s: got an event without an operation: %s", name, line)
		}
		t.Logf("%s: %d events, %d posts", name, len(arrived), s.hooks.posts(name))
	}
	if got := s.hooks.generation(goodHooks[0]); got < s.generation-1 {
		t.Errorf("the last webhooks are of generation %d of the configuration, which is at %d", got, s.generation)
	}
	if s.generation == 0 {
		t.Error("nothing was reloaded")
	}
}

// newHTTPClient returns an HTTP client with connections of its own.
func newHTTPClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 16}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 5 * time.Minute}
}
