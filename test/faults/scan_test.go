package faults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// scanSteps are the points of a scan at which a test kills: the job is taken and nothing is
// submitted; the scan is submitted, and answered; the report is requested, and answered.
var scanSteps = []string{"metadata", "submit", "submitted", "report", "reported"}

// bellbuoy is killed at each step of a scan. In the end there is one event.
func TestKilledDuringAScan(t *testing.T) {
	t.Parallel()
	scanner := harness.Scanner(t)
	s := harness.NewScanStage(t, scanner, harness.RegistryOptions{}, "")
	for i, at := range scanSteps {
		p := scanner.Stop(at)
		a := harness.NewImage(harness.ImageOptions{})
		harness.Push(s, s.Buoy.ProxyURL, "killed/"+at, "v1", a)
		<-p.Reached
		s.Buoy.Kill9()
		close(p.Go)
		s.Buoy.Start()
		harness.Eventually(harness.Soon, func() bool { return len(s.Scans("/full")) > i })
	}
	time.Sleep(harness.Strays)
	seen := map[string]map[string]bool{}
	for _, p := range s.Scans("/full") {
		if seen[p.Text("repository")] == nil {
			seen[p.Text("repository")] = map[string]bool{}
		}
		seen[p.Text("repository")][p.ID()] = true
	}
	for _, at := range scanSteps {
		if n := len(seen["killed/"+at]); n != 1 {
			t.Errorf("killed at %s: %d events, want 1", at, n)
		}
	}
}

// Two replicas share a PostgreSQL. The one that works on a scan is killed at each step, and the
// other continues when the lease has ended. In the end there is one event. The scanner (see
// harness.ScannerServer) gets no request for a digest that it is scanning.
func TestReplicaKilledDuringAScan(t *testing.T) {
	t.Parallel()
	pg := harness.Postgres(t)
	for i, at := range scanSteps {
		database := pg.Database(t, fmt.Sprint("scans", i))
		t.Run(at, func(t *testing.T) {
			t.Parallel()
			scanner, registry, hooks := harness.Scanner(t), harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
			var replicas []*harness.Buoy
			for range 2 {
				replicas = append(replicas, harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL)+harness.Quick+
					fmt.Sprintf("database: %q\nscanners: [{name: test, url: %q, timeout: 10m}]\n", database, scanner.URL)+harness.Webhooks(hooks)))
			}
			p := scanner.Stop(at)
			a := harness.NewImage(harness.ImageOptions{})
			harness.Push(t, replicas[0].ProxyURL, "team/app", "v1", a)
			<-p.Reached
			worker := workerOf(t, replicas)
			replicas[worker].Kill9()
			close(p.Go)
			ended := func() (ids map[string]bool) {
				ids = map[string]bool{}
				for _, post := range hooks.Posts("/full") {
					if post.Text("type") == "SCANNING_COMPLETED" && post.Text("digest") == a.Digest.String() {
						ids[post.ID()] = true
					}
				}
				return ids
			}
			harness.Eventually(3*time.Minute, func() bool { return len(ended()) > 0 })
			replicas[worker].Start() // it must not scan again
			time.Sleep(harness.Strays)
			if n := len(ended()); n != 1 {
				t.Errorf("%d events, want 1", n)
			}
		})
	}
}

// workerOf returns the replica that works on the only scan, or has just ended it.
func workerOf(t *testing.T, replicas []*harness.Buoy) (worker int) {
	t.Helper()
	if !harness.Eventually(harness.Soon, func() bool {
		for i, b := range replicas {
			if b.Metric("bellbuoy_scans_running")+b.Metric("bellbuoy_scans_total") > 0 {
				worker = i
				return true
			}
		}
		return false
	}) {
		t.Fatal("no replica works on the scan")
	}
	return worker
}

// A scanner without credentials pulls through one replica, whichever of the two has submitted the
// scan. Its pulls are no events. Both replicas submit scans.
func TestScannerPullsThroughAnotherReplica(t *testing.T) {
	t.Parallel()
	database, port := harness.Postgres(t).Database(t, "scans"), harness.FreePort(t)
	scanner, registry, hooks := harness.Scanner(t), harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	config := harness.RegistryUpstream(registry.URL) + harness.Quick + harness.Webhooks(hooks) +
		fmt.Sprintf("database: %q\nscanners: [{name: test, url: %q, registry_url: %q}]\n", database, scanner.URL, fmt.Sprintf("http://127.0.0.1:%d", port))
	passed := harness.BellbuoyWith(t, harness.BuoyOptions{Port: port}, config)
	other := harness.Bellbuoy(t, config)
	pushed := 0
	both := func() bool {
		return passed.Metric("bellbuoy_scans_total") > 0 && other.Metric("bellbuoy_scans_total") > 0
	}
	for ; pushed < 60 && !both(); pushed++ {
		harness.Push(t, other.ProxyURL, "team/app", fmt.Sprint("v", pushed), harness.NewImage(harness.ImageOptions{}))
		time.Sleep(300 * time.Millisecond)
	}
	if !harness.Eventually(harness.Soon, both) {
		t.Fatal("one replica has scanned nothing")
	}
	harness.Eventually(harness.Soon, func() bool {
		return int(passed.Metric("bellbuoy_scans_total")+other.Metric("bellbuoy_scans_total")) == pushed
	})
	time.Sleep(harness.Strays)
	told := map[string]int{}
	for _, p := range hooks.Posts("/full") {
		told[p.Text("type")]++
	}
	if told["PULL_ARTIFACT"] != 0 || told["SCANNING_COMPLETED"] != pushed {
		t.Errorf("of %d pushes came %v", pushed, told)
	}
}

// A scanner that hangs delays no push. Of 500 scans few are submitted; the others wait in the
// store.
func TestHangingScannerDelaysNoPush(t *testing.T) {
	t.Parallel()
	scanner := harness.Scanner(t)
	scanner.Hang()
	const pushes, atOnce = 500, 4
	s := harness.NewScanStage(t, scanner, harness.RegistryOptions{}, "")
	harness.PutBlobs(t, s.Buoy.ProxyURL, "many/app", harness.NewImage(harness.ImageOptions{Seed: 1}))
	var group sync.WaitGroup
	var failed atomic.Int64
	for n := range pushes {
		group.Go(func() {
			tag := fmt.Sprint("v", n)
			a := harness.NewImage(harness.ImageOptions{Seed: 1, Annotations: map[string]string{"n": tag}})
			resp, err := harness.PutManifest(s.Buoy.ProxyURL, "many/app", tag, a)
			if err != nil || resp.StatusCode != http.StatusCreated {
				failed.Add(1)
			}
		})
	}
	group.Wait() // the scanner has not answered, and never will
	if n := failed.Load(); n != 0 {
		t.Errorf("%d pushes failed", n)
	}
	pushed := func() (n int) {
		for _, p := range s.Hooks.Posts("/full") {
			if p.Text("type") == "PUSH_ARTIFACT" {
				n++
			}
		}
		return n
	}
	if !harness.Eventually(harness.Soon, func() bool { return pushed() == pushes }) {
		t.Errorf("got %d events of pushes, want %d", pushed(), pushes)
	}
	if n := scanner.Hanging(); n == 0 || n > atOnce {
		t.Errorf("%d requests of the scanner hang, want at least one and at most %d", n, atOnce)
	}
	out, _ := s.Buoy.Command("status", "--json")
	var status struct {
		Scanners []struct{ Waiting, Scanning int }
	}
	if err := json.Unmarshal([]byte(out), &status); err != nil || len(status.Scanners) != 1 || status.Scanners[0].Waiting+status.Scanners[0].Scanning != pushes {
		t.Errorf("bellbuoy status: %v: %s", err, out)
	}
	if n := len(s.Scans("/full")); n != 0 {
		t.Errorf("%d scans have ended", n)
	}
}
