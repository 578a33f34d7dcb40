package format

import (
	"bytes"
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
)

// TestManifestSize: the formats of other registries report the size of the manifest alone, as those
// registries do.
func TestManifestSize(t *testing.T) {
	for _, name := range []string{"distribution", "acr"} {
		for size, own := range map[string]int64{"425": 425, "31553": 0} { // 0: not known
			e := Sample(detect.PushArtifact)
			a := *e.Artifact
			a.Size, a.Own = 31553, own
			e.Artifact = &a
			_, _, raw, err := newFormat(t, name).Render(e, 0)
			if err != nil {
				t.Fatal(err)
			}
			body := bytes.ReplaceAll(raw, []byte(" "), nil)
			for _, key := range []string{`"size":`, `"length":`} {
				if !bytes.Contains(body, []byte(key+size+",")) {
					t.Errorf("%s: no %s%s in %s", name, key, size, body)
				}
			}
		}
	}
}
