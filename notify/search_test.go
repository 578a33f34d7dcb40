package notify

import (
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
)

// TestSearch: a search does not find events without the property that it names. A webhook's filter
// lets them pass.
func TestSearch(t *testing.T) {
	tagged, untagged, chart := push("team/app", "v1", "v2"), push("team/app"), upload("team", "demo", "1.0.0")
	tagged.Client.Operator = "alice"
	for name, tt := range map[string]struct {
		match Match
		want  []bool // of tagged, untagged, chart
	}{
		"tag":        {Match{Tags: []string{"v*"}}, []bool{true, false, false}},
		"version":    {Match{Tags: []string{"1.*"}}, []bool{false, false, true}},
		"operator":   {Match{Operators: []string{"al*"}}, []bool{true, false, false}},
		"repository": {Match{Repositories: []string{"team/**"}}, []bool{true, true, true}},
		"exact":      {Match{Repositories: []string{"team/demo"}}, []bool{false, false, true}},
		"both":       {Match{Repositories: []string{"*/app"}, Tags: []string{"v2"}}, []bool{true, false, false}},
		"nothing":    {Match{}, []bool{true, true, true}},
	} {
		found, err := Search(tt.match)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range []detect.Event{tagged, untagged, chart} {
			if found(&e) != tt.want[i] {
				t.Errorf("%s, event %d: not %v", name, i, tt.want[i])
			}
		}
	}
	if _, err := Search(Match{Repositories: []string{"a["}}); err == nil {
		t.Error("an invalid pattern was accepted")
	}
}
