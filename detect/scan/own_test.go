package scan

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// A scanner without credentials may pull through a replica that did not start the scan. Its pulls
// are no events there either, from the first one on. Pulls after the scan are.
func TestPullsThroughAnotherReplica(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newRig(t, func(n int, id string) (*Report, error) {
			if n < 3 {
				return nil, &Pending{}
			}
			return clean(n, id)
		})
		g.runner = New(Options{Ledger: g.ledger, Registry: g.registry, Replica: "scans"})
		other := New(Options{Ledger: g.ledger, Registry: g.registry, Replica: "is passed"})
		g.runner.Configure(g.config)
		g.ledger.push(g.runner, pushOf(1, "v1"))
		idle := g.config
		idle.Scanners = append([]Scanner(nil), g.config.Scanners...)
		pull := func() *detect.Event {
			e := pushOf(1)
			e.Type, e.Client.Operator = detect.PullArtifact, ""
			return &e
		}
		if other.Owns(pull()) {
			t.Error("a pull before any scan is an event")
		}
		submitted := 0
		g.scanner.submit = func(int, Request) error {
			if submitted++; !other.Owns(pull()) {
				t.Error("the other replica has no row of the scan when the scanner begins")
			}
			return nil
		}
		g.start(t)
		time.Sleep(100 * time.Millisecond) // the first replica takes the job
		other.Configure(idle)
		passed := *g
		passed.runner = other
		passed.start(t)
		time.Sleep(10 * time.Second)
		during := pull()
		if !other.Owns(during) {
			t.Error("a pull in the middle of the scan is the scanner's")
		}
		time.Sleep(time.Minute)
		if submitted != 1 || other.Owns(pull()) || !other.Owns(during) {
			t.Errorf("got %d submissions; the time of the pull decides whether it is the scanner's", submitted)
		}
		g.stop()
		passed.stop()
		g.only(t)
		for k := range g.ledger.rows {
			if k.Kind == kindOwn+"s" {
				t.Errorf("the row of a scan that is over: %v", k)
			}
		}
	})
}
