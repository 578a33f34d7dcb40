package main

import (
	"encoding/json"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// Commands print control characters of a receiver's answer or a client's name as escapes.
func TestCommandsEscapeControlCharacters(t *testing.T) {
	const evil = "\x1b]0;owned\x07\x1b[2J\u009b31mred\u202egnp.exe\r\x7f"
	dir := t.TempDir()
	socket, err := net.Listen("unix", filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	answer := func(pattern string, value any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) { _ = json.NewEncoder(w).Encode(value) })
	}
	answer(v1("/webhooks"), listPage[api.V1Webhook]{Items: []api.V1Webhook{{Number: 1}}})
	answer(v1("/webhooks/1/test"), api.V1Sent{Status: 500, Response: evil, Error: "answered " + evil})
	one := api.V1Delivery{ID: 1, Webhook: "ci", Repository: evil, Tag: evil, Sent: &api.V1Request{Body: evil},
		Log: []api.V1Attempt{{At: time.Now(), Status: 500, Error: evil, Response: "line\r\n" + evil}}}
	answer(v1("/deliveries"), listPage[api.V1Delivery]{Items: []api.V1Delivery{one}})
	answer(v1("/deliveries/1"), one)
	answer(v1("/events"), listPage[api.V1Event]{Items: []api.V1Event{{BellbuoyEvent: format.BellbuoyEvent{Repository: evil, Operator: evil}}}})
	answer(v1("/status"), api.V1Status{Webhooks: []api.V1WebhookStatus{{Name: "ci", Why: evil}}, Attention: []string{evil}})
	answer(v1("/waiting"), api.V1WaitingList{Items: []api.V1Waiting{{Webhook: "ci", State: manage.StateFailing, Why: evil}}})
	server := &http.Server{Handler: mux}
	go server.Serve(socket)
	defer server.Close()

	for _, args := range [][]string{{"ping", "ci"}, {"deliveries", "1"}, {"deliveries"}, {"events"}, {"status"}, {"deliveries", "--json"}} {
		var out, errs strings.Builder
		run(t.Context(), append(args, "--data-dir", dir), system{Stdout: &out, Stderr: &errs, LookupEnv: func(string) (string, bool) { return "", false }})
		printed := out.String() + errs.String()
		if strings.ContainsFunc(printed, isControl) {
			t.Errorf("%q printed control characters: %q", args, printed)
		}
		if !strings.Contains(printed, `\u001b]0;owned\u0007`) || !strings.Contains(printed, `\u202egnp`) {
			t.Errorf("%q printed no escapes: %q", args, printed)
		}
		if args[len(args)-1] == "--json" {
			var d api.V1Delivery
			if err := json.Unmarshal([]byte(out.String()), &d); err != nil || d.Repository != evil {
				t.Errorf("%q: the JSON has the repository %q (%v), want %q", args, d.Repository, err, evil)
			}
		}
	}
}

func TestTerminalWriter(t *testing.T) {
	const text = "a\tb\r\nü€ \xff\x9b \x1b[0m"
	var out strings.Builder
	n, err := terminalWriter{&out}.Write([]byte(text))
	if want := "a\tb\nü€ \\xff\\x9b \\u001b[0m"; out.String() != want || n != len(text) || err != nil {
		t.Errorf("Write(%q): got %q, %d, %v, want %q, %d", text, out.String(), n, err, want, len(text))
	}
}
