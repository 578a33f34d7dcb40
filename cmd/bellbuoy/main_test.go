package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
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

// command runs one command line with a configuration of that content; "" writes none.
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
	code = run(context.Background(), append(args, "-c", path), system{Stdout: &out, Stderr: &errs, LookupEnv: func(string) (string, bool) { return "", false }})
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
		{"unknown command", "", []string{"srve"}, 2, nil, []string{"srve", "'bellbuoy --help'"}},
		{"unknown flag", smallConfig, []string{"check", "--jsn"}, 2, nil, []string{"--jsn"}},
		{"missing argument", smallConfig, []string{"ping"}, 2, nil, []string{"accepts 1 arg", "Usage: bellbuoy ping WEBHOOK"}},
		{"check", smallConfig, []string{"check"}, 0, []string{"ok (2 upstreams, 2 webhooks)"}, nil},
		{"check finds all", smallConfig + "  - {name: ci, urll: x}\n", []string{"check"}, 1, []string{`did you mean "url"?`, "bellbuoy.yaml:16:"}, nil},
		{"check tells warnings beside problems", strings.Replace(smallConfig, "    external_url: https://registry.example.com\n", "", 1) + "  - {name: ci, urll: x}\n", []string{"check"}, 1,
			[]string{"bellbuoy.yaml:3:5: warning: upstreams[0]: external_url is not set", `did you mean "url"?`, "bellbuoy.yaml: not ok (3 problems, 1 warning)\n"}, nil},
		{"check of a loop", strings.Replace(smallConfig, ":5000", ":5080", 1), []string{"check"}, 1, []string{"bellbuoy.yaml:4:10: upstreams[0].url: is where bellbuoy itself listens"}, nil},
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
		{"nobody runs", smallConfig, []string{"ping", "ci"}, 1, nil, []string{"no bellbuoy is running", "DIR/data/admin.sock"}},
		{"redeliver what", smallConfig, []string{"redeliver"}, 1, nil, []string{"--webhook"}},
		{"redeliver a word", smallConfig, []string{"redeliver", "x"}, 1, nil, []string{`"x" is not the id`}},
		{"since when", smallConfig, []string{"events", "--since", "yesterday"}, 1, nil, []string{`"yesterday"`}},
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
		{"POST", "/api/team/charts", []string{"upstream:  chartmuseum", "UPLOAD_CHART"}},
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
	if code, _, stderr := command(t, smallConfig, "explain", "GET", "v2/x"); code != 1 || !strings.Contains(stderr, "begins with /") {
		t.Errorf("%d %s", code, stderr)
	}
}
