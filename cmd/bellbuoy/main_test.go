package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const smallConfig = `
upstreams:
  - type: registry
    url: http://127.0.0.1:5000
    external_url: https://registry.example.com
  - type: chartmuseum
    url: http://127.0.0.1:8081
    external_url: https://registry.example.com
webhooks:
  - name: ci
    url: https://ci.example.com/hooks/registry
  - name: all
    url: https://all.example.com/x
    events: ["*"]
    match: {repositories: ["team/**"]}
`

// command runs one command line with a configuration file of this content; "": the file does not
// exist. The temporary directory is DIR in the output.
func command(t *testing.T, config string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "bellbuoy.yaml")
	if config != "" {
		if err := os.WriteFile(path, []byte(config+"\ndata_dir: "+dir+"/data\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, errs bytes.Buffer
	if args[0] == "__complete" {
		args = slices.Insert(args, 1, "-c", path)
	} else if !slices.Contains(args, "check") || len(args) == 1 || strings.HasPrefix(args[1], "-") {
		args = append(args, "-c", path)
	}
	code = run(context.Background(), args, system{Stdout: &out, Stderr: &errs, LookupEnv: func(string) (string, bool) { return "", false }})
	return code, strings.ReplaceAll(out.String(), dir, "DIR"), strings.ReplaceAll(errs.String(), dir, "DIR")
}

func TestCommandLine(t *testing.T) {
	tests := []struct {
		name, config string
		args         []string
		code         int
		stdout       []string // parts
		stderr       []string
	}{
		{"version", "", []string{"version"}, 0, []string{"bellbuoy "}, nil},
		{"--version", "", []string{"--version"}, 0, []string{"bellbuoy "}, nil},
		{"check of a missing FILE", "", []string{"check", "/no/such.yaml"}, 1, []string{"/no/such.yaml"}, nil},
		{"check --json", smallConfig + "  - {name: x, urll: x}\n", []string{"check", "--json"}, 1,
			[]string{`"ok": false`, `"line": 16,` + "\n" + `      "column": 15,`, `"path": "webhooks[2].urll"`, `"message": "unknown key; did you mean \"url\"?"`}, nil},
		{"check --json of a good file", smallConfig, []string{"check", "--json"}, 0, []string{`"ok": true`, `"problems": []`}, nil},
		{"status, nothing running", smallConfig, []string{"status"}, 1, nil, []string{"no bellbuoy is running", "DIR/data/admin.sock"}},
		{"commands need data_dir only", "webhooks: [\n", []string{"events"}, 1, nil, []string{"no bellbuoy is running", "DIR/data/admin.sock"}},
		{"--data-dir", "webhooks: [\n", []string{"events", "--data-dir", "/no/such"}, 1, nil, []string{"no bellbuoy is running", "/no/such/admin.sock"}},
		{"no configuration at all", "", []string{"events"}, 1, nil, []string{"--data-dir"}},
		{"events -f with --until", smallConfig, []string{"events", "-f", "--until", "10:00"}, 1, nil, []string{"--until"}},
		{"explain of what is no event", smallConfig, []string{"explain", "4711"}, 2, nil, []string{"is not the id of an event", "bellbuoy events"}},
		{"completion", "", []string{"completion", "bash"}, 0, []string{"__start_bellbuoy"}, nil},
		{"completes webhooks", smallConfig, []string{"__complete", "ping", ""}, 0, []string{"ci\nall\n"}, nil},
		{"completes a flag's webhooks", smallConfig, []string{"__complete", "deliveries", "--webhook", ""}, 0, []string{"ci\nall\n"}, nil},
		{"completes states", smallConfig, []string{"__complete", "deliveries", "--state", ""}, 0, []string{"pending\ndelivered\ndead\nparked\n"}, nil},
		{"unknown command", "", []string{"srve"}, 2, nil, []string{"srve", `did you mean "serve"?`, "'bellbuoy --help'"}},
		{"unknown flag", smallConfig, []string{"check", "--jsn"}, 2, nil, []string{"--jsn"}},
		{"missing argument", smallConfig, []string{"ping"}, 2, nil, []string{"accepts 1 arg", "Usage: bellbuoy ping WEBHOOK"}},
		{"check", smallConfig, []string{"check"}, 0, []string{"ok (2 upstreams, 2 webhooks)"}, nil},
		{"check finds two problems", smallConfig + "  - {name: ci, urll: x}\n", []string{"check"}, 1, []string{`did you mean "url"?`, "bellbuoy.yaml:16:"}, nil},
		{"check prints warnings with problems", strings.Replace(smallConfig, "    external_url: https://registry.example.com\n", "", 1) + "  - {name: ci, urll: x}\n", []string{"check"}, 1,
			[]string{"bellbuoy.yaml:3:5: warning: upstreams[0]: external_url is not set", `did you mean "url"?`, "bellbuoy.yaml: not ok (3 problems, 1 warning)\n"}, nil},
		{"check of an upstream at bellbuoy itself", strings.Replace(smallConfig, ":5000", ":5080", 1), []string{"check"}, 1, []string{"bellbuoy.yaml:4:10: upstreams[0].url: is an address on which bellbuoy itself listens"}, nil},
		{"check of addresses", smallConfig + `  - {name: self, url: "http://localhost:5081/x"}
  - {name: metadata, url: "http://169.254.169.254/x"}
  - {name: denied, url: "http://10.1.2.3/x"}
  - {name: fine, url: "http://192.168.1.1/x"}
egress: {deny: [10.0.0.0/8]}
`, []string{"check"}, 1, []string{
			"bellbuoy.yaml:16:23: webhooks[2].url: denied by egress: 127.0.0.1:5081 is bellbuoy's own listener\n",
			"bellbuoy.yaml:17:27: webhooks[3].url: denied by egress: 169.254.169.254:80 is never open",
			"bellbuoy.yaml:18:25: webhooks[4].url: denied by egress: 10.1.2.3:80 is in its deny list\n", "(3 problems, 0 warnings)"}, nil},
		{"check without a file", "", []string{"check"}, 1, []string{"reading configuration", "no such file"}, nil},
		{"check of a file that wire refuses", smallConfig + "identity: {verify: {jwks_file: /dev/null}}\n", []string{"check"}, 1, []string{"bellbuoy.yaml:16:20: identity.verify"}, nil},
		{"ping, nothing running", smallConfig, []string{"ping", "ci"}, 1, nil, []string{"no bellbuoy is running", "DIR/data/admin.sock"}},
		{"redeliver without arguments", smallConfig, []string{"redeliver"}, 2, nil, []string{"give ids of deliveries, or --webhook"}},
		{"redeliver with ids and a webhook", smallConfig, []string{"redeliver", "1", "--webhook", "ci"}, 2, nil, []string{"not both"}},
		{"redeliver of what is no id", smallConfig, []string{"redeliver", "x"}, 1, nil, []string{`"x" is not the id`}},
		{"--since of what is no time", smallConfig, []string{"events", "--since", "yesterday"}, 1, nil, []string{`"yesterday"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			code, stdout, stderr := command(t, tt.config, tt.args...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			for _, part := range tt.stdout {
				if !strings.Contains(stdout, part) {
					t.Errorf("stdout lacks %q", part)
				}
			}
			for _, part := range tt.stderr {
				if !strings.Contains(stderr, part) {
					t.Errorf("stderr lacks %q", part)
				}
			}
			if t.Failed() {
				t.Logf("stdout:\n%s\nstderr:\n%s", stdout, stderr)
			}
		})
	}
}

func TestExplain(t *testing.T) {
	const digest = "sha256:378cd67058a5cff7d183a9d12b816b03152eb28d6374a2a90247f91edee1abaa"
	tests := []struct {
		method, url string
		want        []string
	}{
		{"PUT", "/v2/team/app/manifests/v1", []string{"upstream:  registry", "manifest put: repository team/app, tag v1", "PUSH_ARTIFACT", "ci       yes", "all      yes"}},
		{"put", "https://registry.example.com/v2/other/manifests/v1", []string{"PUSH_ARTIFACT", "all      no     match.repositories"}},
		{"GET", "/v2/team/app/manifests/" + digest, []string{"PULL_ARTIFACT", "by HEAD", "ci       no     events", "all      yes"}},
		{"HEAD", "/v2/team/app/manifests/v1", []string{"none: a HEAD is a check"}},
		{"DELETE", "/v2/team/app/manifests/v1", []string{"DELETE_TAG"}},
		{"DELETE", "/v2/team/app/manifests/" + digest, []string{"DELETE_ARTIFACT"}},
		{"GET", "/v2/team/app/blobs/" + digest, []string{"none: a blob is part"}},
		{"POST", "/api/team/charts", []string{"upstream:  chartmuseum", "UPLOAD_CHART", "ci       yes", "all      depends  match.repositories: only the body or the answer decides"}},
		{"GET", "/charts/demo-1.0.0.tgz", []string{"DOWNLOAD_CHART", "file demo-1.0.0.tgz"}},
		{"GET", "/anything", []string{"other", "none"}},
	}
	for _, tt := range tests {
		code, stdout, stderr := command(t, smallConfig, "explain", tt.method, tt.url)
		if code != 0 {
			t.Errorf("%s %s: exit code %d, %s", tt.method, tt.url, code, stderr)
		}
		for _, part := range tt.want {
			if !strings.Contains(stdout, part) {
				t.Errorf("%s %s lacks %q:\n%s", tt.method, tt.url, part, stdout)
			}
		}
	}
	limited := smallConfig + "projects: [{match: team, quota: {limit: 50GiB}}]\n"
	if _, stdout, _ := command(t, limited, "explain", "PUT", "/v2/team/app/manifests/v1"); !strings.Contains(stdout, "also QUOTA_WARNING or QUOTA_EXCEED, if the project team rises over a level of its quota of 50.0 GiB") {
		t.Errorf("a push to a project with a quota:\n%s", stdout)
	}
	scanned := smallConfig + `scanners:
  - {name: trivy, url: "http://trivy:8080"}
  - {name: other, url: "http://other:8080", match: {repositories: ["other/**"]}}
  - {name: by-hand, url: "http://hand:8080", trigger: manual}
`
	_, stdout, _ := command(t, scanned, "explain", "PUT", "/v2/team/app/manifests/v1")
	for _, part := range []string{"SCANNER  SCANS  BECAUSE", "trivy    yes    if it is an image, or an index of images\n",
		"other    no     match.repositories: the push has team/app, it wants [other/**]\n", "by-hand  no     trigger: it is manual; bellbuoy scan starts a scan by hand\n"} {
		if !strings.Contains(stdout, part) {
			t.Errorf("a push with scanners lacks %q:\n%s", part, stdout)
		}
	}
	if _, stdout, _ := command(t, scanned, "explain", "PUT", "/v2/team/app/manifests/sha256-"+digest[7:]+".sig"); !strings.Contains(stdout, "trivy    no     only images and indexes of images are scanned\n") {
		t.Errorf("a push of a signature:\n%s", stdout)
	}
	if _, stdout, _ := command(t, scanned, "explain", "GET", "/v2/team/app/manifests/v1"); strings.Contains(stdout, "SCANNER") {
		t.Errorf("explain of a pull lists scanners:\n%s", stdout)
	}
	if code, _, stderr := command(t, smallConfig, "explain", "GET", "v2/x"); code != 1 || !strings.Contains(stderr, "begins with /") {
		t.Errorf("explain GET v2/x: exit code %d, stderr %q, want 1 and an error about the path", code, stderr)
	}
}

// Each command that is not hidden has a manual page with its flags.
func TestManuals(t *testing.T) {
	dir := t.TempDir()
	if code, _, stderr := command(t, "", "man", dir); code != 0 {
		t.Fatal(stderr)
	}
	for name, want := range map[string]string{
		"bellbuoy.1":            ".BR bellbuoy\\-status (1)",
		"bellbuoy-status.1":     "\\-\\-json",
		"bellbuoy-deliveries.1": "bellbuoy deliveries \\-\\-webhook deploy",
	} {
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(page), want) {
			t.Errorf("%s lacks %q: %v\n%s", name, want, err, page)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "bellbuoy-man.1")); err == nil {
		t.Error("a hidden command has a page")
	}
}
