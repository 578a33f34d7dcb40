package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/bellbuoy/bellbuoy/notify/format/presets"
)

// presetFile returns a file whose only webhook is the example of a preset.
func presetFile(p presets.Preset) string {
	return smallUpstream + "webhooks:\n  - name: w\n    preset: " + p.Name + "\n" + indented(p.Example, "    ")
}

func indented(text, by string) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		out.WriteString(by + line)
	}
	return out.String()
}

// anyEnv is an environment with a value for every variable.
func anyEnv(string) (string, bool) { return "s3cret-value", true }

func TestPresets(t *testing.T) {
	for _, name := range presets.Names() {
		t.Run(name, func(t *testing.T) {
			p, _ := presets.Get(name)
			if p.Title == "" || p.About == "" || !strings.HasPrefix(p.Link, "https://") || p.Consumer == "" || p.See == "" {
				t.Errorf("it lacks a part: %+v", p)
			}
			cfg, warnings, err := Parse("f", []byte(presetFile(p)), anyEnv)
			if err != nil || len(warnings) > 0 {
				t.Fatalf("its example has problems:\n%v\n%v", err, warnings)
			}
			w := cfg.Webhooks[0]
			deploys := !chatFormats[w.Format] && w.Group.Wait == 0
			if deploys && (!slices.Equal(w.Events, []string{"PUSH_ARTIFACT"}) || w.Match.Tagged == nil || !*w.Match.Tagged || !slices.Contains(w.Exclude.Tags, "sha256-*")) {
				t.Errorf("it gets more than pushes with a tag: %+v", w)
			}
			if deploys && w.Overtaken != "drop" && name != "gitlab-registry" {
				t.Error("an older push can arrive after a newer one and be deployed")
			}
			if !slices.Contains(w.Exclude.Kinds, "signature") {
				t.Error("it gets accessories")
			}
			for _, need := range p.Needs {
				without := strings.Join(slices.DeleteFunc(strings.SplitAfter(presetFile(p), "\n"), func(line string) bool {
					return strings.HasPrefix(strings.TrimSpace(line), strings.Split(need.Key, ".")[0]+":")
				}), "")
				if _, _, err := Parse("f", []byte(without), anyEnv); err == nil || !strings.Contains(err.Error(), "webhooks[0]."+need.Key) {
					t.Errorf("without %s: %v", need.Key, err)
				}
			}
		})
	}
}

func TestPresetNeeds(t *testing.T) {
	for name, tt := range map[string]struct{ webhook, want string }{
		"whole":   {webhook: "preset: flux, auth_header: x"},
		"unknown": {"preset: fluxx, auth_header: x", `webhooks[0].preset: "fluxx" is not known; did you mean "flux"? (want one of ` + strings.Join(presets.Names(), ", ") + ")"},
		"no secret": {"preset: kargo",
			"webhooks[0].auth_header: is missing: the preset kargo needs it, as it answers 401 to any other Authorization than its secret's auth-header"},
		"half a URL":    {"preset: image-updater, auth_header: x", "webhooks[0].url: has no type=harbor: the preset image-updater needs it, as it takes the type of the registry from there"},
		"no repository": {"preset: portainer", "webhooks[0].match.repositories: is missing: the preset portainer needs it, as Portainer updates at whatever arrives"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse("f", []byte(smallUpstream+"webhooks: [{name: w, url: http://w, "+tt.webhook+"}]"), noEnv)
			if diff := cmp.Diff(tt.want, messages(err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
	unnamed := strings.Replace(smallUpstream, ", external_url: 'https://registry.example.com'", "", 1)
	_, _, err := Parse("f", []byte(unnamed+"webhooks: [{name: w, url: http://w, preset: flux, auth_header: x}]"), noEnv)
	if want := "webhooks[0].preset: needs external_url of upstreams[0]: the consumer identifies images by that name"; messages(err) != want {
		t.Errorf("%v", err)
	}
}

func TestPresetIsOverridden(t *testing.T) {
	w := mustParse(t, smallUpstream+`
webhooks:
  - name: w
    url: http://w/?token=
    headers: {X-Own: "1", Accept: text/html}
    match: {repositories: [team/app]}
    exclude: {kinds: []}
    overtaken: deliver
    auth_header: x
    preset: github
`).Webhooks[0]
	if w.Format != "template" || w.Overtaken != "deliver" || len(w.Exclude.Kinds) != 0 || !slices.Contains(w.Exclude.Tags, "sha256-*") || !*w.Match.Tagged ||
		w.Headers["X-Own"] != "1" || w.Headers["Accept"] != "text/html" || w.Headers["X-GitHub-Api-Version"] != "2022-11-28" {
		t.Errorf("%+v", w)
	}
	w = mustParse(t, smallUpstream+"webhooks: [{name: w, url: http://w, preset: argo-events, format: cloudevents}]").Webhooks[0]
	if w.Format != "cloudevents" || w.FormatOptions.Mode != "structured" {
		t.Errorf("%+v", w)
	}
}

func TestGroup(t *testing.T) {
	for webhook, want := range map[string]string{
		"format: slack, group: {wait: 30s}":                                                 "",
		"group: {wait: 30s}":                                                                "webhooks[0].group: works only with slack, teams, discord, and templates that use .message or .events",
		"format: slack, url: 'http://w/?t={tag}', group: {wait: 30s}":                       "webhooks[0].group.wait: cannot be combined with placeholders in url",
		"format: slack, group: {most: 0}":                                                   "webhooks[0].group.most: must be from 1 to 100",
		"format: template, format_options: {text: '{{json .type}}'}, group: {wait: 30s}":    "webhooks[0].group: works only with slack, teams, discord, and templates that use .message or .events",
		"format: template, format_options: {text: '{{json .message}}'}, group: {wait: 30s}": "",
	} {
		if !strings.Contains(webhook, "url: ") {
			webhook = withURL(webhook)
		}
		_, _, err := Parse("f", []byte(smallUpstream+"webhooks: [{name: w, "+webhook+"}]"), noEnv)
		if got := messages(err); got != want {
			t.Errorf("%s: %s, want %s", webhook, got, want)
		}
	}
}
