package replication

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

// The body of a run is the one that a real Harbor was recorded to send, except what bellbuoy does
// not know of a replication: its policy and its other registry.
func TestHarborBody(t *testing.T) {
	raw, err := os.ReadFile("../../notify/format/testdata/harbor/replication-manual-pull-based__team-default__REPLICATION__2.json")
	if err != nil {
		t.Fatal(err)
	}
	var recorded struct{ Body string }
	if err := json.Unmarshal(raw, &recorded); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Unix(1795425080, 0))) // Harbor's start
		l := newLedger(t, Rule{Name: "self", Matches: agent("harbor-registry-client"), Quiet: 30 * time.Second})
		_, _ = start(t, l)
		e := detect.Event{ID: "x", Type: detect.PushArtifact, At: time.Now(), Upstream: "up", Repository: "team/app", Tags: []string{"v1"}, Digest: "sha256:ab",
			Client: detect.Client{UserAgent: "harbor-registry-client", Operator: "admin"}, External: detect.External{Scheme: "http", Host: "127.0.0.1:23091"}}
		_ = l.CommitLater(t.Context(), "", false, func(detect.View) (detect.Changes, error) { return detect.Changes{Events: []detect.Event{e}}, nil })
		time.Sleep(time.Minute)
		l.mu.Lock()
		told := l.events[len(l.events)-1]
		l.mu.Unlock()
		f, err := format.New("harbor", "w", format.Options{})
		if err != nil {
			t.Fatal(err)
		}
		_, _, got, err := f.Render(told, 0)
		if err != nil {
			t.Fatal(err)
		}
		const there = `"endpoint":"http://127.0.0.1:23091","namespace":"pub"`
		want := recorded.Body
		for _, differs := range [][2]string{
			{`"occur_at":1795425081`, fmt.Sprintf(`"occur_at":%d`, told.At.Unix())}, // after the quiet time
			{`"authentication_type":"basic","override_mode":true,"trigger_type":"MANUAL","policy_creator":"admin",`, ""},
			{`"registry_type":"harbor"`, `"registry_type":"docker-registry"`},
			{there, `"endpoint":"","namespace":"team"`},
			{`"execution_id":527,"task_id":543`, `"execution_id":1,"task_id":1`},
		} {
			if !strings.Contains(want, differs[0]) {
				t.Errorf("the recording has no %s", differs[0])
			}
			want = strings.ReplaceAll(want, differs[0], differs[1])
		}
		if string(got) != want {
			t.Errorf("\n got %s\nwant %s", got, want)
		}
	})
}
