package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Replay sends a webhook a push from before it was configured. A second bellbuoy starts from a
// backup that was made while the first one ran.
func TestReplayAndBackup(t *testing.T) {
	registry := acceptingRegistry(t)
	posted := make(chan string, 10)
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		posted <- string(body)
	}))
	defer receiver.Close()
	upstreams := "upstreams: [{type: registry, url: \"" + registry.URL + "\", external_url: http://localhost:1}]\n"
	r := start(t, upstreams)
	r.push(t)

	config, err := os.ReadFile(r.path)
	if err != nil {
		t.Fatal(err)
	}
	config = append(config, "webhooks: [{name: late, url: \""+receiver.URL+"\"}, {name: off, enabled: false, url: \""+receiver.URL+"\"}]\n"...)
	if err := os.WriteFile(r.path, config, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := r.command("reload"); code != 0 {
		t.Fatal(code, stdout, stderr)
	}
	for _, step := range []struct {
		answer string // on stdin
		args   []string
		code   int
		stdout string
		stderr string
	}{
		{"", []string{"replay", "late"}, 2, "", "--since is missing"},
		{"", []string{"replay", "nobody", "--since", "1h"}, 1, "", `"nobody": no such webhook`},
		{"", []string{"replay", "off", "--since", "1h"}, 1, "", "not enabled in the configuration"},
		{"", []string{"replay", "late", "--since", "1h"}, 1, "Send them? [y/N]", "nothing was sent"},
		{"no\n", []string{"replay", "late", "--since", "1h"}, 1, "late has missed 1 event since", "nothing was sent"},
		{"y\n", []string{"replay", "late", "--since", "1h"}, 0, "1 delivery to be sent", ""},
		{"", []string{"replay", "late", "--since", "1h", "--yes"}, 0, "late has missed no recorded event", ""},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), append(step.args, "-c", r.path), system{Stdin: strings.NewReader(step.answer), Stdout: &out, Stderr: &errs,
			LookupEnv: func(string) (string, bool) { return "", false }})
		if code != step.code || !strings.Contains(out.String(), step.stdout) || !strings.Contains(errs.String(), step.stderr) {
			t.Fatalf("%q with the answer %q: exit code %d, stdout %q, stderr %q\nwant %d, %q, %q", step.args, step.answer,
				code, out.String(), errs.String(), step.code, step.stdout, step.stderr)
		}
	}
	if body := <-posted; !strings.Contains(body, `"tag":"v1"`) {
		t.Errorf("replay sent %s, want the tag v1", body)
	}

	file := filepath.Join(t.TempDir(), "bellbuoy.db")
	if code, stdout, stderr := r.command("backup", file); code != 0 || !strings.HasPrefix(stdout, file+": ") {
		t.Fatalf("backup: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if code, _, stderr := r.command("backup", file); code != 1 || !strings.Contains(stderr, "a backup overwrites nothing") {
		t.Errorf("backup to an existing file: exit code %d, stderr %q", code, stderr)
	}
	if code, _, stderr := r.command("backup", filepath.Join(t.TempDir(), "missing", "x")); code != 1 || !strings.Contains(stderr, "no such file or directory") {
		t.Errorf("backup to a missing directory: exit code %d, stderr %q", code, stderr)
	}
	again := startFrom(t, upstreams, file)
	if code, stdout, stderr := again.command("events"); code != 0 || !strings.Contains(stdout, "PUSH_ARTIFACT") {
		t.Errorf("events of the restored bellbuoy: exit code %d, stdout %q, stderr %q", code, stdout, stderr)
	}
	if len(posted) > 0 {
		t.Errorf("%d events were sent again", len(posted))
	}
}
