package replay

import (
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// TestVariations plays recordings made of recordings: a part of them for each variation, all where BELLBUOY_VARY is "all", or those of one
// variation where it is named there.
func TestVariations(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	dir, ours := directory()
	if !ours {
		t.Skip("variations are made of our own recordings")
	}
	all, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	only := os.Getenv("BELLBUOY_VARY")
	var played []Scenario
	for n, v := range Variations {
		if only != "" && only != "all" && only != v.Name {
			continue
		}
		for i, s := range all {
			if only == "" && (i+n)%4 != 0 { // a quarter of them, each in some variation
				continue
			}
			seed := fnv.New64()
			seed.Write([]byte(v.Name + s.Name))
			if made, ok := v.Make(s, rand.New(rand.NewPCG(seed.Sum64(), 1))); ok {
				made.Name = v.Name + "/" + s.Name
				played = append(played, made)
			}
		}
	}
	varied(t, Play(t, played, Options{Untagged: 6 * time.Second, Pull: 6 * time.Second}))
}

// varied reports without minding reads of a manifest alone: TestReplay does.
func varied(t *testing.T, played []*Played) {
	t.Helper()
	exact := map[string]int{}
	of := map[string]int{}
	for _, p := range played {
		name, _, _ := strings.Cut(p.Name, "/")
		of[name]++
		s := p.Score()
		if s.Exact() && len(p.Troubles) == 0 {
			exact[name]++
			continue
		}
		t.Errorf("%s\n  missing %s\n  extra %s\n  troubles %s\n  asked %s", p.Name, list(s.Missing), list(s.Extra), list(p.Troubles), list(p.Asked))
	}
	for _, v := range Variations {
		t.Logf("%-15s %d of %d exact", v.Name, exact[v.Name], of[v.Name])
	}
}
