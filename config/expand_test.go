package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain, newline := write("plain", "s3cret"), write("newline", "s3cret\n")
	two, crlf := write("two", "s3cret\n\n"), write("crlf", "s3cret\r\n")
	huge := write("huge", strings.Repeat("x", maxSecretFile+1))
	env := environment(map[string]string{"A": "1", "B_2": "two", "EMPTY": "", "NESTED": "${A}", "YAML": "a: [b, \"c\n"})

	blank := write("blank", "")
	for _, tt := range []struct{ text, want, empty, problem string }{
		{text: "plain", want: "plain"},
		{text: "${A}", want: "1"},
		{text: "x${A}y${B_2}z", want: "x1ytwoz"},
		{text: "${EMPTY}", want: "", empty: "${EMPTY}"},
		{text: "a${EMPTY:-}b${file:" + blank + "}c${EMPTY}", want: "abc", empty: "${file:" + blank + "}"},
		{text: "${EMPTY:-d}", want: "d"},
		{text: "${NONE:-d}", want: "d"},
		{text: "${NONE:-}", want: ""},
		{text: "${NONE:-a:-b}", want: "a:-b"},
		{text: "${A:-d}", want: "1"},
		{text: "${NESTED}", want: "${A}"},
		{text: "${YAML}", want: "a: [b, \"c\n"},
		{text: "$${A}", want: "${A}"},
		{text: "$$${A}", want: "$${A}"},
		{text: "$A $ $$ $2y$10$abc", want: "$A $ $$ $2y$10$abc"},
		{text: "${file:" + plain + "}", want: "s3cret"},
		{text: "${file:" + newline + "}", want: "s3cret"},
		{text: "${file:" + two + "}", want: "s3cret\n"},
		{text: "${file:" + crlf + "}", want: "s3cret"},
		{text: "Bearer ${file:" + plain + "}!", want: "Bearer s3cret!"},
		{text: "${NONE}", problem: "the environment variable NONE is not set; ${NONE:-default} gives it a default"},
		{text: "${}", problem: `"${}" is not ${VAR}, ${VAR:-default} or ${file:/path}; write "$${" for a literal "${"`},
		{text: "${2B}", problem: `"${2B}" is not ${VAR}, ${VAR:-default} or ${file:/path}; write "$${" for a literal "${"`},
		{text: "${A", problem: `"${" without "}"; write "$${" for a literal "${"`},
		{text: "${file:}", problem: "${file:} names no file"},
		{text: "${file:" + dir + "/none}", problem: "${file:" + dir + "/none}: no such file or directory"},
		{text: "${file:" + dir + "}", problem: "${file:" + dir + "}: not a regular file"},
		{text: "${file:" + huge + "}", problem: "${file:" + huge + "}: larger than 1MiB"},
	} {
		got, empty, err := (&expander{env: env}).expand(tt.text)
		problem := ""
		if err != nil {
			problem = err.Error()
		}
		if problem != tt.problem || problem == "" && got != tt.want || empty != tt.empty {
			t.Errorf("%q gives %q, empty %q, problem %q; want %q, %q, %q", tt.text, got, empty, problem, tt.want, tt.empty, tt.problem)
		}
	}
}

// TestExpansionKeepsStructure expands texts with YAML syntax into a value of each kind of type.
func TestExpansionKeepsStructure(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("a: b\n- c # \"d\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	file := `
shutdown_grace: ${GRACE}
proxy_protocol: ${PROXY}
trusted_proxies: ["${NET}"]
limits: {connections: "${CONNECTIONS}", header_size: "${SIZE:-32KiB}"}
upstreams:
  - type: ${TYPE}
    url: http://${HOST}
    external_url: https://registry.example.com
    credentials: {username: u, password: "${file:` + secret + `}"}
webhooks:
  - name: ci
    url: https://ci.example.com/${INJECTED}
    match: {tagged: "${TAGGED}"}
    retry: ["${GRACE}"]
`
	cfg, _, err := Parse("bellbuoy.yaml", []byte(file), environment(map[string]string{
		"GRACE": "40s", "PROXY": "true", "NET": "10.0.0.0/8", "CONNECTIONS": "7", "TYPE": "registry",
		"HOST": "127.0.0.1:5000", "INJECTED": "x\", enabled: false, y: \"", "TAGGED": "true",
	}))
	if err != nil {
		t.Fatal(err)
	}
	tagged := true
	got := []any{
		cfg.ShutdownGrace.String(), cfg.ProxyProtocol, cfg.TrustedProxies[0].String(), cfg.Limits.Connections,
		cfg.Limits.HeaderSize, cfg.Upstreams[0].Type, cfg.Upstreams[0].URL, cfg.Upstreams[0].Credentials.Password.Reveal(),
		cfg.Webhooks[0].URL.Reveal(), cfg.Webhooks[0].URL.String(), cfg.Webhooks[0].Enabled, cfg.Webhooks[0].Match.Tagged, cfg.Webhooks[0].Retry[0].String(),
	}
	want := []any{
		"40s", true, "10.0.0.0/8", 7, Size(32 << 10), "registry", "http://127.0.0.1:5000", "a: b\n- c # \"d\"",
		"https://ci.example.com/x\", enabled: false, y: \"", "https://ci.example.com/***", true, &tagged, "40s",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("expanded (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{secret}, cfg.Files()); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
