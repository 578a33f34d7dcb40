package console

import (
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// minimal is a form that can be saved.
func minimal(changes url.Values) url.Values {
	form := url.Values{"form": {"sent"}, "do": {"save"}, "name": {"ci"}, "project": {"platform"}, "url": {"https://ci.example.com/hook"}, "notify_type": {"http"},
		"events": {"PUSH_ARTIFACT"}, "enabled": {"true"}, "verify": {"true"}, "timeout": {"15s"}}
	for name, values := range changes {
		form[name] = values
	}
	return form
}

func TestTheFormMakesAWebhook(t *testing.T) {
	yes := true
	tests := []struct {
		name string
		form url.Values
		want manage.Definition
	}{
		{"http", nil, manage.Definition{}},
		{"slack", url.Values{"notify_type": {"slack"}}, manage.Definition{Format: "slack"}},
		{"a pasted header", url.Values{"auth_header": {" authorization: Bearer t0ken "}}, manage.Definition{AuthHeader: "Bearer t0ken"}},
		{"no verification", url.Values{"verify": nil}, manage.Definition{TLS: manage.TLS{InsecureSkipVerify: true}}},
		{"no choice for https", url.Values{"verify": nil, "verify_for": {"http"}}, manage.Definition{}},
		{"http needs none", url.Values{"verify": nil, "url": {"http://ci/"}}, manage.Definition{URL: "http://ci/"}},
		{"filters", url.Values{"match.repositories": {"platform/**\r\n\r\n web/* "}, "match.tagged": {"true"}, "exclude.kinds": {"sbom"}},
			manage.Definition{Match: manage.Filter{Repositories: []string{"platform/**", "web/*"}, Tagged: &yes}, Exclude: manage.Filter{Kinds: []string{"sbom"}}}},
		{"headers", url.Values{"headers": {"X-Team: blue\nX-Url: https://x"}}, manage.Definition{Headers: map[string]string{"X-Team": "blue", "X-Url": "https://x"}}},
		{"schedule", url.Values{"retry": {"0s, 5s 1m"}, "concurrency": {"2"}}, manage.Definition{Retry: []string{"0s", "5s", "1m"}, Concurrency: 2}},
		{"a secret", url.Values{"signing_secrets": {"whsec_x"}}, manage.Definition{SigningSecrets: []string{"whsec_x"}}},
		{"the default types", url.Values{"events": defaultEvents(manage.Definition{}), "events_default": {"true"}}, manage.Definition{Events: []string{}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := &desk{}
			status, page := post(t, newConsole(d), ops, "/webhooks/new", minimal(tt.form))
			if status != 303 || page != "/webhooks/1?done=saved" {
				t.Fatalf("%d %s", status, page)
			}
			want := tt.want
			want.Name, want.Enabled, want.Timeout = "ci", true, "15s"
			if want.URL == "" {
				want.URL = "https://ci.example.com/hook"
			}
			if want.Events == nil {
				want.Events = []string{"PUSH_ARTIFACT"}
			} else {
				want.Events = nil
			}
			if diff := cmp.Diff(want, d.webhooks[0].Definition); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is wrong stands beside its field, and nothing that was written is lost.
func TestProblemsStandBesideTheirFields(t *testing.T) {
	d := &desk{refuse: manage.Problems{{Field: "match.tags[0]", Message: "is not a pattern"}, {Field: "url", Message: "has no host"}, {Field: "headers.X-Team", Message: "is too long"}, {Field: "proxy", Message: "is not allowed"}}}
	status, page := post(t, newConsole(d), ops, "/webhooks/new", minimal(url.Values{"match.tags": {"[a"}, "headers": {"X-Team: blue"}}))
	if status != 422 {
		t.Errorf("status %d", status)
	}
	requireText(t, page, `<p class="error" id="e-match.tags">Is not a pattern.</p>`, `<p class="error" id="e-url">Has no host.</p>`, `id="e-headers"`, "proxy: is not allowed", "[a</textarea>",
		`aria-describedby=" e-url"`)
	status, page = post(t, newConsole(&desk{}), ops, "/webhooks/new", minimal(url.Values{"events": nil, "concurrency": {"many"}}))
	if status != 422 {
		t.Errorf("no types: %d", status)
	}
	requireText(t, page, "Tick at least one type of event.", "Write a whole number.")
}

func TestAnEditKeepsWhatTheFormDoesNotShow(t *testing.T) {
	d := sample()
	d.webhooks[2].Definition.Signatures = []manage.Signature{{Header: "X-Hub-Signature-256", Secret: manage.Mask}}
	d.webhooks[2].Definition.SigningSecrets = []string{"***", "***2"}
	c := newConsole(d)
	_, page := get(t, c, ops, "/webhooks/3/edit")
	requireText(t, page, `name="auth_header" type="password" value="***"`, `name="version" value="3"`, "Keep secret 2")
	form := minimal(url.Values{"version": {"3"}, "name": {"release-channel"}, "keep_secret": {"1"}, "auth_header": {"***"}})
	if status, to := post(t, c, ops, "/webhooks/3/edit", form); status != 303 {
		t.Fatalf("%d %s", status, to)
	}
	got := d.webhooks[2].Definition
	if len(got.Signatures) != 1 || got.AuthHeader != "***" || !cmp.Equal(got.SigningSecrets, []string{"***2"}) {
		t.Errorf("%+v", got)
	}
	form.Set("version", "2")
	status, page := post(t, c, ops, "/webhooks/3/edit", form)
	if status != 422 {
		t.Errorf("a change in between: %d", status)
	}
	requireText(t, page, "somebody else has changed this webhook")
}

func TestASecretIsShownOnceItIsMade(t *testing.T) {
	_, page := post(t, newConsole(&desk{}), ops, "/webhooks/new", minimal(url.Values{"do": {"secret"}}))
	requireText(t, page, (&desk{}).NewSigningSecret(), "Copy it now")
}

func TestATestSendShowsTheAnswer(t *testing.T) {
	_, page := post(t, newConsole(&desk{}), ops, "/webhooks/new", minimal(url.Values{"do": {"test"}}))
	requireText(t, page, "Delivered", "200 OK", "38 ms", "got https://ci.example.com/hook", `value="ci"`)
	_, page = post(t, newConsole(sample()), ops, "/webhooks/3/test", url.Values{"sample": {"PUSH_ARTIFACT"}})
	requireText(t, page, "Delivered", "200 OK", "38 ms")
}

func TestAPresetTicksItsTypes(t *testing.T) {
	_, page := post(t, newConsole(&desk{}), ops, "/webhooks/new", minimal(url.Values{"do": {"preset"}, "preset": {"flux"}}))
	requireText(t, page, `value="PUSH_ARTIFACT" checked`, "A push reconciles", "auth_header")
	if strings.Contains(page, `value="DELETE_ARTIFACT" checked`) {
		t.Error("a type that the preset does not set is ticked")
	}
	d := &desk{}
	form := minimal(url.Values{"preset": {"flux"}, "events_default": {"true"}})
	if status, to := post(t, newConsole(d), ops, "/webhooks/new", form); status != 303 {
		t.Fatalf("%d %s", status, to)
	}
	if got := d.webhooks[0].Definition; got.Events != nil || got.Preset != "flux" {
		t.Errorf("the preset's types are copied: %+v", got)
	}
}
