package replay

import (
	"slices"
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

// A Score has missing, unexpected and allowed events, and those at the wrong webhook.
func TestScore(t *testing.T) {
	alice := "alice"
	pull := Happening{Type: "pull", Repository: "a/b", Tags: []string{"v1"}, Digest: "sha256:1", Operator: &alice}
	weak := pull
	weak.Weak = true
	event := format.BellbuoyEvent{
		Type: detect.PullArtifact, Repository: "a/b", Tags: []string{"v1", "v2"}, TagAsked: "v1", Digest: "sha256:1", Operator: alice, Moved: "layers",
	}
	stranger, looked := event, event
	stranger.Operator, looked.Moved = "bob", "config"
	for _, tc := range []struct {
		name                   string
		want                   Happening
		plain, reads           []format.BellbuoyEvent
		missing, extra, looked int
	}{
		{"exact", pull, []format.BellbuoyEvent{event}, []format.BellbuoyEvent{event}, 0, 0, 0},
		{"none", pull, nil, nil, 2, 0, 0},
		{"twice", pull, []format.BellbuoyEvent{event, event}, []format.BellbuoyEvent{event}, 0, 1, 0},
		{"by another operator", pull, []format.BellbuoyEvent{stranger}, []format.BellbuoyEvent{event}, 1, 1, 0},
		{"weak and missing", weak, nil, nil, 0, 0, 0},
		{"weak and an inspection", weak, nil, []format.BellbuoyEvent{looked}, 0, 0, 0},
		{"an inspection in place of a pull", pull, []format.BellbuoyEvent{event}, []format.BellbuoyEvent{looked}, 1, 0, 1},
		{"an inspection at the webhook without manifest_reads", pull, []format.BellbuoyEvent{event, looked}, []format.BellbuoyEvent{event}, 0, 1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Played{Scenario: &Scenario{Want: []Happening{tc.want}}, Plain: tc.plain, Reads: tc.reads}
			s := p.Score()
			if got, want := []int{len(s.Missing), len(s.Extra), len(s.Looked)}, []int{tc.missing, tc.extra, tc.looked}; !slices.Equal(got, want) {
				t.Errorf("missing, extra, looked %v, want %v: %+v", got, want, s)
			}
		})
	}
}
