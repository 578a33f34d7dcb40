package manage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// full returns a definition with every key that an administrator may set.
func full(url string) Definition {
	return Definition{
		Name: "ci", Description: "builds", Enabled: true, URL: url, Format: "cloudevents",
		FormatOptions: FormatOptions{Mode: "binary", Type: "x.pushed", Subject: "app"}, Events: []string{"PUSH_ARTIFACT", "DELETE_TAG"}, ManifestReads: true,
		Match:   Filter{Upstreams: []string{"registry"}, Projects: []string{"team"}, Repositories: []string{"team/**"}, Tags: []string{"v*"}, Operators: []string{"ci-*"}, UserAgents: []string{"docker*"}, Kinds: []string{"image"}, Tagged: new(true), Semver: ">=1.0.0", Changed: new(true)},
		Exclude: Filter{Tags: []string{"*-rc*"}}, AuthHeader: "Bearer secret-auth", Headers: map[string]string{"X-Key": "secret-header"},
		SigningSecrets: []string{"whsec_c2VjcmV0LXNpZ25pbmctb25lLWxvbmdlci1zdGlsbA==", "whsec_c2VjcmV0LXNpZ25pbmctdHdvLWxvbmdlci1zdGlsbA=="},
		Signatures:     []Signature{{Header: "X-Hub-Signature-256", Algorithm: "sha256", Prefix: "sha256=", Encoding: "hex", Secret: "secret-hmac"}, {Header: "X-Gitlab-Token", Algorithm: "token", Secret: "secret-token"}},
		Timeout:        "5s", Concurrency: 3, Order: "repository", Overtaken: "drop", RateLimit: "30/m", Retry: []string{"0s", "10s"},
		TLS: TLS{ServerName: "ci.example.com", InsecureSkipVerify: true}, Proxy: "http://proxy.example.com:3128",
	}
}

var secrets = []string{"secret-auth", "secret-header", "c2VjcmV0", "secret-hmac", "secret-token", "hidden-path-0123456789", "hidden-query"}

const secretURL = "https://ci.example.com/hooks/hidden-path-0123456789?key=hidden-query"

// TestEveryKeyOfAStoredWebhook: every key of an entry of the file is stored and shown with masked
// secrets. The shown form, when it is sent back, changes nothing.
func TestEveryKeyOfAStoredWebhook(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	w := r.made(ops, "team", full(secretURL))
	shown, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range secrets {
		if strings.Contains(string(shown)+r.log.text(), secret) {
			t.Errorf("%s is shown: %s", secret, shown)
		}
	}
	if want := full(secretURL).masked(); !reflect.DeepEqual(w.Definition, want) {
		t.Errorf("got  %+v\nwant %+v", w.Definition, want)
	}
	again := must[Webhook](t)(r.Change(background, ops, w.Number, w.Version, w.Definition))
	s := must[notify.Stored](t)(r.Stored.Get(background, w.Number))
	if def := must[Definition](t)(definitionOf(&s)); !reflect.DeepEqual(def, full(secretURL)) || again.Version != w.Version+1 {
		t.Errorf("sent back: %+v", def)
	}
	h := r.Running.Set().Named(w.Key)
	if h == nil || h.Concurrency != 3 || !h.DropOvertaken || len(h.Retry) != 2 || h.Match.Semver != ">=1.0.0" || h.Exclude.Tags[0] != "*-rc*" || h.Project != "team" || h.RateLimit == 0 {
		t.Errorf("in use: %+v", h)
	}
	if found := must[Webhook](t)(r.Find(background, dev, "team/ci")); found.Number != w.Number || found.Complete.Format != "cloudevents" || found.Maker != "ops" || found.Limited {
		t.Errorf("%+v", found)
	}
}

// TestMasksSentBack: a mask stands for the secret in its place. It is refused if the receiver has
// changed.
func TestMasksSentBack(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	w := r.made(ops, "team", full(secretURL))
	change := func(edit func(*Definition)) (Definition, error) {
		def := must[Webhook](t)(r.Webhook(background, ops, w.Number)).Definition
		edit(&def)
		_, err := r.Change(background, ops, w.Number, 0, def)
		s := must[notify.Stored](t)(r.Stored.Get(background, w.Number))
		return must[Definition](t)(definitionOf(&s)), err
	}
	all := "auth_header headers.X-Key signing_secrets[0] signing_secrets[1] signatures[0].secret signatures[1].secret"
	for what, edit := range map[string]func(*Definition){
		"url":   func(d *Definition) { d.URL = "https://evil.example.com/" },
		"proxy": func(d *Definition) { d.Proxy = "http://evil.example.com:1" },
	} {
		if now, err := change(edit); fields(err) != all || !reflect.DeepEqual(now, full(secretURL)) {
			t.Errorf("another %s: %v", what, err)
		}
	}
	for what, tc := range map[string]struct {
		edit   func(*Definition)
		fields string
	}{
		"a part of a masked url":    {func(d *Definition) { d.URL = strings.Replace(d.URL, "ci.", "ci2.", 1) }, "url " + all},
		"a mask of a new header":    {func(d *Definition) { d.Headers = map[string]string{"X-New": Mask} }, "headers.X-New"},
		"a mask of a third secret":  {func(d *Definition) { d.SigningSecrets = append(d.SigningSecrets, "***3") }, "signing_secrets[2]"},
		"a mask of a new signature": {func(d *Definition) { d.Signatures[0].Secret = "***9" }, "signatures[0].secret"},
	} {
		if _, err := change(tc.edit); fields(err) != tc.fields {
			t.Errorf("%s: %v, want %s", what, err, tc.fields)
		}
	}
	second := full("").SigningSecrets[1]
	now, err := change(func(d *Definition) {
		d.SigningSecrets = []string{"whsec_bmV3LXNlY3JldC1vZi1lbm91Z2gtYnl0ZXMtaGVyZQ==", "***2"}
		d.Signatures = d.Signatures[1:]
		d.AuthHeader = ""
	})
	if err != nil || now.SigningSecrets[1] != second || len(now.SigningSecrets) != 2 || len(now.Signatures) != 1 || now.Signatures[0].Secret != "secret-token" || now.AuthHeader != "" {
		t.Errorf("rotated: %+v %v", now, err)
	}
}

func TestDefinitionsRefused(t *testing.T) {
	r := newRig(t, noWebhooks+"webhooks:\n- {name: mine, url: 'https://e.example.com', match: {projects: [team]}}\n", webhook.GuardOptions{})
	with := func(edit func(*Definition)) Definition {
		d := simple("a", "https://e.example.com/")
		edit(&d)
		return d
	}
	for what, tc := range map[string]struct {
		by     access.Principal
		def    Definition
		fields string
	}{
		"nothing":              {ops, Definition{}, "name url"},
		"an expansion":         {ops, with(func(d *Definition) { d.AuthHeader = "${HOME}" }), "auth_header"},
		"a file":               {ops, with(func(d *Definition) { d.Format, d.FormatOptions.File = "template", "/etc/passwd" }), "format_options.file"},
		"a glob":               {ops, with(func(d *Definition) { d.Match.Tags = []string{"v*", "[x"} }), "match.tags[1]"},
		"a duration":           {ops, with(func(d *Definition) { d.Timeout = "soon" }), "timeout"},
		"a template":           {ops, with(func(d *Definition) { d.Format, d.FormatOptions.Text = "template", "{{.nothing}}" }), "format_options"},
		"a large one":          {ops, with(func(d *Definition) { d.Description = strings.Repeat("x", 70<<10) }), ""},
		"metadata":             {ops, with(func(d *Definition) { d.URL = "http://169.254.169.254/" }), "url"},
		"loopback":             {dev, with(func(d *Definition) { d.URL = "http://localhost:1/" }), "url"},
		"proxy":                {dev, with(func(d *Definition) { d.Proxy = "http://p.example.com" }), "proxy"},
		"insecure_skip_verify": {dev, with(func(d *Definition) { d.TLS.InsecureSkipVerify = true }), "tls.insecure_skip_verify"},
		"Host":                 {dev, with(func(d *Definition) { d.Headers = map[string]string{"host": "x"} }), "headers.Host"},
		"many connections":     {dev, with(func(d *Definition) { d.Concurrency = 1000 }), "concurrency"},
		"more connections":     {ops, with(func(d *Definition) { d.Concurrency = 1001 }), "concurrency"},
		"patience":             {dev, with(func(d *Definition) { d.Timeout = "61s" }), "timeout"},
		"many attempts":        {dev, with(func(d *Definition) { d.Retry = slices.Repeat([]string{"1s"}, mostRetries+1) }), "retry"},
		"a long schedule":      {dev, with(func(d *Definition) { d.Retry = []string{"0s", "170h", "170h"} }), "retry"},
		"an endless schedule":  {dev, with(func(d *Definition) { d.Retry = slices.Repeat([]string{"2500000h"}, 2) }), "retry"},
		"many headers":         {dev, with(func(d *Definition) { d.Headers = manyHeaders(mostHeaders + 1) }), "headers"},
		"large headers":        {dev, with(func(d *Definition) { d.Headers = map[string]string{"X": strings.Repeat("x", mostHeaderBytes)} }), "headers"},
		"a large header":       {dev, with(func(d *Definition) { d.AuthHeader = strings.Repeat("x", mostHeaderBytes+1) }), "headers"},
		"many secrets": {dev, with(func(d *Definition) {
			d.SigningSecrets = slices.Repeat([]string{"whsec_" + strings.Repeat("A", 32)}, mostSecrets+1)
		}), "signing_secrets"},
		"many globs": {dev, with(func(d *Definition) { d.Match.Tags = slices.Repeat([]string{"v*"}, mostGlobs+1) }), "match"},
		"many in braces": {dev, with(func(d *Definition) {
			d.Exclude.Tags = []string{"{a,b}{c,d}{e,f}{g,h}{i,j}", "{a,b}{c,d}{e,f}{g,h}{i,j}x", "y"}
		}), "match"},
		"too many braces": {ops, with(func(d *Definition) { d.Match.Tags = []string{strings.Repeat("{,a}", 24)} }), "match.tags[0]"},
		"a long glob":     {dev, with(func(d *Definition) { d.Match.Tags = []string{"v" + strings.Repeat("1", longestGlob) + "*"} }), "match"},
	} {
		_, err := r.Make(background, tc.by, "team", tc.def)
		if problems, ok := errors.AsType[Problems](err); !ok || len(problems) == 0 || fields(err) != tc.fields {
			t.Errorf("%s: %v (%q), want problems of %q", what, err, fields(err), tc.fields)
		}
	}
	r.made(dev, "team", simple("a", "https://e.example.com/"))
	for name, want := range map[string]error{"a": ErrConflict, "mine": ErrConflict} {
		if _, err := r.Make(background, ops, "team", simple(name, "https://e.example.com/")); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := r.Make(background, ops, "no/project", simple("b", "https://e.example.com/")); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
}

// TestScopeOfWebhooks: every method returns ErrNotFound for a webhook out of scope, and refuses
// changes of a webhook of the file.
func TestScopeOfWebhooks(t *testing.T) {
	r := newRig(t, noWebhooks+`webhooks:
- {name: mine, url: 'https://e.example.com', match: {projects: [team]}}
- {name: both, url: 'https://e.example.com', match: {projects: [team, other]}}
- {name: all, url: 'https://e.example.com', enabled: false}
`, webhook.GuardOptions{})
	own := r.made(ops, "team", simple("ci", "https://e.example.com/"))
	for _, tc := range []struct {
		by   access.Principal
		want string
	}{
		{ops, "all both mine team/ci"}, {dev, "mine team/ci"}, {guest, ""}, {access.Principal{}, ""},
	} {
		var names []string
		for _, w := range must[[]Webhook](t)(r.Webhooks(background, tc.by)) {
			names = append(names, strings.TrimPrefix(w.Project+"/"+w.Name, "/"))
		}
		if got := strings.ReplaceAll(strings.Join(names, " "), "team/mine", "mine"); got != tc.want && got != strings.ReplaceAll(tc.want, "mine team/ci", "team/ci mine") {
			t.Errorf("%s sees %q, want %q", tc.by.Name, got, tc.want)
		}
	}
	mine, all := r.Numbers.Webhook("mine"), r.Numbers.Webhook("all")
	def := simple("ci", "https://e.example.com/")
	methods := map[string]func(ctx context.Context, by access.Principal, number int64) error{
		"Webhook": func(ctx context.Context, by access.Principal, n int64) error {
			_, err := r.Webhook(ctx, by, n)
			return err
		},
		"Triggers": func(ctx context.Context, by access.Principal, n int64) error {
			_, err := r.Triggers(ctx, by, n)
			return err
		},
		"YAML": func(ctx context.Context, by access.Principal, n int64) error {
			_, err := r.YAML(ctx, by, n)
			return err
		},
		"Change": func(ctx context.Context, by access.Principal, n int64) error {
			_, err := r.Change(ctx, by, n, 0, def)
			return err
		},
		"Test": func(ctx context.Context, by access.Principal, n int64) error {
			_, err := r.Test(ctx, by, n, "")
			return err
		},
		"TestDefinition": func(ctx context.Context, by access.Principal, n int64) error {
			_, err := r.TestDefinition(ctx, by, "team", n, def, "")
			return err
		},
		"Preview": func(ctx context.Context, by access.Principal, n int64) error {
			_, err := r.Preview(ctx, by, "team", n, def, "")
			return err
		},
		"Matching": func(ctx context.Context, by access.Principal, n int64) error {
			_, err := r.Matching(ctx, by, "team", n, def, at(0))
			return err
		},
		"Enable": r.Enable, "Disable": r.Disable, "TakeOver": r.TakeOver, "Remove": r.Remove,
		"ChangePolicy": func(ctx context.Context, by access.Principal, n int64) error {
			return r.ChangePolicy(ctx, by, n, PolicyChange{Address: "https://e.example.com/", Format: "harbor"})
		},
	}
	reads := map[string]bool{"Webhook": true, "Triggers": true, "YAML": true}
	for name, method := range methods {
		for _, number := range []int64{own.Number, mine, all, 4711} {
			if err := method(background, guest, number); !errors.Is(err, ErrNotFound) {
				t.Errorf("%s of %d by guest: %v", name, number, err)
			}
		}
		if err := method(background, dev, all); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s of all by dev: %v", name, err)
		}
		if err := method(background, dev, mine); !reads[name] && !errors.Is(err, ErrForbidden) || reads[name] && err != nil {
			t.Errorf("%s of mine by dev: %v", name, err)
		}
	}
	if err := r.TakeOver(background, dev, own.Number); !errors.Is(err, ErrForbidden) {
		t.Errorf("taken over by dev: %v", err)
	}
	if err := r.Enable(background, ops, all); fields(err) != "enabled" {
		t.Errorf("enabled in spite of the file: %v", err)
	}
	if _, err := r.Find(background, guest, "team/ci"); !errors.Is(err, ErrNotFound) {
		t.Errorf("%v", err)
	}
	if w := must[Webhook](t)(r.Webhook(background, dev, own.Number)); w.Version != 1 {
		t.Errorf("changed: %+v", w)
	}
}

func TestVersionsAndRemoval(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	w := r.made(ops, "team", simple("ci", "https://e.example.com/"))
	def := w.Definition
	def.Name = "renamed"
	now := must[Webhook](t)(r.Change(background, ops, w.Number, 1, def))
	if now.Name != "renamed" || now.Key != w.Key || now.Number != w.Number || now.Version != 2 {
		t.Errorf("%+v", now)
	}
	if _, err := r.Change(background, ops, w.Number, 1, def); !errors.Is(err, ErrChanged) || !errors.Is(err, ErrConflict) {
		t.Errorf("an old version: %v", err)
	}
	if err := r.Disable(background, dev, w.Number); err != nil {
		t.Fatal(err)
	}
	if h := must[Webhook](t)(r.Webhook(background, dev, w.Number)).Health; h.State != StateDisabled {
		t.Errorf("%+v", h)
	}
	def.Enabled = false
	must[Webhook](t)(r.Change(background, ops, w.Number, 0, def))
	if err := r.Enable(background, ops, w.Number); err != nil {
		t.Fatal(err)
	}
	if now := must[Webhook](t)(r.Webhook(background, dev, w.Number)); now.Health.State != StateOK || !now.Definition.Enabled {
		t.Errorf("%+v", now)
	}
	if err := r.Remove(background, dev, w.Number); err != nil {
		t.Fatal(err)
	}
	again := r.made(dev, "team", simple("ci", "https://e.example.com/"))
	if again.Number == w.Number || again.Key == w.Key || !again.Limited {
		t.Errorf("%+v", again)
	}
	for _, line := range []string{"webhook made", "webhook changed", "webhook disabled", "webhook enabled", "webhook deleted"} {
		if !strings.Contains(r.log.text(), line) {
			t.Errorf("the log does not say %q", line)
		}
	}
	if !strings.Contains(r.log.text(), `"account":"dev"`) {
		t.Error("the log does not say who")
	}
}

// TestFileTakesTheName: a webhook whose name the file takes is off, with the reason, until the file
// no longer has the name.
func TestFileTakesTheName(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	w := r.made(ops, "team", simple("ci", "https://e.example.com/"))
	r.use(noWebhooks + "webhooks:\n- {name: team/ci, url: 'https://e.example.com'}\n")
	off := must[Webhook](t)(r.Webhook(background, dev, w.Number))
	if off.Health.State != StateOff || !strings.Contains(off.Health.Why, "the configuration file has a webhook") || len(r.Running.Set().Off) != 1 {
		t.Errorf("%+v", off.Health)
	}
	if err := r.Disable(background, dev, w.Number); !errors.Is(err, ErrConflict) {
		t.Errorf("%v", err)
	}
	r.use(noWebhooks)
	if on := must[Webhook](t)(r.Webhook(background, dev, w.Number)); on.Health.State != StateOK {
		t.Errorf("%+v", on.Health)
	}
}

// TestYAMLIsAnEntryOfTheFile: the exported entry gives the same webhook in a file.
func TestYAMLIsAnEntryOfTheFile(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	def := full(secretURL)
	w := r.made(ops, "team", def)
	text := string(must[[]byte](t)(r.YAML(background, dev, w.Number)))
	for _, secret := range secrets {
		if strings.Contains(text, secret) {
			t.Errorf("%s is exported", secret)
		}
	}
	values := map[string]string{"TEAM_CI_URL": secretURL, "TEAM_CI_AUTH_HEADER": def.AuthHeader, "TEAM_CI_HEADER_X_KEY": "secret-header",
		"TEAM_CI_SIGNING_SECRET_1": def.SigningSecrets[0], "TEAM_CI_SIGNING_SECRET_2": def.SigningSecrets[1], "TEAM_CI_SIGNATURE_1": "secret-hmac", "TEAM_CI_SIGNATURE_2": "secret-token"}
	c, _, err := config.Parse("exported.yaml", []byte(noWebhooks+"webhooks:\n"+text), func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	got, want := CompleteDefinition(&c.Webhooks[0]), w.Complete
	want.Name = "team/ci"
	want.URL, got.URL = "", ""
	if !reflect.DeepEqual(got, want) || c.Webhooks[0].URL.Reveal() != secretURL || c.Webhooks[0].Headers["X-Key"].Reveal() != "secret-header" || c.Webhooks[0].SigningSecrets[1].Reveal() != def.SigningSecrets[1] {
		t.Errorf("got  %+v\nwant %+v\n%s", got, want, text)
	}
	for name := range values {
		if !strings.Contains(strings.SplitN(text, "- name", 2)[0], name) {
			t.Errorf("the comment does not name %s:\n%s", name, text)
		}
	}
}

func TestPreviewAndMatching(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	body := must[Body](t)(r.Preview(background, dev, "team", 0, Definition{Format: "slack"}, "DELETE_ARTIFACT"))
	if body.ContentType != "application/json" || !strings.Contains(body.Text, "bellbuoy/ping") {
		t.Errorf("%+v", body)
	}
	if _, err := r.Preview(background, dev, "team", 0, Definition{Format: "slack"}, "NONSENSE"); fields(err) != "type" {
		t.Errorf("%v", err)
	}
	if _, err := r.Preview(background, dev, "team", 0, Definition{Format: "quay"}, "DELETE_ARTIFACT"); fields(err) != "format" {
		t.Errorf("%v", err)
	}
	w := r.made(ops, "team", full(secretURL))
	if body := must[Body](t)(r.Preview(background, ops, "team", w.Number, w.Definition, "")); body.Header["Ce-Type"]+body.Header["ce-type"] != "x.pushed" {
		t.Errorf("%+v", body)
	}
	for i := range 12 {
		project := []string{"team", "other"}[i%2]
		e := detect.Event{ID: fmt.Sprintf("e%d", i), Type: detect.PushArtifact, At: at(i), Upstream: "registry", Repository: project + "/app", Tags: []string{fmt.Sprintf("v1.%d.0", i/4)}}
		err := r.outbox.Commit(background, "", func(detect.View) (detect.Changes, error) { return detect.Changes{Events: []detect.Event{e}}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	for what, tc := range map[string]struct {
		def  Definition
		from int
		want Matched
	}{
		"all":      {simple("a", ""), 0, Matched{6, 6, true}},
		"a tag":    {Definition{Match: Filter{Tags: []string{"v1.0.*"}}}, 0, Matched{2, 6, true}},
		"later":    {simple("a", ""), 6, Matched{3, 3, true}},
		"foreign":  {Definition{Match: Filter{Projects: []string{"other"}}}, 0, Matched{0, 6, true}},
		"deletes":  {Definition{Events: []string{"DELETE_ARTIFACT"}}, 0, Matched{0, 0, true}},
		"excluded": {Definition{Exclude: Filter{Repositories: []string{"team/ap*"}}}, 0, Matched{0, 6, true}},
	} {
		if got, err := r.Matching(background, dev, "team", 0, tc.def, at(tc.from)); err != nil || got != tc.want {
			t.Errorf("%s: %+v %v, want %+v", what, got, err, tc.want)
		}
	}
}

// at returns a time i minutes after a fixed time.
func at(i int) time.Time { return time.Date(2026, 1, 2, 3, i, 0, 0, time.UTC) }

func manyHeaders(n int) map[string]string {
	all := map[string]string{}
	for i := range n {
		all[fmt.Sprint("X-", i)] = "x"
	}
	return all
}

// A limited account cannot use up the webhooks that the store may have.
func TestMostWebhooksOfAnAccount(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	for i := range mostOfMaker {
		if _, err := r.Stored.Make(background, notify.Stored{Project: "team", Name: fmt.Sprint("w", i), Maker: "dev", Limited: true, Definition: []byte("{}")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Make(background, dev, "team", simple("more", "https://e.example.com/")); !strings.Contains(fmt.Sprint(err), "may make 200 webhooks") {
		t.Error(err)
	}
	r.made(ops, "team", simple("more", "https://e.example.com/"))
	r.made(access.Principal{Name: "other", Projects: []string{"team"}}, "team", simple("yet-more", "https://e.example.com/"))
}

// An exported webhook of the store stays one of its project, whatever its match names.
func TestYAMLWidensNothing(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	def := simple("ci", "https://e.example.com/")
	def.Match.Projects = []string{"**"}
	w := r.made(dev, "team", def)
	text, err := r.YAML(background, ops, w.Number)
	if err != nil || strings.Contains(string(text), "*") || !strings.Contains(string(text), "projects: [team]") {
		t.Errorf("%v %s", err, text)
	}
}
