package config

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFormats(t *testing.T) {
	for name, tt := range map[string]struct{ webhook, want string }{
		"a supported type":    {webhook: "format: acr, events: [UPLOAD_CHART]"},
		"all supported types": {webhook: "format: quay, events: ['*']"},
		"an unsupported type": {"format: distribution, events: [PUSH_ARTIFACT, QUOTA_EXCEED]",
			"webhooks[0].events[1]: the format distribution does not support it; it supports PUSH_ARTIFACT, PULL_ARTIFACT, DELETE_ARTIFACT, DELETE_TAG"},
		"template":              {webhook: "format: template, format_options: {text: '{}', content_type: text/plain}"},
		"template missing":      {"format: template", "webhooks[0].format_options.file: is missing: the format template needs it, or text"},
		"template twice":        {"format: template, format_options: {text: '{}', file: validate.go}", "webhooks[0].format_options.text: cannot be combined with file"},
		"template of none":      {"format: template, format_options: {file: /nonexistent.tmpl}", `webhooks[0].format_options.file: "/nonexistent.tmpl" cannot be read: no such file or directory`},
		"option of another":     {"format: slack, format_options: {file: validate.go, spec: 0.5.1}", "webhooks[0].format_options.file: is an option of the format template\nwebhooks[0].format_options.spec: is an option of the format cdevents"},
		"content type":          {"format: template, format_options: {text: '{}', content_type: \"a\\nb\"}", "webhooks[0].format_options.content_type: has characters that a header cannot have"},
		"placeholder in a host": {"url: 'https://{name}.example.com/'", "webhooks[0].url: has a placeholder in its host: only path and query may have one"},
		"placeholders":          {webhook: "url: 'https://example.com/{name}?tag={tag}'"},
		"specification unknown": {"format: cdevents, format_options: {spec: 0.6.0}", `webhooks[0].format_options.spec: "0.6.0" is not known; did you mean "0.4.1"? (want one of 0.4.1, 0.5.1)`},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := Parse("f", []byte(smallUpstream+"webhooks: [{name: w, "+withURL(tt.webhook)+"}]"), noEnv)
			if diff := cmp.Diff(tt.want, messages(err)); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

// withURL adds a URL to a webhook that has none.
func withURL(webhook string) string {
	if strings.HasPrefix(webhook, "url: ") {
		return webhook
	}
	return "url: http://w, " + webhook
}

const smallUpstream = "upstreams: [{type: registry, url: 'http://127.0.0.1:5000', external_url: 'https://registry.example.com'}]\n"

func TestDefaultEvents(t *testing.T) {
	for webhook, want := range map[string][]string{
		"format: distribution":                {"PUSH_ARTIFACT", "DELETE_ARTIFACT"},
		"format: distribution, events: ['*']": {"PUSH_ARTIFACT", "PULL_ARTIFACT", "DELETE_ARTIFACT", "DELETE_TAG"},
		"format: cdevents":                    {"PUSH_ARTIFACT", "DELETE_ARTIFACT"},
		"format: acr":                         {"PUSH_ARTIFACT", "DELETE_ARTIFACT", "UPLOAD_CHART", "DELETE_CHART"},
		"format: dockerhub":                   {"PUSH_ARTIFACT"},
	} {
		w := mustParse(t, smallUpstream+"webhooks: [{name: w, url: http://w, "+webhook+"}]").Webhooks[0]
		if !slices.Equal(w.Events, want) {
			t.Errorf("%s: %v, want %v", webhook, w.Events, want)
		}
		if tagged := w.Match.Tagged != nil && *w.Match.Tagged; tagged != (w.Format == "dockerhub") {
			t.Errorf("%s: tagged %v", webhook, tagged)
		}
	}
	if w := mustParse(t, smallUpstream+"webhooks: [{name: w, url: http://w, format: teams}]").Webhooks[0]; w.RateLimit.String() != "1/s" || len(w.Events) != len(EventTypes())-3 {
		t.Errorf("%v %v", w.RateLimit, w.Events)
	}
}
