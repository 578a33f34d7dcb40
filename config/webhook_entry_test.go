package config

import (
	"errors"
	"strings"
	"testing"
)

// running returns the configuration to which the test adds webhooks.
func running(t *testing.T) *Config {
	t.Helper()
	c, _, err := Parse("bellbuoy.yaml", []byte("upstreams:\n- {type: registry, url: 'http://127.0.0.1:5000', external_url: 'http://localhost:5080'}\n"), noEnv)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWebhookEntry(t *testing.T) {
	c := running(t)
	w, err := c.Webhook("ci", []byte(`{"name":"ci","url":"https://ci.example.com/x","format":"slack","events":["PUSH_ARTIFACT"],"match":{"tags":["v*"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if w.Name != "ci" || w.URL.Reveal() != "https://ci.example.com/x" || !w.Enabled || w.Concurrency != 8 || w.RateLimit.PerSecond() != 1 || len(w.Retry) != 10 {
		t.Errorf("%+v", w)
	}
	if len(c.Webhooks) != 0 {
		t.Error("the running configuration has it too")
	}
	if preset, err := c.Webhook("k", []byte(`{"name":"k","preset":"keel","url":"http://keel.example.com/"}`)); err != nil || preset.Format != "harbor" || len(preset.Match.Tags)+len(preset.Exclude.Kinds) == 0 {
		t.Errorf("%+v %v", preset, err)
	}
}

func TestWebhookEntryRefused(t *testing.T) {
	t.Setenv("SECRET", "hidden")
	c := running(t)
	for text, want := range map[string]string{
		`{"name":"a"}`: "url: is missing",
		`{"name":"a","url":"https://e.example.com","auth_header":"${SECRET}"}`:                          "auth_header: ${…} is for the configuration file only",
		`{"name":"a","url":"https://e.example.com/$${x}"}`:                                              "url: ${…} is for",
		`{"name":"a","url":"https://e.example.com","headers":{"X-A":"${file:/etc/passwd}"}}`:            "headers.X-A: ${…} is for",
		`{"name":"a","url":"https://e.example.com","tls":{"ca_file":"/etc/ssl/ca.pem"}}`:                "tls.ca_file: names a file",
		`{"name":"a","url":"https://e.example.com","format":"template","format_options":{"file":"/x"}}`: "format_options.file: names a file",
		`{"name":"a","url":"https://e.example.com","colour":"red"}`:                                     "colour: unknown key",
		`{"name":"a","url":"https://e.example.com","concurrency":0}`:                                    "concurrency: must be from",
		`{"name":"a#7","url":"https://e.example.com"}`:                                                  "name: ",
		`[]`:  "must be a mapping",
		`{`:   "not valid YAML",
		``:    "empty",
		`nil`: "must be",
	} {
		_, err := c.Webhook("a", []byte(text))
		problems, _ := errors.AsType[Problems](err)
		if err == nil || !strings.Contains(problems.Plain()+err.Error(), want) || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %q, want %q", text, problems.Plain(), want)
		}
	}
}

func FuzzWebhookEntry(f *testing.F) {
	f.Add([]byte(`{"name":"ci","url":"https://ci.example.com/x","match":{"tags":["v*"]}}`))
	f.Add([]byte(`{"name":"ci","preset":"keel","headers":{"A":"${B}"}}`))
	f.Add([]byte("name: &a b\nurl: *a"))
	c, _, err := Parse("bellbuoy.yaml", []byte("upstreams:\n- {type: registry, url: 'http://127.0.0.1:5000'}\n"), noEnv)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if w, err := c.Webhook("w", data); err == nil && (w.Name == "" || w.URL.IsZero() || strings.Contains(w.AuthHeader.Reveal(), "${")) {
			t.Errorf("%q was accepted: %+v", data, w)
		}
	})
}
