package faults

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A trial is a bellbuoy in front of an upstream that fails in one way.
type trial struct {
	t     *testing.T
	up    *gateway
	shelf *shelf
	hooks *harness.Receiver
	buoy  *harness.Buoy
	wire  *wire
	count int
}

func newTrial(t *testing.T, more string) *trial {
	t.Helper()
	s := newShelf()
	x := &trial{t: t, shelf: s, up: newGateway(t, s), hooks: harness.NewReceiver(t)}
	x.buoy = harness.Bellbuoy(t, x.config(more))
	x.wire = newWire(t, x.buoy.Host)
	return x
}

// impatient is a short limit, for writes that are never answered. Other trials have no limit that a
// busy machine may exceed.
const impatient = "limits: {write_timeout: 3s}"

func (x *trial) config(more string) string {
	return fmt.Sprintf(`
log: {level: info}
%s
upstreams:
  - {name: images, type: registry, url: %q}
  - {name: charts, type: chartmuseum, url: %q}
webhooks:
  - {name: all, url: %q, events: ["*"], format: bellbuoy, retry: [0s, 200ms, 200ms, 500ms, 1s, 1s, 1s, 1s, 1s, 1s, 5s, 5s, 5s, 5s, 5m, 5m]}
`, more, x.up.URL, x.up.URL, x.hooks.URL("/all"))
}

// try makes one request and checks its status; 0 is no answer.
func (x *trial) try(d *deed, want int) {
	x.t.Helper()
	d.tries++
	status, err := x.wire.send(x.t.Context(), d, d.tries)
	x.answered(d, status, err, want)
}

// persist is try, repeated while the answer is 503, as real clients repeat it.
func (x *trial) persist(d *deed, want int) {
	x.t.Helper()
	var status int
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		d.tries++
		if status, err = x.wire.send(x.t.Context(), d, d.tries); status != http.StatusServiceUnavailable {
			break
		}
	}
	x.answered(d, status, err, want)
}

func (x *trial) answered(d *deed, status int, err error, want int) {
	x.t.Helper()
	if status != want {
		x.t.Errorf("%v, try %d: answered %d (%v), want %d", d, d.tries, status, err, want)
	}
}

// push returns the push of a unique manifest to a tag, or of the manifest of an earlier deed.
func (x *trial) push(tag, content string) *deed {
	body := []byte(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","annotations":{"is":"` + content + `"},` +
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"` + digest.FromString("c").String() + `","size":1},"layers":[]}`)
	return x.deed(&deed{do: push, repository: "team/app", reference: tag, digest: digest.FromBytes(body).String(), body: body})
}

func (x *trial) untag(tag string) *deed {
	return x.deed(&deed{do: untag, repository: "team/app", reference: tag})
}

func (x *trial) remove(of *deed) *deed {
	return x.deed(&deed{do: remove, repository: "team/app", reference: of.digest, digest: of.digest})
}

func (x *trial) upload(version string) *deed {
	return x.deed(&deed{do: upload, repository: "web", reference: version, body: harness.NewChart("web", version, harness.ChartOptions{})})
}

func (x *trial) unload(version string) *deed {
	return x.deed(&deed{do: unload, repository: "web", reference: version})
}

func (x *trial) deed(d *deed) *deed {
	x.count++
	d.id = fmt.Sprintf("deed%d", x.count)
	return d
}

// crash kills bellbuoy while a request waits for its answer, and starts it again.
func (x *trial) crash(d *deed) {
	x.t.Helper()
	d.tries++
	sent := make(chan struct{})
	go func() {
		defer close(sent)
		x.wire.send(x.t.Context(), d, d.tries)
	}()
	x.until("the upstream has it", func() bool { return x.up.has(d.request(d.tries)) })
	x.buoy.Kill9()
	<-sent
	x.buoy.Start()
}

func (x *trial) head(tag string, want int) {
	x.t.Helper()
	status, err := x.wire.request(x.t.Context(), http.MethodHead, "", "/v2/team/app/manifests/"+tag, http.Header{}, nil)
	if status != want {
		x.t.Errorf("HEAD of %s: %d (%v), want %d", tag, status, err, want)
	}
}

// patience is longer than anything that the tests wait for takes, also on a busy machine.
const patience = time.Minute

// until waits until a condition is true, for at most patience.
func (x *trial) until(what string, ok func() bool) {
	x.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			x.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

func (x *trial) settled() {
	x.t.Helper()
	x.until("no open intent", func() bool { v, ok := gauge(x.buoy, "bellbuoy_open_intents"); return ok && v == 0 })
}

// events waits until nothing is open or pending and at least n events have arrived, and returns
// these in order: "TYPE reference content [inferred]".
func (x *trial) events(n int) (lines []string) {
	x.t.Helper()
	var calm time.Time // since when nothing is open or pending; zero: something is
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		switch {
		case len(x.lines()) < n || !x.owesNothing():
			calm = time.Time{}
		case calm.IsZero():
			calm = time.Now()
		case time.Since(calm) > 400*time.Millisecond:
			return x.lines()
		}
	}
	return x.lines()
}

func (x *trial) owesNothing() bool {
	for _, name := range []string{"bellbuoy_open_intents", "bellbuoy_writes_in_flight", "bellbuoy_pending_deliveries", "bellbuoy_events_kept"} {
		if v, ok := gauge(x.buoy, name); !ok || v != 0 {
			return false
		}
	}
	return true
}

func (x *trial) lines() (lines []string) {
	seen := map[string]bool{}
	for _, p := range x.hooks.Posts("/all") {
		if seen[p.ID()] {
			continue
		}
		seen[p.ID()] = true
		line := p.Text("type") + " " + p.Text("tags.0")
		if of := p.Text("annotations.is"); of != "" {
			line += " " + of
		}
		if p.Field("inferred") == true {
			line += " inferred"
		}
		lines = append(lines, line)
	}
	return lines
}
