package faults

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

const (
	crowd       = 50 // webhooks; three of them are bad in a run with trouble
	crowdPushes = 120
)

// hearing has the times and the memory that one run measured.
type hearing struct {
	delivery, push  []time.Duration // sorted
	before, after   int             // MiB of memory
	missing, events int
}

// Of fifty webhooks one receiver accepts connections and never answers, one answers 500, and one is
// slow. The other 47 and the pushes are not delayed, and memory does not grow.
func TestBadReceiversDelayNoOther(t *testing.T) {
	short(t)
	calm, troubled := newStand(t, false), newStand(t, true)
	for i := range crowdPushes { // in turn, so that other load of the machine affects both
		calm.push(i)
		troubled.push(i)
	}
	good, bad := calm.end(), troubled.end()
	for _, o := range []struct {
		name string
		o    hearing
	}{{"all good", good}, {"three bad", bad}} {
		t.Logf("%s: push p50 %v p99 %v, push to webhook p50 %v p99 %v, memory %d MiB, then %d MiB", o.name, at(o.o.push, 50), at(o.o.push, 99),
			at(o.o.delivery, 50), at(o.o.delivery, 99), o.o.before, o.o.after)
		if o.o.missing > 0 {
			t.Errorf("%s: %d of %d deliveries are missing", o.name, o.o.missing, o.o.events)
		}
	}
	// On a busy machine two runs differ by more than a bad receiver may cost. A difference of
	// seconds would be caused by the receiver.
	for _, c := range []struct {
		what             string
		with, base, more time.Duration
	}{
		{"push p50", at(bad.push, 50), at(good.push, 50), 150 * time.Millisecond}, {"push p99", at(bad.push, 99), at(good.push, 99), 2 * time.Second},
		{"delivery p50", at(bad.delivery, 50), at(good.delivery, 50), 150 * time.Millisecond}, {"delivery p99", at(bad.delivery, 99), at(good.delivery, 99), 2 * time.Second},
	} {
		if c.with > 4*c.base+c.more {
			t.Errorf("%s is %v with three bad receivers, %v without", c.what, c.with, c.base)
		}
	}
	if bad.after > bad.before+bad.before/2+20 {
		t.Errorf("memory grew from %d to %d MiB", bad.before, bad.after)
	}
}

func at(sorted []time.Duration, percent int) time.Duration {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[(len(sorted)-1)*percent/100].Round(10 * time.Microsecond)
}

// audience is the receiver of the good webhooks.
type audience struct {
	mu    sync.Mutex
	first map[string]time.Time // hook and request → time of arrival
}

func (a *audience) post(_ http.ResponseWriter, _ *http.Request, p harness.Post) {
	request := requestIn.FindSubmatch(p.Body)
	if request == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if key := p.Path + " " + string(request[1]); a.first[key].IsZero() {
		a.first[key] = p.At
	}
}

var requestIn = regexp.MustCompile(`"request_id":"([^"]+)"`)

func (a *audience) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.first)
}

// stand is a bellbuoy with many webhooks.
type stand struct {
	t         *testing.T
	x         *trial
	listeners *audience
	sent      map[string]time.Time // by request
	audible   int                  // good webhooks
	hearing
}

func newStand(t *testing.T, trouble bool) *stand {
	t.Helper()
	up, hooks := newGateway(t, newShelf()), harness.NewReceiver(t)
	s := &stand{t: t, listeners: &audience{first: map[string]time.Time{}}, sent: map[string]time.Time{}, audible: crowd}
	good := harness.NewReceiver(t)
	good.Each(s.listeners.post)
	hooks.Hang("/0")
	hooks.Statuses("/1", 500)
	hooks.Answer("/2", func(http.ResponseWriter, *http.Request) { time.Sleep(300 * time.Millisecond) })
	var b strings.Builder
	fmt.Fprintf(&b, "log: {level: warn}\nupstreams: [{type: registry, url: %q}]\nwebhooks:\n", up.URL)
	for i := range crowd {
		target := good
		if trouble && i < 3 {
			target = hooks
			s.audible--
		}
		fmt.Fprintf(&b, "  - {name: w%d, url: %q, format: bellbuoy}\n", i, target.URL(fmt.Sprint("/", i)))
	}
	buoy := harness.Bellbuoy(t, b.String())
	s.x = &trial{t: t, up: up, buoy: buoy, wire: newWire(t, buoy.Host)}
	return s
}

func (s *stand) push(i int) {
	s.t.Helper()
	if i == crowdPushes/3 {
		s.before = harness.ResidentMiB(s.t, s.x.buoy.Pid())
	}
	d := s.x.push(fmt.Sprint("t", i%20), fmt.Sprint("content", i))
	begun := time.Now()
	s.sent[d.request(1)] = begun
	s.x.try(d, 201)
	s.hearing.push = append(s.hearing.push, time.Since(begun))
}

// end waits for the remaining webhooks, and returns the result.
func (s *stand) end() hearing {
	s.t.Helper()
	s.events = s.audible * crowdPushes
	for deadline := time.Now().Add(patience); s.listeners.count() < s.events && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	s.missing, s.after = s.events-s.listeners.count(), harness.ResidentMiB(s.t, s.x.buoy.Pid())
	s.x.buoy.Kill9() // a stop would wait for hanging POSTs
	s.listeners.mu.Lock()
	defer s.listeners.mu.Unlock()
	for key, when := range s.listeners.first {
		if hook, request, _ := strings.Cut(key, " "); !slices.Contains([]string{"/0", "/1", "/2"}, hook) {
			s.delivery = append(s.delivery, when.Sub(s.sent[request]))
		}
	}
	slices.Sort(s.delivery)
	slices.Sort(s.hearing.push)
	return s.hearing
}
