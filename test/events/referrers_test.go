package events

import (
	"encoding/json"
	"strings"
)

// referrer returns the digest of the newest referrer of a subject: the fallback tag's index lists
// it last.
func (sc *script) referrer(repository, subject string) string {
	sc.t.Helper()
	var index struct {
		Manifests []struct{ Digest string }
	}
	tag := strings.Replace(subject, ":", "-", 1)
	out := sc.run("crane", "manifest", "--insecure", sc.direct+"/"+sc.name+"/"+repository+":"+tag)
	if err := json.Unmarshal([]byte(out), &index); err != nil || len(index.Manifests) == 0 {
		sc.t.Fatalf("no referrers of %s: %v\n%s", subject, err, out)
	}
	return index.Manifests[len(index.Manifests)-1].Digest
}
