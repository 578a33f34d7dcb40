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
	Registry *RegistryServer // nil if the upstream is no registry
}

// NewFaultStage starts a stage on a registry. Each of more is added to the configuration.
func NewFaultStage(t *testing.T, more ...string) FaultStage {
	t.Helper()
	registry := Registry(t, RegistryOptions{Delete: true})
	h := NewFaultProxy(t, registry.URL)
	s := NewStage(t, RegistryUpstream(h.URL)+strings.Join(more, ""))
	s.Direct = registry.URL
	return FaultStage{s, h, registry}
}

// Kill9 kills bellbuoy; it cuts everything in flight.
func (s FaultStage) Kill9() { s.Buoy.Kill9() }

// Background runs a request whose answer is not needed, or may never come.
func Background(do func()) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	return done
}

// Killed runs a write until p holds it, kills bellbuoy, lets the write reach the upstream, and
// starts bellbuoy again.
func (s FaultStage) Killed(p *Held, write func() (*http.Response, error)) {
	s.Helper()
	done := Background(func() { write() })
	p.Await(s)
	s.Kill9()
	<-done // bellbuoy's end has cut it
	p.Release()
	s.Buoy.Start()
}

// Settled waits until bellbuoy has no open intents.
func (s FaultStage) Settled() {
	s.Helper()
	if !Eventually(Soon, func() bool { return s.Buoy.Metric("bellbuoy_open_intents") == 0 }) {
		s.Fatalf("%v intents are still open", s.Buoy.Metric("bellbuoy_open_intents"))
	}
}
