package proxy

import (
	"io"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/proxy/carry"
)

// openGate returns the gate of a PUT of a manifest, and its exchange.
func openGate(t *testing.T, body string) (*gate, *exchange) {
	t.Helper()
	h, err := New(Options{
		Upstreams: []Upstream{{Name: "r", URL: mustURL("http://127.0.0.1:1")}},
		Tracker:   newTracker(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	x := h.now.Load().begin(httptest.NewRecorder(), httptest.NewRequest("PUT", "/v2/a/manifests/v1", strings.NewReader(body)))
	x.write = &write{x: x}
	x.write.gate.open(x, x.wire.Detach())
	return &x.write.gate, x
}

// A carrier may read a body that the handler has abandoned. The gate then changes neither the copy
// nor its budget, and does not pass the last byte on.
func TestAbandonedGateKeepsNothing(t *testing.T) {
	const body = `{"a": "manifest"}`
	for _, first := range []int{0, 5} {
		g, x := openGate(t, body)
		if _, err := io.ReadFull(g, make([]byte, first)); err != nil {
			t.Fatal(err)
		}
		x.write.abandon()
		rest, err := io.ReadAll(g)
		if err != carry.ErrAnswered || string(rest) != body[first:len(body)-1] {
			t.Errorf("after %d bytes: %q, %v", first, rest, err)
		}
		if used := x.g.h.budget.small.used; used != 0 || g.sent.size != int64(first) {
			t.Errorf("after %d bytes: %d bytes of the budget are taken, %d were kept", first, used, g.sent.size)
		}
	}
}

// The handler has no Operation while the gate owns it, and has the same one afterwards.
func TestTheGateOwnsTheOperation(t *testing.T) {
	g, x := openGate(t, "{}")
	if x.op != nil || g.op != &x.operation {
		t.Error("an open gate does not own the operation")
	}
	if _, err := io.ReadAll(g); err != nil {
		t.Fatal(err)
	}
	if intent, told := g.close(); intent == nil || !told || g.op != nil || x.op != &x.operation {
		t.Errorf("closed: intent %v, told %t, the handler has %v", intent, told, x.op)
	}
	if intent, told := g.close(); intent != nil || !told {
		t.Errorf("closed again: intent %v, told %t", intent, told)
	}
}
