package main

import (
	"bytes"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/test/parts"
)

const body = `{"type":"PUSH_ARTIFACT","occur_at":1,"operator":"demo","event_data":{"resources":[{"digest":"sha256:0123456789abcdef","tag":"v1",` +
	`"resource_url":"x"}],"repository":{"repo_full_name":"team/app"}}}`

func TestDescribe(t *testing.T) {
	text, what := describe([]byte(body), "4 ms after the event")
	if what != "PUSH_ARTIFACT team/app:v1" {
		t.Errorf("got the summary %q", what)
	}
	for _, want := range []string{"▶ PUSH_ARTIFACT team/app:v1   by demo   sha256:0123456789ab…   4 ms", "\n      \"operator\": \"demo\""} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in:\n%s", want, text)
		}
	}
	if text, what := describe([]byte("no"), ""); what != "?" || !strings.Contains(text, "no JSON") {
		t.Errorf("a body that is no JSON: got %q: %s", what, text)
	}
	if text, _ := describe([]byte(`{"type":"X"}`), ""); !strings.Contains(text, "by anonymous") {
		t.Errorf("without an operator: %s", text)
	}
}

func TestPrinterPassesOnWhatItPrinted(t *testing.T) {
	var out bytes.Buffer
	p := newPrinter(&out)
	p.webhook(httptest.NewRecorder(), httptest.NewRequest("POST", "/hook", strings.NewReader(body)))
	if got := <-p.seen; got != "PUSH_ARTIFACT team/app:v1" || !strings.Contains(out.String(), got) {
		t.Errorf("passed on %q, printed %q", got, out.String())
	}
}

func TestLatencyIsReadFromTheID(t *testing.T) {
	id := uuid.Must(uuid.NewV7())
	sec, nsec := id.Time().UnixTime()
	at := time.Unix(sec, nsec).Add(42 * time.Millisecond)
	if got := latency(id.String()+".1", at); got != "42 ms after the event" {
		t.Errorf("got the latency %q", got)
	}
	for _, other := range []string{"", "evt_1", uuid.NewString() + ".1"} {
		if got := latency(other, at); got != "" {
			t.Errorf("the id %q has no time, and gave the latency %q", other, got)
		}
	}
}

// The demo's own builds use the same flags as make, so that everything is compiled once.
func TestDemoAndMakeUseTheSameFlags(t *testing.T) {
	makefile, err := os.ReadFile("../../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	if want := "\nQUICK   := " + parts.Quick + "\n"; !strings.Contains(string(makefile), want) {
		t.Errorf("the Makefile lacks %q", want)
	}
}
