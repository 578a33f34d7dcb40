package replay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Options choose how recordings are played.
type Options struct {
	Untagged, Pull time.Duration // correlation.untagged_push and correlation.pull
	Config         string        // further configuration
	AtOnce         int           // scenarios at a time; 0: 150
}

// Played is the result of a scenario.
type Played struct {
	*Scenario
	Plain    []format.BellbuoyEvent // at the webhook without manifest_reads
	Reads    []format.BellbuoyEvent // at the webhook with it
	Troubles []string               // answers that differ from the upstream's
	Asked    []string               // bellbuoy's own look-ups
}

// Play plays scenarios through one bellbuoy, and waits until all their webhooks are delivered.
func Play(t harness.T, all []Scenario, o Options) []*Played {
	t.Helper()
	hooks := newSink(t)
	players, upstreams := make([]*player, len(all)), make([]*upstream, len(all))
	var config strings.Builder
	fmt.Fprintf(&config, "correlation: {untagged_push: %s, pull: %s}\nupstreams:\n", o.Untagged, o.Pull)
	for i := range all {
		s := &all[i]
		turns := newTurns(s.Lines)
		upstreams[i] = newUpstream(s, turns)
		t.Cleanup(upstreams[i].srv.Close)
		players[i] = &player{s: s, turns: turns, host: fmt.Sprintf("s%d.replay.test", i), addresses: addressesOf(i, s)}
		kind := "registry"
		if s.Charts() {
			kind = "chartmuseum"
		}
		fmt.Fprintf(&config, "  - {name: s%d, type: %s, url: %q, hosts: [%s], external_url: 'http://%s', path_prefix: %q}\n",
			i, kind, upstreams[i].srv.URL, players[i].host, players[i].host, s.Prefix())
	}
	fmt.Fprintf(&config, "webhooks:\n  - {name: plain, url: %q, format: bellbuoy, events: ['*'], order: none, concurrency: 32}\n", hooks.URL("/plain"))
	fmt.Fprintf(&config, "  - {name: reads, url: %q, format: bellbuoy, events: ['*'], manifest_reads: true, order: none, concurrency: 32}\n", hooks.URL("/reads"))
	buoy := harness.Bellbuoy(t, config.String()+"log: {level: warn}\n"+o.Config)

	atOnce := make(chan struct{}, cmp.Or(o.AtOnce, 150))
	var running sync.WaitGroup
	for _, p := range players {
		atOnce <- struct{}{}
		running.Go(func() {
			p.proxy = buoy.Host
			p.play(t.Context())
			<-atOnce
		})
		time.Sleep(10 * time.Millisecond) // not all at the same time
	}
	running.Wait()
	settle(t, buoy, hooks, max(o.Untagged, o.Pull))

	played := make([]*Played, len(all))
	for i := range all {
		played[i] = &Played{Scenario: &all[i], Troubles: players[i].troubles, Asked: upstreams[i].asked}
	}
	deal(t, hooks, played)
	return played
}

// addressesOf gives each client of the n-th scenario a loopback address of its own; the keys are
// the recorded ones. bellbuoy limits the look-ups of one address, and scenarios that were recorded
// one after the other are played at once.
func addressesOf(n int, s *Scenario) map[string]string {
	found := map[string]string{}
	for i := range s.Lines {
		recorded := s.Lines[i].address()
		if _, ok := found[recorded]; !ok {
			found[recorded] = fmt.Sprintf("127.%d.%d.%d", 16+n/250, n%250, 1+len(found))
		}
	}
	return found
}

// settle waits until no event is delayed and every webhook is delivered.
func settle(t harness.T, buoy *harness.Buoy, hooks *sink, quiet time.Duration) {
	t.Helper()
	time.Sleep(quiet + 2*time.Second)
	deadline := time.Now().Add(2 * time.Minute)
	var waiting []string
	for n := -1; time.Now().Before(deadline); time.Sleep(time.Second) {
		if now := hooks.len(); now != n {
			n = now
			continue
		}
		if waiting = pending(buoy.Metrics()); len(waiting) > 0 {
			continue
		}
		return
	}
	t.Errorf("webhooks still arrive, or are still pending: %d have come; %s", hooks.len(), strings.Join(waiting, ", "))
}

// pending returns the metrics that count waiting deliveries or intents and are not 0.
func pending(metrics string) (waiting []string) {
	for line := range strings.Lines(metrics) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		waits := strings.HasPrefix(name, "bellbuoy_pending_deliveries") || strings.HasPrefix(name, "bellbuoy_open_intents")
		if waits && value != "0" {
			waiting = append(waiting, strings.TrimSpace(line))
		}
	}
	return waiting
}

// deal assigns the webhooks to their scenarios, each once.
func deal(t harness.T, hooks *sink, played []*Played) {
	t.Helper()
	hooks.mu.Lock()
	defer hooks.mu.Unlock()
	for id, body := range hooks.posts {
		var e format.BellbuoyEvent
		if err := json.Unmarshal(body, &e); err != nil {
			t.Errorf("a webhook that cannot be read: %v\n%s", err, body)
			continue
		}
		var i int
		if _, err := fmt.Sscanf(e.Upstream, "s%d", &i); err != nil || i >= len(played) {
			t.Errorf("got a webhook of an unknown upstream: %s", body)
			continue
		}
		if strings.HasPrefix(id, "/plain") {
			played[i].Plain = append(played[i].Plain, e)
		} else {
			played[i].Reads = append(played[i].Reads, e)
		}
	}
}

// sink records the webhooks that arrive, by path and webhook-id.
type sink struct {
	*harness.Receiver

	mu    sync.Mutex
	posts map[string][]byte
}

func newSink(t harness.T) *sink {
	s := &sink{Receiver: harness.NewReceiver(t), posts: map[string][]byte{}}
	s.Each(s.post)
	return s
}

func (s *sink) post(_ http.ResponseWriter, _ *http.Request, p harness.Post) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.posts[p.Path+" "+p.ID()] = p.Body
}

func (s *sink) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.posts)
}
