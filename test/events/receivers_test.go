package events

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// All kinds of authentication to a receiver: Authorization verbatim, headers, and the signatures of
// Standard Webhooks with two secrets, of GitHub and of GitLab.
func TestSignatures(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	const old, next, wrong = "whsec_YW4gb2xkIHNlY3JldCBvZiAzMiBieXRlcywgb3Igc28u", "whsec_YSBuZXcgc2VjcmV0IHRoYXQgdGFrZXMgaXRzIHBsYWNl", "whsec_YSBzZWNyZXQgdGhhdCBub2JvZHkgaGFzIGNvbmZpZ3VyZWQ="
	b := harness.BellbuoyWith(t, harness.BuoyOptions{Env: []string{"SECRET=it's $a \"secret\""}}, harness.RegistryUpstream(registry.URL)+fmt.Sprintf(`webhooks:
  - name: signed
    url: %q
    auth_header: "Weird scheme=x,  y"
    headers: {X-Team: blue, x-lower: "1"}
    signing_secrets: [%s, %s]
    signatures:
      - {header: X-Hub-Signature-256, algorithm: sha256, prefix: "sha256=", secret: "${SECRET}"}
      - {header: X-Gitlab-Token, algorithm: token, secret: plain}
  - {name: unsigned, url: %q}
`, hooks.URL("/signed"), old, next, hooks.URL("/unsigned")))
	hooks.Statuses("/signed", http.StatusServiceUnavailable, http.StatusOK) // the second attempt has a new signature
	config := string(harness.ReadFile(t, b.Config))
	b.Reload(strings.Replace(config, "auth_header", "retry: [0s, 1s, 1s]\n    auth_header", 1))
	b.WaitLog("configuration reloaded", harness.Soon)
	harness.Push(t, b.ProxyURL, "app", "v1", harness.NewImage(harness.ImageOptions{}))
	posts := hooks.WaitAt("/signed", 2, harness.Soon)
	if string(posts[0].Body) != string(posts[1].Body) || posts[0].ID() != posts[1].ID() {
		t.Error("the second attempt is not the same")
	}
	for _, p := range posts {
		for secret, want := range map[string]bool{old: true, next: true, wrong: false} {
			verifier, err := standardwebhooks.NewWebhook(secret)
			if err != nil {
				t.Fatal(err)
			}
			if err := verifier.Verify(p.Body, p.Header); (err == nil) != want {
				t.Errorf("verifying with %s: %v", secret, err)
			}
		}
		mac := hmac.New(sha256.New, []byte(`it's $a "secret"`))
		mac.Write(p.Body)
		for name, want := range map[string]string{
			"Authorization": "Weird scheme=x,  y", "X-Team": "blue", "X-Lower": "1", "X-Gitlab-Token": "plain", "Content-Type": "application/json",
			"X-Hub-Signature-256": "sha256=" + hex.EncodeToString(mac.Sum(nil)),
		} {
			if got := p.Header.Get(name); got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
		if !strings.HasPrefix(p.Header.Get("User-Agent"), "bellbuoy/") {
			t.Errorf("User-Agent %q", p.Header.Get("User-Agent"))
		}
	}
	bare := hooks.WaitAt("/unsigned", 1, harness.Soon)[0]
	if bare.Header.Get("webhook-signature") != "" || bare.Header.Get("Authorization") != "" || bare.ID() == "" || bare.Header.Get("webhook-timestamp") == "" {
		t.Errorf("headers without secrets: %v", bare.Header)
	}
	for _, secret := range []string{old, next, "it's $a", "Weird scheme"} {
		if strings.Contains(b.Logs(), strings.TrimPrefix(secret, "whsec_")) {
			t.Errorf("the log shows the secret %s", secret)
		}
	}
}

// Each webhook gets exactly the events that match its filters.
func TestFilters(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{Delete: true, Htpasswd: map[string]string{"ann": "pw", "bob": "pw"}}), harness.NewReceiver(t)
	filters := map[string]struct {
		filter string
		want   string // the posts: repository:tag type, sorted
	}{
		"default":   {"", "other/app:v1 PUSH, team/app:dev PUSH, team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"everyone":  {`events: ["*"]`, "other/app:v1 PUSH, team/app:dev PUSH, team/app:v1 DELETE_TAG, team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"deletes":   {"events: [DELETE_TAG]", "team/app:v1 DELETE_TAG"},
		"project":   {"match: {projects: [te*]}", "team/app:dev PUSH, team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"shallow":   {`match: {repositories: ["team/*"]}`, "team/app:dev PUSH, team/app:v1 PUSH, team/app:v1 PUSH"},
		"deep":      {`match: {repositories: ["team/**"]}`, "team/app:dev PUSH, team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"tags":      {`match: {tags: ["v*"]}`, "other/app:v1 PUSH, team/app:v1 PUSH, team/app:v1 PUSH"},
		"operator":  {"match: {operators: [bob]}", "other/app:v1 PUSH"},
		"changed":   {"match: {changed: true, repositories: [team/app]}", "team/app:dev PUSH, team/app:v1 PUSH"},
		"all keys":  {`match: {projects: [team], tags: [v1], operators: [bob]}`, ""},
		"exclude":   {`exclude: {tags: [dev, latest]}`, "other/app:v1 PUSH, team/app:v1 PUSH, team/app:v1 PUSH"},
		"exclude 2": {`exclude: {tags: [dev], operators: [bob]}`, "team/app:v1 PUSH, team/app:v1 PUSH, team/deep/app:latest PUSH"},
		"kinds":     {"match: {kinds: [chart, index]}", ""},
		"off":       {"enabled: false", ""},
	}
	config := harness.RegistryUpstream(registry.URL) + "webhooks:\n"
	for name, f := range filters {
		path := "/" + strings.ReplaceAll(name, " ", "-")
		config += fmt.Sprintf("  - name: %s\n    url: %q\n    order: none\n", path[1:], hooks.URL(path))
		if f.filter != "" {
			config += "    " + f.filter + "\n"
		}
	}
	b := harness.Bellbuoy(t, config)
	ann, bob, a := harness.Login{User: "ann", Password: "pw"}.Header(), harness.Login{User: "bob", Password: "pw"}.Header(), harness.NewImage(harness.ImageOptions{})
	harness.Push(t, b.ProxyURL, "team/app", "v1", a, ann...)
	harness.Push(t, b.ProxyURL, "team/app", "v1", a, ann...) // the same push again
	harness.Push(t, b.ProxyURL, "team/app", "dev", a, ann...)
	harness.Push(t, b.ProxyURL, "team/deep/app", "latest", a, ann...)
	harness.Push(t, b.ProxyURL, "other/app", "v1", a, bob...)
	harness.Must(t, http.StatusAccepted, http.MethodDelete, b.ProxyURL+"/v2/team/app/manifests/v1", nil, ann...)
	got := func(name string) string {
		var all []string
		for _, p := range hooks.Posts("/" + strings.ReplaceAll(name, " ", "-")) {
			kind := strings.TrimSuffix(p.Text("type"), "_ARTIFACT")
			all = append(all, fmt.Sprintf("%s:%s %s", p.Text("event_data.repository.repo_full_name"), p.Text("event_data.resources.0.tag"), kind))
		}
		slices.Sort(all)
		return strings.Join(all, ", ")
	}
	harness.Eventually(harness.Soon, func() bool {
		for name, f := range filters {
			if len(got(name)) < len(f.want) {
				return false
			}
		}
		return true
	})
	time.Sleep(time.Second) // for unexpected posts
	for name, f := range filters {
		if list := got(name); list != f.want {
			t.Errorf("%s (%s) got %q, want %q", name, f.filter, list, f.want)
		}
	}
}
