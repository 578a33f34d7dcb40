package track

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Clients do anything in any order. The Tracker never panics or exceeds its bounds. An event names
// a tag only if the upstream has shown that tag with that digest. Every write that was answered 2xx
// has its event.
func FuzzTracker(f *testing.F) {
	f.Add([]byte("\x00\x10\x20\x30\x01\x11\x21\x31\x02\x12\x22\x32"))
	f.Add([]byte("push, pull, push, pull, delete, crash, pull, lose, crash, tag, untag"))
	f.Add([]byte{5, 0, 5, 64, 5, 128, 1, 0, 2, 0, 3, 0, 6, 0, 7, 0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 13, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		synctest.Test(t, func(t *testing.T) { fuzzTracker(t, script[:min(len(script), 400)]) })
	})
}

func fuzzTracker(t *testing.T, script []byte) {
	s := newSim(t)
	s.stop()
	s.ledger.close()
	s.cfg.Bounds = Bounds{Sessions: 16, Session: 4, Index: 20, ContentBytes: 8 << 10, Learned: 8}
	s.begin()
	f := &fuzzing{sim: s, stood: map[string]bool{}}
	one, two := s.image("one", "l1", "base"), s.image("two", "l2", "base")
	f.manifests = [][]byte{one, two, s.index("idx", one, two), s.manifest("ref", "application/x", digestOfBytes(one), []string{"r"})}
	f.attested = s.attestation("att", one)
	for i := 0; i+1 < len(script); i += 2 {
		f.step(script[i], script[i+1])
	}
	for _, r := range f.running {
		r.end(true)
	}
	for _, e := range s.finish() {
		for _, tag := range e.Tags {
			if !f.stood[tag+e.Digest] && e.Digest != "" {
				t.Errorf("%s: the tag never stood there", s.line(&e))
			}
		}
		if e.Type != detect.PullArtifact {
			f.told++
		}
	}
	if f.told < f.done {
		t.Errorf("got events of %d writes, want %d", f.told, f.done)
	}
	if st := s.Stats(); st.Sessions > 2*16 || st.Index > 20 || st.ContentBytes > 8<<10 {
		t.Errorf("over the bounds: %+v", st)
	}
}

type fuzzing struct {
	*sim
	manifests  [][]byte
	attested   []byte
	running    []*request
	stood      map[string]bool // tag + digest
	done, told int
}

func (f *fuzzing) step(action, arg byte) {
	c := f.client([]string{"docker", "crane"}[arg&1])
	if arg>>4&3 == 3 {
		c = c.nobody()
	}
	b := f.manifests[arg>>1&3]
	d := digestOfBytes(b)
	tag := []string{"a", "b"}[arg>>3&1]
	switch action % 18 {
	case 0:
		c.head("app", tag)
	case 1:
		c.get("app", tag)
	case 2:
		c.get("app", d)
	case 3:
		c.blob("app", []string{"l1", "l2", "base", "r", "one.config"}[arg>>1%5])
	case 4:
		f.running = append(f.running, c.getting("app", tag))
	case 5:
		f.stood[tag+d] = true
		f.done++
		c.put("app", tag, b)
	case 6:
		c.put("app", d, b)
	case 7:
		if _, stands := f.resolve("app", tag); stands != nil {
			f.done++
		}
		c.del("app", tag)
	case 8:
		c.del("app", d)
	case 9:
		f.stood[tag+d] = true
		c.putting("app", tag, b).lose()
	case 10:
		time.Sleep(time.Duration(arg) * time.Second)
	case 11:
		f.endRunning(int(arg))
	case 12:
		c.mount("copy", "app", []string{"l1", "base"}[arg>>1&1], 201)
	case 14:
		c.put("app", digestOfBytes(f.attested), f.attested)
	case 15:
		c.put("app", strings.Replace(digestOfBytes(f.manifests[0]), ":", "-", 1), f.sim.index("refs", f.attested))
	case 16:
		c.begin(detect.Referrers, "app", d, nil).answered([]int{200, 404}[arg&1]).end(true)
		c.head("app", strings.Replace(digestOfBytes(f.manifests[0]), ":", "-", 1))
	case 17:
		if _, b := f.resolve("app", tag); b != nil {
			c.deleting("app", tag).answered(400).end(true)
		}
	case 13:
		if arg > 200 {
			f.endRunning(0)
			f.crash()
		} else {
			f.running = append(f.running, c.blobbing("app", "l1", 200))
		}
	}
}

func (f *fuzzing) endRunning(i int) {
	if len(f.running) > 0 {
		i %= len(f.running)
		f.running[i].end(i%2 == 0)
		f.running = append(f.running[:i], f.running[i+1:]...)
	}
}

// TestTrackerAtRandom plays a few hundred scripts of FuzzTracker, the same each time.
func TestTrackerAtRandom(t *testing.T) {
	for seed := range uint64(300) {
		t.Run("", func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			script := make([]byte, 200)
			for i := range script {
				script[i] = byte(random.Uint32())
			}
			synctest.Test(t, func(t *testing.T) { fuzzTracker(t, script) })
		})
	}
}
