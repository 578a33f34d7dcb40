package scan

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

// recording is a body that a real Harbor sent, with the fields that identify its artifact.
type recording struct {
	Body string
	Data struct {
		ID        string    `json:"id"`
		Time      time.Time `json:"time"`
		RequestID string    `json:"requestid"`
		Data      struct {
			Resources []struct {
				Digest   string `json:"digest"`
				Tag      string `json:"tag"`
				Overview map[string]struct {
					ReportID string    `json:"report_id"`
					Start    time.Time `json:"start_time"`
				} `json:"scan_overview"`
			} `json:"resources"`
		} `json:"data"`
	} `json:"body_json"`
}

const recordedReport = "application/vnd.security.vulnerability.report; version=1.1"

func recorded(t *testing.T, name string) (r recording) {
	t.Helper()
	raw, err := os.ReadFile("../../notify/format/testdata/harbor/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// lab is the scanner of the recordings: a scan takes three seconds.
func lab(fails bool) func(int, string) (*Report, error) {
	return func(n int, _ string) (*Report, error) {
		switch {
		case n == 1:
			return nil, &Pending{After: time.Second}
		case fails:
			return nil, &Refusal{"the scanner answered 500: no"}
		}
		return ReadReport(strings.NewReader(`{"scanner":{"name":"FakeScan","vendor":"LabVendor","version":"0.0.1"},"severity":"High","vulnerabilities":[`+
			`{"id":"CVE-1","package":"a","version":"1","fix_version":"2","severity":"High"},{"id":"CVE-2","package":"b","version":"1","severity":"Low"}]}`), recordedReport)
	}
}

// For a scan, bellbuoy sends the body that Harbor was recorded to send for the same scan, byte for
// byte except the ids, which are random.
func TestHarborBodies(t *testing.T) {
	for _, tc := range []struct {
		operation, typ, cloudType string
		fails                     bool
	}{
		{"scan-on-push", "SCANNING_COMPLETED", "harbor.scan.completed", false},
		{"scan-completed-single", "SCANNING_COMPLETED", "harbor.scan.completed", false},
		{"scan-failed-report-500", "SCANNING_FAILED", "harbor.scan.failed", true},
	} {
		t.Run(tc.operation, func(t *testing.T) {
			cloud, plain := recorded(t, tc.operation+"__team-ce__"+tc.cloudType), recorded(t, tc.operation+"__team-default__"+tc.typ)
			synctest.Test(t, func(t *testing.T) {
				e := scanOf(t, &cloud, tc.fails)
				two := format.Options{Number: 2, Project: func(string) int64 { return 2 }}
				got := body(t, "cloudevents", two, e)
				ids := strings.NewReplacer(cloud.Data.ID, idIn(t, got), cloud.Data.RequestID, e.RequestID,
					cloud.Data.Data.Resources[0].Overview[recordedReport].ReportID, e.Scan.ReportID)
				if want := ids.Replace(cloud.Body); got != want {
					t.Errorf("cloudevents:\n got %s\nwant %s", got, want)
				}
				if got, want := body(t, "harbor", format.Options{}, e), ids.Replace(plain.Body); got != want {
					t.Errorf("harbor:\n got %s\nwant %s", got, want)
				}
			})
		})
	}
}

// scanOf returns the event of a scan of the artifact of a recording, at its time.
func scanOf(t *testing.T, r *recording, fails bool) detect.Event {
	t.Helper()
	resource := r.Data.Data.Resources[0]
	time.Sleep(time.Until(resource.Overview[recordedReport].Start))
	g := newRig(t, lab(fails))
	push := pushOf(1, resource.Tag)
	push.Repository, push.Digest, push.Client.Operator, push.RequestID = "team/scanme", resource.Digest, "admin", "4e7a1f0c"
	push.External = detect.External{Scheme: "http", Host: "127.0.0.1:23091"}
	g.ledger.push(g.runner, push)
	g.start(t)
	time.Sleep(time.Minute)
	g.stop()
	e := g.only(t)
	if e.RequestID != "4e7a1f0c" {
		t.Errorf("request id %q, want the push's", e.RequestID)
	}
	return e
}

// idIn returns the id of a CloudEvent.
func idIn(t *testing.T, body string) string {
	t.Helper()
	var e struct{ ID uuid.UUID }
	if err := json.Unmarshal([]byte(body), &e); err != nil || e.ID == uuid.Nil {
		t.Fatalf("the event has no id: %v: %s", err, body)
	}
	return e.ID.String()
}

func body(t *testing.T, name string, o format.Options, e detect.Event) string {
	t.Helper()
	f, err := format.New(name, "w", o)
	if err != nil {
		t.Fatal(err)
	}
	_, _, b, err := f.Render(e, 0)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
