package faults

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// length returns the duration of one of the two long tests.
func length(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("BELLBUOY_CHAOS")
	if text == "" {
		return 12 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("BELLBUOY_CHAOS: %v", err)
	}
	return d / 2
}

// TestMain runs more tests at once than there are processors, because they mostly wait.
func TestMain(m *testing.M) {
	flag.Parse()
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err) // cannot happen: there is such a flag
	}
	os.Exit(m.Run())
}

func short(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the real binary for a while, which -short leaves out")
	}
}

const (
	memoryHost   = "memory.test"
	registryHost = "registry.test"
	workers      = 5
)

// scene is one run of a long test.
type scene struct {
	t        *testing.T
	memory   *gateway // a registry in this process
	charts   *gateway // a ChartMuseum in this process
	real     *gateway // in front of a real registry
	registry *harness.RegistryServer
	hooks    *hooks
	keepers  []*keeper
	deeds    *deeds

	intents                                 func() int  // counts the intents in a database that replicas share, also those of killed replicas
	outages                                 []time.Time // of that database
	upstreamKills, diskFills, databaseKills atomic.Int64
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, intents: func() int { return 0 }, registry: harness.Registry(t, harness.RegistryOptions{Delete: true}), hooks: newHooks(t), deeds: &deeds{}}
	s.memory, s.charts, s.real = newGateway(t, newShelf()), newGateway(t, newShelf()), newGatewayTo(t, s.registry.URL)
	return s
}

// config is the configuration of bellbuoy, with on_failure: refuse, so that no acknowledged write
// may lose its event when the disk fails.
func (s *scene) config(more string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "log: {level: warn}\nlimits: {write_timeout: 700ms, upstream_connect: 1s}\nstore: {on_failure: refuse}\n%s\nupstreams:\n", more)
	fmt.Fprintf(&b, "  - {name: memory, type: registry, url: %q, hosts: [%s]}\n", s.memory.URL, memoryHost)
	fmt.Fprintf(&b, "  - {name: real, type: registry, url: %q, hosts: [%s]}\n", s.real.URL, registryHost)
	fmt.Fprintf(&b, "  - {name: charts, type: chartmuseum, url: %q, hosts: [%s]}\nwebhooks:\n", s.charts.URL, museumHost)
	for _, name := range hookNames {
		order := map[string]string{"strict": "repository", "flaky": "none"}[name]
		if order == "" {
			order = "tag"
		}
		fmt.Fprintf(&b, "  - {name: %s, url: %q, events: [\"*\"], format: bellbuoy, order: %s, timeout: 3s, retry: %s}\n",
			name, s.hooks.URL("/"+name), order, patient)
	}
	return b.String()
}

// patient is a schedule of retries that lasts longer than any series of failures, and than a
// circuit that stays open for minutes.
var patient = "[0s" + strings.Repeat(", 100ms", 5) + strings.Repeat(", 500ms", 54) + strings.Repeat(", 5m", 40) + "]"

// launch starts one bellbuoy.
func (s *scene) launch(opts harness.BuoyOptions, more string) *keeper {
	s.t.Helper()
	k := &keeper{t: s.t, buoy: harness.BellbuoyWith(s.t, opts, s.config(more))}
	s.keepers = append(s.keepers, k)
	return k
}

// play lets the workers work while failures happen at random. Then it ends the failures and waits
// until nothing is pending.
func (s *scene) play(d time.Duration, troubles ...func(context.Context)) {
	seed := rand.Uint64()
	s.t.Logf("seed %d, duration %v", seed, d)
	var hosts []string
	for _, k := range s.keepers {
		hosts = append(hosts, k.buoy.Host)
	}
	var crew []*worker
	for i := range workers {
		w := newWorker(s.t, i, newWire(s.t, hosts...), s.deeds, seed, memoryHost, registryHost)
		stock(s.t, s.registry.URL, w.places[1].name, w.image)
		crew = append(crew, w)
	}
	for _, g := range []*gateway{s.memory, s.charts, s.real} {
		g.setPlan(moody)
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), d)
	defer cancel()
	var group sync.WaitGroup
	for _, w := range crew {
		group.Go(func() { w.run(ctx) })
	}
	for _, trouble := range append(troubles, s.troubleUpstreams) {
		group.Go(func() { trouble(ctx) })
	}
	group.Wait()
	s.rest()
}

// moody plans a fault for some of the requests, at random.
func moody(r *http.Request) fault {
	if !writes(r) {
		if rand.IntN(100) < 2 {
			return []fault{refused, dropped, late}[rand.IntN(3)]
		}
		return fine
	}
	if rand.IntN(100) < 9 {
		return []fault{late, refused, dropped, deaf, lost, failed, stuck}[rand.IntN(7)]
	}
	return fine
}

// troubleUpstreams kills the upstreams, one at a time, until ctx ends; then all run.
func (s *scene) troubleUpstreams(ctx context.Context) {
	for i := 0; pause(ctx, time.Second+rand.N(2*time.Second)); i++ {
		g := []*gateway{s.memory, s.real, s.charts}[i%3]
		g.kill()
		if g == s.real {
			s.registry.Kill()
		}
		s.upstreamKills.Add(1)
		pause(ctx, rand.N(time.Second))
		if g == s.real {
			s.registry.Start()
		}
		g.Start()
	}
}

// rest ends all failures, and waits until nothing is pending.
func (s *scene) rest() {
	t := s.t
	for _, g := range []*gateway{s.memory, s.charts, s.real} {
		g.setPlan(nil)
	}
	s.hooks.beCalm()
	for _, k := range s.keepers {
		k.up()
	}
	s.drain("open intents", "bellbuoy_open_intents")
	if out, err := s.keepers[0].buoy.Command("enable", "gone"); err != nil {
		t.Errorf("bellbuoy enable: %v\n%s", err, out)
	}
	s.drain("kept events", "bellbuoy_events_kept")
	s.drain("pending deliveries", "bellbuoy_pending_deliveries")
	if out, err := s.keepers[0].buoy.Command("redeliver", "--webhook", "picky", "--since", "48h", "--state", "dead"); err != nil {
		t.Errorf("bellbuoy redeliver: %v\n%s", err, out)
	}
	s.drain("redelivered", "bellbuoy_pending_deliveries")
}

// drain waits until a metric is 0 at all replicas, and stays 0 for a moment.
func (s *scene) drain(what, metric string) {
	s.t.Helper()
	deadline := time.Now().Add(3 * time.Minute)
	begun := time.Now()
	for still := 0; still < 4; time.Sleep(250 * time.Millisecond) {
		still++
		if s.intents() > 0 {
			still = 0
		}
		for _, k := range s.keepers {
			v, ok := gauge(k.buoy, metric)
			if !ok || v != 0 {
				still = 0
			}
			if time.Now().After(deadline) {
				s.t.Errorf("%s: %v are left (%t)", what, v, ok)
				return
			}
		}
	}
	s.t.Logf("%s: 0 after %v", what, time.Since(begun).Round(100*time.Millisecond))
}

// verify compares the deeds with the arrivals, and prints the figures.
func (s *scene) verify() {
	t := s.t
	t.Helper()
	all, done := s.deeds.list(), truthOf(s.memory, s.charts, s.real)
	var sum figures
	for _, name := range hookNames {
		check(t, name, all, s.hooks.arrivals(name), done, &sum)
	}
	sequence := s.sequence()
	sum.inOrder = checkRecorded(t, all, s.hooks.arrivals("good"), sequence, s.outages)
	for _, name := range []string{"good", "slow"} {
		sum.inOrder += checkOrder(t, name, all, s.hooks.arrivals(name), sequence, (*deed).place)
	}
	sum.inOrder += checkOrder(t, "strict", all, s.hooks.arrivals("strict"), sequence, func(d *deed) string { return d.host + " " + d.repository })
	var shifts int64
	for _, k := range s.keepers {
		shifts += k.shifts.Load()
	}
	t.Logf("bellbuoy killed %d times, upstreams %d, database %d; disk filled %d times, clock set %d times", s.kills(), s.upstreamKills.Load(), s.databaseKills.Load(), s.diskFills.Load(), shifts)
	t.Logf("figures: %v", sum)
	// A POST in flight when bellbuoy is killed is repeated. On a busy machine, or in a short
	// run, that is a large part of them.
	unsure := 16 * int(s.kills()+s.databaseKills.Load()+s.diskFills.Load())
	if sum.share() >= 2 && sum.duplicates > unsure {
		t.Errorf("%.2f %% of the webhooks came twice, %d", sum.share(), sum.duplicates)
	}
	if len(s.hooks.bad) > 0 {
		t.Errorf("bodies that could not be read: %q", s.hooks.bad)
	}
	if sum.acked == 0 || sum.unknown == 0 || sum.inOrder == 0 || sum.inferred == 0 {
		t.Error("nothing happened that was worth it")
	}
	for _, k := range s.keepers {
		if lost, ok := gauge(k.buoy, "bellbuoy_events_lost_total"); !ok || lost != 0 {
			t.Errorf("%v events were lost", lost)
		}
	}
}

// sequence returns the position of each event in bellbuoy's order. It lists each repository and
// type separately: bellbuoy lists at most 10,000 events at once, and a long run has more.
func (s *scene) sequence() map[string]int64 {
	s.t.Helper()
	asked, places := map[string]bool{}, map[string]int64{}
	for _, a := range s.hooks.arrivals("good") {
		if key := a.repository + " " + a.kind; !asked[key] {
			asked[key] = true
			s.list(a.repository, a.kind, places)
		}
	}
	return places
}

// list adds the positions of the events of a repository and type to places.
func (s *scene) list(repository, kind string, places map[string]int64) {
	s.t.Helper()
	out, err := s.keepers[0].buoy.Command("events", "--json", "-n", "10000", "--repository", repository, "--type", kind)
	if err != nil {
		s.t.Errorf("bellbuoy events: %v", err)
	}
	for line := range strings.Lines(out) {
		var e struct {
			Seq int64
			ID  string
		}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			s.t.Errorf("decoding a line of bellbuoy events: %v: %s", err, line)
		}
		places[e.ID] = e.Seq
	}
}

func (s *scene) kills() (n int64) {
	for _, k := range s.keepers {
		n += k.kills.Load()
	}
	return n
}

// TestChaos runs one bellbuoy on SQLite.
func TestChaos(t *testing.T) {
	short(t)
	long := length(t)
	s := newScene(t)
	disk, full := t.TempDir(), false
	if os.Geteuid() == 0 {
		disk, full = small(t, roomFor(long)), true
	} else {
		t.Log("SKIPPED: the full disk, which needs root for a mount")
	}
	k := s.launch(harness.BuoyOptions{DataDir: filepath.Join(disk, "data")}, "")
	k.shift, k.back = true, long >= time.Minute
	s.play(long, func(ctx context.Context) { k.keep(ctx, time.Second) }, func(ctx context.Context) {
		for full && pause(ctx, 4*time.Second+rand.N(4*time.Second)) {
			empty := fill(t, disk)
			s.diskFills.Add(1)
			pause(ctx, 500*time.Millisecond+rand.N(time.Second))
			empty()
		}
	})
	s.verify()
	if kills := k.kills.Load(); long >= time.Minute && kills < 50 || kills == 0 {
		t.Errorf("bellbuoy was killed %d times", kills)
	}
}

// roomFor returns the size of a disk that a run fills only on purpose.
func roomFor(d time.Duration) string { return fmt.Sprintf("%dm", 64+int(d/time.Second)) }

func readAll(resp *http.Response) string {
	body, _ := io.ReadAll(resp.Body) // an incomplete body is used as far as it arrived
	return string(body)
}
