package harness

import (
	"net/http"
	"strings"
	"testing"
)

// A FaultStage is a Stage with a FaultProxy between bellbuoy and its upstream.
type FaultStage struct {
	*Stage
	Proxy    *FaultProxy
	Registry *RegistryServer // nil where the upstream is none
}

// NewFaultStage is a stage on a registry. Each of more is added to the configuration.
func NewFaultStage(t *testing.T, more ...string) FaultStage {
	t.Helper()
	registry := Registry(t, RegistryOptions{Delete: true})
	h := NewFaultProxy(t, registry.URL)
	s := NewStage(t, RegistryUpstream(h.URL)+strings.Join(more, ""))
	s.Direct = registry.URL
	return FaultStage{s, h, registry}
}

// Kill9 kills bellbuoy; whatever is in flight is cut.
func (s FaultStage) Kill9() { s.Buoy.Kill9() }

// Background runs a request whose answer does not matter, or may never come.
func Background(do func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	return done
}

// Killed runs a write until it is held, kills bellbuoy, lets the upstream go on, and starts
// bellbuoy again.
func (s FaultStage) Killed(p *Held, write func() (*http.Response, error)) {
	s.Helper()
	done := Background(func() { write() })
	p.Await(s)
	s.Kill9()
	<-done // cut
	p.Release()
	s.Buoy.Start()
}

// Settled waits until no outcome is unknown any more.
func (s FaultStage) Settled() {
	s.Helper()
	if !Eventually(Soon, func() bool { return s.Buoy.Metric("bellbuoy_open_intents") == 0 }) {
		s.Fatalf("%v intents are still open", s.Buoy.Metric("bellbuoy_open_intents"))
	}
}
