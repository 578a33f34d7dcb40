package replay

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// TestVariations plays varied recordings: a quarter of them for each variation. BELLBUOY_VARY names
// one variation to play completely; "all" means all of them.
func TestVariations(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	dir, ours := directory()
	if !ours {
		t.Skip("variations are made of our own recordings")
	}
	all, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	only := os.Getenv("BELLBUOY_VARY")
	played := everybody(all)
	for n, v := range Variations {
		if only != "" && only != "all" && only != v.Name {
			continue
		}
		for i, s := range all {
			if only == "" && (i+n)%4 != 0 { // a quarter of them, different for each variation
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

// everybody merges all recordings at one kind of registry into a few seconds at one registry. The
// clients have one address, except those that run the same tool.
func everybody(all []Scenario) (merged []Scenario) {
	together := map[string][]Scenario{}
	nth := map[string]int{}
	for _, s := range all {
		tool := s.Lines[0].agent() + s.Auth
		nth[tool]++
		key := s.Auth
		if s.Charts() {
			key = "charts"
		}
		together[key] = append(together[key], moved(s, fmt.Sprintf("127.0.2.%d", nth[tool])))
	}
	for auth, group := range together {
		r := rand.New(rand.NewPCG(7, uint64(len(auth))))
		merged = append(merged, merge("everybody/"+auth, group, func(int) float64 { return r.Float64() * 3000 }))
	}
	return merged
}

// varied is report without the check of manifest reads, which TestReplay does.
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
		t.Errorf("%s\n  missing %s\n  extra %s\n  wrong answers %s\n  look-ups %s", p.Name, list(s.Missing), list(s.Extra), list(p.Troubles), list(p.Asked))
	}
	for _, v := range append(Variations, Variation{Name: "everybody"}) {
		if of[v.Name] == 0 {
			continue
		}
		t.Logf("%-15s %d of %d exact", v.Name, exact[v.Name], of[v.Name])
	}
}
