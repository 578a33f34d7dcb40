package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// TestSecretsPrintRedacted prints a configuration with many secrets in every way that code may use.
func TestSecretsPrintRedacted(t *testing.T) {
	cfg := mustParse(t, `
database: postgres://bellbuoy:hunter2@db/bellbuoy
upstreams:
  - type: registry
    url: http://127.0.0.1:5000
    external_url: https://registry.example.com
    credentials: {username: u, password: hunter2}
webhooks:
  - name: ci
    url: https://user:hunter2@hooks.slack.com/services/hunter2?token=hunter2
    format: slack
    proxy: http://user:hunter2@proxy.example.com
    auth_header: Bearer hunter2
    headers: {X-Token: hunter2}
    signatures: [{header: X-Sig, secret: hunter2}]
`)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t"} {
		refuseSecret(t, verb, fmt.Sprintf(verb, cfg))
		refuseSecret(t, verb, fmt.Sprintf(verb, cfg.Database))
		refuseSecret(t, verb, fmt.Sprintf(verb, cfg.Webhooks))
		refuseSecret(t, verb, fmt.Sprintf(verb, &cfg.Webhooks[0].URL))
	}
	refuseSecret(t, "GoString", cfg.Database.GoString()+cfg.Webhooks[0].URL.GoString())
	for name, marshal := range map[string]func(any) ([]byte, error){"JSON": json.Marshal, "YAML": yaml.Marshal} {
		data, err := marshal(cfg)
		if err != nil || !strings.Contains(string(data), "hooks.slack.com") {
			t.Errorf("%s: %s %v", name, data, err)
		}
		refuseSecret(t, name, string(data))
	}
	refuseSecret(t, "zap", logged(cfg))
}

func logged(cfg *Config) string {
	var out bytes.Buffer
	for _, encoder := range []func(zapcore.EncoderConfig) zapcore.Encoder{zapcore.NewJSONEncoder, zapcore.NewConsoleEncoder} {
		log := zap.New(zapcore.NewCore(encoder(zap.NewProductionEncoderConfig()), zapcore.AddSync(&out), zap.DebugLevel))
		w := cfg.Webhooks[0]
		log.Info("configuration", zap.Any("config", cfg), zap.Any("url", w.URL), zap.Stringer("url", w.URL),
			zap.Any("auth", w.AuthHeader), zap.Stringer("auth", w.AuthHeader), zap.Reflect("headers", w.Headers),
			zap.Any("headers", w.Headers), zap.Stringers("secrets", w.SigningSecrets))
	}
	return out.String()
}

func refuseSecret(t *testing.T, how, printed string) {
	t.Helper()
	// 68756e74657232 is the hexadecimal form.
	if strings.Contains(printed, "hunter2") || strings.Contains(strings.ToLower(printed), "68756e74657232") {
		t.Errorf("%s shows a secret: %s", how, printed)
	}
}

func TestSecretShowsWhetherItIsSet(t *testing.T) {
	if got := fmt.Sprintf("%s %v %#v %q|%s|", Secret("x"), Secret("x"), Secret("x"), Secret("x"), Secret("")); got != `*** *** "***" "***"||` {
		t.Errorf("got %s", got)
	}
	if got := Secret("x").Reveal(); got != "x" {
		t.Errorf("revealed %q", got)
	}
}

func TestURLRedacted(t *testing.T) {
	for _, tt := range []struct{ text, raw, want string }{
		{text: "", want: ""},
		{text: "https://ci.example.com/hooks/registry", want: "https://ci.example.com/hooks/registry"},
		{text: "https://ci.example.com:8443/", want: "https://ci.example.com:8443/"},
		{text: "https://user:hunter2@ci.example.com/x", want: "https://***@ci.example.com/x"},
		{text: "https://token@ci.example.com", want: "https://***@ci.example.com"},
		{text: "https://ci.example.com/x?a=1&token=2#f", want: "https://ci.example.com/x?***"},
		{text: "https://hooks.slack.com/services/T0/B0/abc", want: "https://hooks.slack.com/services/***/***/***"},
		{text: "https://discord.com/api/webhooks/1/abc", want: "https://discord.com/api/***/***/***"},
		{text: "https://x.webhook.office.com/webhookb2/1@2/IncomingWebhook/3/4", want: "https://x.webhook.office.com/webhookb2/***/***/***/***"},
		{text: "https://flux.example.com/hook/bed6d00b5555b1603e1f59b94d7fdbca58089cb5663633fb83f2815dc626d92b", want: "https://flux.example.com/hook/***"},
		{text: "https://ci.example.com/f47ac10b-58cc-4372-a567-0e02b2c3d479/run", want: "https://ci.example.com/***/run"},
		{text: "https://ci.example.com/hooks/short", raw: "https://ci.example.com/hooks/${TOKEN}", want: "https://ci.example.com/hooks/***"},
		{text: "https://ci.example.com/hooks/short", raw: "https://ci.example.com/hooks/sh${TOKEN}", want: "https://ci.example.com/hooks/***"},
		{text: "https://ci.example.com/a/b?c=d", raw: "${URL}", want: "https://ci.example.com/***/***?***"},
		{text: "https://ci.example.com/a%2Fb/c", raw: "https://${HOST}/a%2Fb/c", want: "https://ci.example.com/a%2Fb/c"},
		{text: "https://user:12/34@ci.example.com", want: "***"},
		{text: "not a url with hunter2", want: "***"},
		{text: "mailto:hunter2@example.com", want: "***"},
		{text: "https://ci.example.com/%zz", want: "***"},
	} {
		raw := tt.raw
		if raw == "" {
			raw = tt.text
		}
		u := expandedURL(tt.text, raw)
		if got := u.String(); got != tt.want || u.Reveal() != tt.text || u.IsZero() != (tt.text == "") {
			t.Errorf("%q, in the file %q, prints as %q, want %q", tt.text, raw, got, tt.want)
		}
	}
}
