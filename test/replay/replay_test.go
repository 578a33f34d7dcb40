package replay

import (
	"cmp"
	"os"
	"strings"
	"testing"
	"time"
)

// looks are the scenarios in which a client reads only a manifest, and whose expectations have no
// pull, not even a weak one. Webhooks with manifest_reads get these reads (docs/design.md, Pulls, 6
// and 9).
var looks = map[string]string{
	"cosign-sign-bundle":     "cosign reads what it signs",
	"cosign-sign-legacy-tag": "cosign reads what it signs",
	"cosign-verify":          "cosign resolves the image, and then downloads the signature alone",
}

// directory returns the directory of the recordings, and whether it is that of the tests.
func directory() (dir string, ours bool) {
	named := os.Getenv("BELLBUOY_TRAFFIC")
	return cmp.Or(named, "testdata/traffic"), named == ""
}

// TestReplay plays all recorded scenarios at once. Those of testdata take less than three seconds
// each, without a pause of the client, so that shorter quiet times than the default ones have the
// same effect. Those of another directory get the default ones.
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

// report prints the score, and fails the test for every scenario that is not exact.
func report(t *testing.T, ours bool, played []*Played) {
	t.Helper()
	exact, missing, extra, looked := 0, 0, 0, 0
	for _, p := range played {
		s := p.Score()
		missing, extra, looked = missing+len(s.Missing), extra+len(s.Extra), looked+len(s.Looked)
		base := p.Name[:max(0, strings.LastIndexByte(p.Name, '-'))] // without the kind of login
		if _, ok := looks[base]; ours && !ok && len(s.Looked) > 0 {
			t.Errorf("%s: reads of a manifest alone: %s", p.Name, list(s.Looked))
		}
		if s.Exact() {
			exact++
		}
		if !s.Exact() || len(p.Troubles) > 0 {
			t.Errorf("%s\n  missing %s\n  extra %s\n  wrong answers %s\n  look-ups %s", p.Name, list(s.Missing), list(s.Extra), list(p.Troubles), list(p.Asked))
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
