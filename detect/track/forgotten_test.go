package track

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// An index with more children than the tracker remembers of a client is pushed and read back
// (oras), then pulled.
func TestManyChildren(t *testing.T) {
	for _, bound := range []int{0, 8} {
		t.Run(fmt.Sprint(bound), func(t *testing.T) {
			got := simulate(t, func(s *sim) {
				s.stop()
				s.ledger.close()
				s.cfg.Bounds.Session = bound
				s.begin()
				c := s.client("oras")
				all := make([][]byte, 90)
				for i := range all {
					all[i] = s.image(fmt.Sprintf("p%02d", i), fmt.Sprintf("l%02d", i))
					c.put("app", digestOfBytes(all[i]), all[i])
				}
				for _, b := range all {
					c.get("app", digestOfBytes(b))
				}
				c.put("app", "v1", s.index("idx", all...))
				c.get("app", s.tags["app:v1"])
				c.get("app", "v1")
				for i, b := range all {
					c.get("app", digestOfBytes(b))
					c.blob("app", fmt.Sprintf("p%02d.config", i), fmt.Sprintf("l%02d", i))
				}
			})
			if len(got) != 2 || !strings.HasPrefix(got[0], "push app:v1 idx") || !strings.HasPrefix(got[1], "pull app:v1 idx") {
				t.Errorf("got %d events: %.200q", len(got), got)
			}
		})
	}
}

// A script of a few clients runs with room for everything, and with hardly any: too little room
// never causes more events.
func TestBoundsCauseFewerEvents(t *testing.T) {
	seeds := uint64(100)
	if testing.Short() {
		seeds = 50
	}
	for seed := range seeds {
		script := make([]byte, 240)
		random := rand.New(rand.NewPCG(seed, 7))
		for i := range script {
			script[i] = byte(random.Uint32())
		}
		wide := playReads(t, script, Bounds{})
		for _, tight := range []Bounds{{Session: 2}, {Session: 3}, {Sessions: 1, Session: 3}, {SessionBytes: 1}, {ContentBytes: 1 << 10}} {
			if got := playReads(t, script, tight); len(got) > len(wide) {
				t.Errorf("seed %d, %+v: %d events:\n\t%s\nwith room %d:\n\t%s", seed, tight,
					len(got), strings.Join(got, "\n\t"), len(wide), strings.Join(wide, "\n\t"))
			}
		}
	}
}

// playReads returns the events of a script of reads, tags and deletes.
func playReads(t *testing.T, script []byte, b Bounds) (lines []string) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		s.stop()
		s.ledger.close()
		s.cfg.Bounds = b
		s.begin()
		one, two := s.image("one", "l1", "base"), s.image("two", "l2", "base")
		sig := s.manifest("sig", "application/x", digestOfBytes(one), []string{"r"})
		idx := s.index("idx", one, two)
		for _, m := range [][]byte{one, two, sig} {
			s.has("app", m)
		}
		s.has("app", one, "a")
		s.has("app", idx, "b")
		s.has("app", s.index("refs", sig), strings.Replace(digestOfBytes(one), ":", "-", 1))
		p := &reading{sim: s, manifests: [][]byte{one, two, idx, sig}}
		for i := 0; i+1 < len(script); i += 2 {
			p.step(script[i], script[i+1])
		}
		lines = s.lines(s.finish())
	})
	return lines
}

type reading struct {
	*sim
	manifests [][]byte
	pushed    int
}

func (p *reading) step(action, arg byte) {
	c := p.client([]string{"docker", "crane", "oras"}[arg%3])
	b := p.manifests[arg>>2&3]
	tag := []string{"a", "b"}[arg>>4&1]
	switch action % 12 {
	case 0, 1:
		c.get("app", c.head("app", tag))
	case 2, 3:
		c.get("app", tag)
	case 4, 5:
		c.get("app", digestOfBytes(b))
	case 6, 7, 8:
		c.blob("app", []string{"l1", "l2", "base", "r", "one.config"}[arg>>2%5])
	case 9:
		c.get("app", strings.Replace(digestOfBytes(p.manifests[0]), ":", "-", 1))
	case 10:
		p.pushed++
		c.get("app", tag)
		d, m := p.resolve("app", tag)
		c.put("app", cmp.Or(fmt.Sprint("t", p.pushed), d), m)
	case 11:
		time.Sleep(time.Duration(arg>>6) * 12 * time.Second)
	}
}
