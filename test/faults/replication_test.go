package faults

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// With copies, the requests of the harness are those of a replicator.
const copies = `replication: [{name: copy, match: {user_agents: ["curl/*"]}, quiet: 8s}]` + "\n"

// bellbuoy is killed at each step of a replicator's run. In the end there is one REPLICATION, with
// every push that was acknowledged.
func TestKilledDuringAReplication(t *testing.T) {
	t.Parallel()
	const repo = "copied/app"
	a := harness.NewImage(harness.ImageOptions{})
	for name, kill := range map[string]func(s harness.FaultStage, put func(tag string)){
		"in a push before the upstream's commit": func(s harness.FaultStage, put func(tag string)) {
			put("v1")
			s.Killed(s.Proxy.HoldBefore(http.MethodPut, "/manifests/v2"), func() (*http.Response, error) { return harness.PutManifest(s.Buoy.ProxyURL, repo, "v2", a) })
		},
		"in a push, and down at the end of the quiet time": func(s harness.FaultStage, put func(tag string)) {
			put("v1")
			p := s.Proxy.HoldAfter(http.MethodPut, "/manifests/v2")
			done := harness.Background(func() { harness.PutManifest(s.Buoy.ProxyURL, repo, "v2", a) })
			p.Await(s)
			s.Kill9()
			<-done
			p.Release()
			time.Sleep(9 * time.Second)
			s.Buoy.Start()
		},
		"in the first push after the upstream's commit": func(s harness.FaultStage, put func(tag string)) {
			s.Killed(s.Proxy.HoldAfter(http.MethodPut, "/manifests/v1"), func() (*http.Response, error) { return harness.PutManifest(s.Buoy.ProxyURL, repo, "v1", a) })
			put("v2")
		},
		"after the first push": func(s harness.FaultStage, put func(tag string)) {
			put("v1")
			s.Kill9()
			s.Buoy.Start()
			put("v2")
		},
		"in the quiet time": func(s harness.FaultStage, put func(tag string)) {
			put("v1")
			put("v2")
			time.Sleep(2 * time.Second)
			s.Kill9()
			s.Buoy.Start()
		},
		"down at the end of the quiet time": func(s harness.FaultStage, put func(tag string)) {
			put("v1")
			put("v2")
			s.Kill9()
			time.Sleep(9 * time.Second)
			s.Buoy.Start()
		},
		"before the delivery": func(s harness.FaultStage, put func(tag string)) {
			killed := make(chan struct{})
			once := sync.OnceFunc(func() {
				s.Kill9()
				close(killed)
			})
			s.Hooks.Answer("/full", func(_ http.ResponseWriter, r *http.Request) { // a post shows that the event is committed
				if body, _ := io.ReadAll(r.Body); bytes.Contains(body, []byte("REPLICATION")) {
					once()
				}
			})
			put("v1")
			put("v2")
			select {
			case <-killed:
			case <-time.After(harness.Soon):
				s.Fatal("no REPLICATION came")
			}
			s.Buoy.Start()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := harness.NewFaultStage(t, copies)
			harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
			kill(s, func(tag string) { harness.Push(s, s.Buoy.ProxyURL, repo, tag, a) })
			const want = "copy Success copied: app [v1 v2]"
			harness.Eventually(harness.Soon, func() bool { return len(replicated(s)) > 0 })
			time.Sleep(harness.Strays + 8*time.Second)
			if got := replicated(s); !slices.Equal(got, []string{want}) {
				t.Errorf("got the replications\n  %s\nwant\n  %s", strings.Join(got, "\n  "), want)
			}
		})
	}
}

// replicated returns the REPLICATION events, each webhook-id once.
func replicated(s harness.FaultStage) (lines []string) {
	ids := map[string]bool{}
	for _, p := range s.Hooks.Posts("/full") {
		if p.Text("type") != "REPLICATION" || ids[p.ID()] {
			continue
		}
		ids[p.ID()] = true
		line := fmt.Sprintf("%s %s %s:", p.Text("replication.name"), p.Text("replication.status"), p.Text("replication.project"))
		for i := 0; p.Field(fmt.Sprintf("replication.succeeded.%d", i)) != nil; i++ {
			at := fmt.Sprintf("replication.succeeded.%d.", i)
			line += fmt.Sprintf(" %s %s", p.Text(at+"repository"), p.Text(at+"references"))
		}
		lines = append(lines, line)
	}
	return lines
}
