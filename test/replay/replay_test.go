package replay

import (
	"cmp"
	"os"
	"strings"
	"testing"
	"time"
)

// differences are the scenarios where DESIGN and what a person says differ, with the reason. DESIGN
// stands.
var differences = map[string]string{}

// looks are the scenarios in which a client reads a manifest and nothing of what it lists, where
// the person who wrote the expectation named no pull at all, not even a weak one. The rules
// (docs/design.md, Pulls, 6 and 9) give these reads to webhooks with manifest_reads.
var looks = map[string]string{
	"cosign-sign-bundle":     "cosign reads what it signs",
	"cosign-sign-legacy-tag": "cosign reads what it signs",
	"cosign-verify":          "cosign resolves the image, and then downloads the signature alone",
}

// directory is where the recordings are, and whether they are the ones that came with the tests.
func directory() (dir string, ours bool) {
	named := os.Getenv("BELLBUOY_TRAFFIC")
	return cmp.Or(named, "testdata/traffic"), named == ""
}

// TestReplay plays every recorded scenario, all at once. Our own recordings take less than three
// seconds each, without a pause of a client in between, so that times of quiet well below the
// default ones mean the same; those of another directory get the default ones.
func TestReplay(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	t.Parallel()
	dir, ours := directory()
	all, err := Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Untagged: 6 * time.Second, Pull: 6 * time.Second}
	if !ours {
		o = Options{Untagged: 30 * time.Second, Pull: 30 * time.Second}
	}
	report(t, ours, Play(t, all, o))
}

// report prints the score, and fails the test for every scenario that is not exact and not among
// the differences.
func report(t *testing.T, ours bool, played []*Played) {
	t.Helper()
	exact, missing, extra, looked := 0, 0, 0, 0
	for _, p := range played {
		s := p.Score()
		missing, extra, looked = missing+len(s.Missing), extra+len(s.Extra), looked+len(s.Looked)
		base := p.Name[:max(0, strings.LastIndexByte(p.Name, '-'))] // the way of login apart
		if _, ok := looks[base]; ours && !ok && len(s.Looked) > 0 {
			t.Errorf("%s: reads of a manifest alone: %s", p.Name, list(s.Looked))
		}
		if s.Exact() {
			exact++
		}
		if reason, ok := differences[p.Name]; ok && !s.Exact() {
			t.Logf("%s differs: %s", p.Name, reason)
			continue
		}
		if !s.Exact() || len(p.Troubles) > 0 {
			t.Errorf("%s\n  missing %s\n  extra %s\n  troubles %s\n  asked %s", p.Name, list(s.Missing), list(s.Extra), list(p.Troubles), list(p.Asked))
		}
	}
	t.Logf("%d of %d scenarios exact; at the two webhooks together %d missing, %d extra; %d reads of a manifest alone", exact, len(played), missing, extra, looked)
}

func list(lines []string) string {
	if len(lines) == 0 {
		return "-"
	}
	return "\n    " + strings.Join(lines, "\n    ")
}
