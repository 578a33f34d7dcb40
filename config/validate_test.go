package config

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// bcryptHash is a hash of the password "x".
const bcryptHash = "$2y$05$abcdefghijklmnopqrstuuWzC7DHiJ6gWQRFKX.fjdwM2/q1h8.QS"

// TestBlocks checks the rules of projects, scanners and replications.
func TestBlocks(t *testing.T) {
	for name, tt := range map[string]struct{ add, want string }{
		"quota":           {add: "projects: [{match: team-*, quota: {limit: 50GiB, warn_at: [85%]}}]"},
		"warn at nothing": {"projects: [{match: team-*, quota: {warn_at: [85%]}}]", "projects[0].quota.limit: is missing: warn_at is a share of it"},
		"percent":         {"projects: [{match: team-*, quota: {limit: 1, warn_at: [85]}}]", `projects[0].quota.warn_at[0]: "85" is not a percentage from 0% to 100%; write it like 85%`},
		"scanner":         {add: "scanners: [{name: trivy, url: http://trivy-adapter:8080, auth: {type: bearer, token: x}, registry_url: http://registry:5000/}]"},
		"scanner without": {"scanners: [{}]", "scanners[0].name: is missing\nscanners[0].url: is missing"},
		"scanner auth":    {"scanners: [{name: trivy, url: http://t, auth: {type: basic, username: u}}]", "scanners[0].auth: basic needs username and password"},
		"scanner no auth": {"scanners: [{name: trivy, url: http://t, auth: {token: x}}]", "scanners[0].auth: has a credential that type none does not use"},
		"scanner twice":   {"scanners: [{name: a, url: http://t}, {name: a, url: http://t}]", "scanners[1].name: the same name as scanners[0] in line 8; names are unique"},
		"replication":     {add: "replication: [{name: dr, match: {user_agents: [regsync*], source_cidrs: [10.0.0.0/8]}, also_push_events: false}]"},
		"hides pushes": {"replication: [{name: dr, match: {user_agents: [regsync*]}, also_push_events: false}]",
			"replication[0].also_push_events: false needs operators or source_cidrs in match: any client can send a user agent and so hide its pushes"},
		"matches all":     {"replication: [{name: dr}]", "replication[0].match: needs at least one of user_agents, operators and source_cidrs"},
		"admin":           {add: "admin: {listen: ':5082', users: [{name: ops, password_hash: " + bcryptHash + "}], tokens: [{name: ci, token: 0123456789abcdef, projects: [team-*]}]}"},
		"admin open":      {"admin: {listen: ':5082'}", "admin.listen: an address that is not loopback needs admin.users or admin.tokens"},
		"admin open IPv6": {"admin: {listen: '[::]:5082'}", "admin.listen: an address that is not loopback needs admin.users or admin.tokens"},
		"admin loopback":  {add: "admin: {listen: '[::1]:6000'}"},
		"admin localhost": {add: "admin: {listen: 'localhost:6000'}"},
		"password":        {"admin: {users: [{name: 'o:ps', password_hash: hunter2}]}", "admin.users[0].name: must have no colon: HTTP Basic separates name and password by one\nadmin.users[0].password_hash: must be a bcrypt hash, as made by: htpasswd -nB NAME"},
		"token":           {"admin: {tokens: [{name: ci, token: hunter2}]}", "admin.tokens[0].token: must have at least 16 characters"},
		"verify":          {add: "identity: {verify: {jwks_url: https://auth.example.com/keys, audience: [registry], issuer: https://auth.example.com}}"},
		"verify without":  {"identity: {verify: {issuer: x, audience: ['']}}", "identity.verify: needs jwks_file or jwks_url: without keys no token can be verified\nidentity.verify.audience[0]: must not be empty"},
	} {
		t.Run(name, func(t *testing.T) {
			file := `upstreams:
  - type: registry
    url: http://127.0.0.1:5000
    external_url: https://registry.example.com
  - type: chartmuseum
    url: http://127.0.0.1:8081

` + tt.add
			_, _, err := Parse("f", []byte(file), noEnv)
			if diff := cmp.Diff(tt.want, messages(err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// messages returns the problems of err without their places.
func messages(err error) string {
	problems, _ := errors.AsType[Problems](err)
	var lines []string
	for _, p := range problems {
		lines = append(lines, p.Path+": "+p.Message)
	}
	return strings.Join(lines, "\n")
}

func TestAccepted(t *testing.T) {
	for name, add := range map[string]string{
		"nothing asked for": "scanners: []\nreplication:\nadmin: {users: [], tokens: null, tls: {cert_file: ''}, listen: 127.0.0.1:5082}",
		"admin off":         "admin: {listen: ''}",
		"health off":        "health: {listen: ''}",
		"empty blocks":      "limits:\nstore: {}\nidentity: null",
		"no limits":         "limits: {header_read: 0, idle: 0s, connections: 0, header_size: 0}",
		"secrets":           "    signing_secrets: [whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw]",
		"headers":           "    headers: {X-Token: abc, Authorization: Basic abc}",
		"filters":           "    match: {repositories: ['team-{a,b}/**'], tags: ['v[0-9]*', '{latest,main}', '?.?'], tagged: true}\n    exclude: {operators: ['robot$*', 'x\\[1*']}",
		"postgres":          "database: postgres://u:p@127.0.0.1/bellbuoy?sslmode=disable",
		"addresses":         "trusted_proxies: [10.1.2.3, 'fd00::/8']\negress: {deny: [10.1.2.3/8]}",
		"byte order mark":   "\ufeff",
		"anchors":           "correlation: {pull: &t 30s, repeat: *t}",
	} {
		t.Run(name, func(t *testing.T) {
			file := smallest + add
			if name == "byte order mark" {
				file = add + smallest
			}
			_, warnings, err := Parse("f", []byte(file), noEnv)
			if err != nil || len(warnings) > 0 {
				t.Errorf("problems: %v, warnings: %v", err, warnings)
			}
		})
	}
}

func TestExternalURL(t *testing.T) {
	for url, ok := range map[string]bool{
		"https://registry.example.com": true, "https://registry.example.com/": true, "https://registry.example.com/sub": false,
		"http://localhost": true, "http://localhost:5080": true, "http://registry:5080": true, "http://10.0.0.1": true,
		"http://[::1]:5080": true, "http://registry": false, "registry.example.com": false, "https://a.example.com?b": false,
	} {
		file := strings.Replace(smallest, "https://registry.example.com", url, 1)
		if _, _, err := Parse("f", []byte(file), noEnv); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestDependentDefaults(t *testing.T) {
	dir := environment(map[string]string{"STATE_DIRECTORY": "/var/lib/bellbuoy:/var/lib/other"})
	cfg, _, err := Parse("f", []byte(smallest+`
    events: ["*"]
  - {name: chat, url: "https://hooks.slack.com/services/x", format: slack}
  - {name: fast, url: "https://hooks.slack.com/services/x", format: slack, rate_limit: 10/s}
  - {name: ce, url: "https://ce.example.com", format: cloudevents}
`), dir)
	if err != nil {
		t.Fatal(err)
	}
	ws := cfg.Webhooks
	got := []string{cfg.DataDir, ws[1].RateLimit.String(), ws[2].RateLimit.String(), ws[0].RateLimit.String(), ws[3].FormatOptions.Mode, ws[0].FormatOptions.Mode}
	if diff := cmp.Diff([]string{"/var/lib/bellbuoy", "1/s", "10/s", "", "structured", ""}, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if !slices.Equal(ws[0].Events, EventTypes()) || len(EventTypes()) != 12 {
		t.Errorf("* is %v", ws[0].Events)
	}
	cfg, _, err = Parse("f", []byte(smallest+"data_dir: ./here"), dir)
	if err != nil || cfg.DataDir != "./here" {
		t.Errorf("data_dir is %q, %v", cfg.DataDir, err)
	}
}

// TestBombs parses small files that could use much memory or stack.
func TestBombs(t *testing.T) {
	aliases := "a: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := range 9 {
		n, m := string(rune('0'+i)), string(rune('1'+i))
		aliases += "b" + m + ": &a" + m + " [" + strings.Repeat("*a"+n+", ", 9) + "]\n"
	}
	for name, file := range map[string]string{
		"aliases":   aliases,
		"brackets":  "listen: " + strings.Repeat("[", 100_000),
		"braces":    strings.Repeat("{a: ", 100_000),
		"dashes":    strings.Repeat("- ", 100_000),
		"questions": strings.Repeat("? ", 100_000),
		"size":      strings.Repeat("# x\n", 2<<20),
		"itself":    "webhooks: &a [*a]",
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse("f", []byte(file), noEnv)
			if _, ok := errors.AsType[Problems](err); !ok {
				t.Errorf("got %v", err)
			}
		})
	}
}
