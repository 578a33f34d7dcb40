package main

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// newGuard returns the egress guard of all outbound calls except those to upstreams. own returns
// the addresses on which bellbuoy listens; nil: none.
func newGuard(c *config.Config, own func() []netip.AddrPort) *webhook.Guard {
	return webhook.NewGuard(webhook.GuardOptions{Allow: c.Egress.Allow, Deny: c.Egress.Deny, Own: own})
}

// newWebhooks returns the configured webhooks and their clients. The caller closes the clients when
// they are no longer used.
func newWebhooks(c *config.Config, guard *webhook.Guard) ([]notify.Webhook, []*webhook.Client, error) {
	var hooks []notify.Webhook
	var clients []*webhook.Client
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		client, err := webhook.New(webhookOptions(w, guard))
		if err != nil {
			closeAll(clients)
			return nil, nil, problemAt(c, fmt.Sprintf("webhooks[%d]", i), err)
		}
		clients = append(clients, client)
		f, err := newFormat(w)
		if err != nil {
			closeAll(clients)
			return nil, nil, problemAt(c, fmt.Sprintf("webhooks[%d].format_options", i), err)
		}
		hooks = append(hooks, notifyWebhook(w, f, client))
	}
	return hooks, clients, nil
}

// newFormat returns a webhook's format. A template is tested with a sample of each type that the
// webhook gets.
func newFormat(w *config.Webhook) (format.Format, error) {
	o := w.FormatOptions
	options := format.Options{Mode: o.Mode, Type: o.Type, Subject: o.Subject, Spec: o.Spec, Template: o.Text, TemplateName: "text", ContentType: o.ContentType}
	if o.File != "" {
		text, err := os.ReadFile(o.File)
		if err != nil {
			return format.Format{}, fmt.Errorf("reading the template: %w", err)
		}
		options.Template, options.TemplateName = string(text), filepath.Base(o.File)
	}
	for _, e := range w.Events {
		options.Events = append(options.Events, detect.Type(e))
	}
	return format.New(w.Format, w.Name, options)
}

func closeAll(clients []*webhook.Client) {
	for _, c := range clients {
		c.Close()
	}
}

func notifyWebhook(w *config.Webhook, f format.Format, client *webhook.Client) notify.Webhook {
	hook := notify.Webhook{
		Name: w.Name, Enabled: w.Enabled, Events: w.Events, ManifestReads: w.ManifestReads,
		Match: notifyMatch(w.Match), Exclude: notifyMatch(w.Exclude),
		Format: f, Poster: client,
		Concurrency: w.Concurrency, Order: orders[w.Order], DropOvertaken: w.Overtaken == "drop",
		RateLimit: rate.Limit(w.RateLimit.PerSecond()),
		Group:     notify.Group{Wait: time.Duration(w.Group.Wait), Most: w.Group.Most},
	}
	hook.Placeholders, _ = webhook.Placeholders(w.URL.Reveal()) // New has refused invalid ones
	for _, d := range w.Retry {
		hook.Retry = append(hook.Retry, time.Duration(d))
	}
	return hook
}

var orders = map[string]store.Order{"tag": store.ByTag, "repository": store.ByRepository, "none": store.Unordered}

func notifyMatch(m config.Match) notify.Match {
	return notify.Match{
		Upstreams: m.Upstreams, Projects: m.Projects, Repositories: m.Repositories, Tags: m.Tags,
		Operators: m.Operators, UserAgents: m.UserAgents, Kinds: m.Kinds, Tagged: m.Tagged, Semver: m.Semver, Changed: m.Changed,
	}
}

func webhookOptions(w *config.Webhook, guard *webhook.Guard) webhook.Options {
	o := webhook.Options{
		URL: w.URL.Reveal(), AuthHeader: w.AuthHeader.Reveal(),
		TLS:   webhook.TLS{CAFile: w.TLS.CAFile, CertFile: w.TLS.CertFile, KeyFile: w.TLS.KeyFile, ServerName: w.TLS.ServerName, InsecureSkipVerify: w.TLS.InsecureSkipVerify},
		Proxy: w.Proxy.Reveal(), Timeout: time.Duration(w.Timeout), Concurrency: w.Concurrency,
		UserAgent: userAgent(), Guard: guard,
	}
	if len(w.Headers) > 0 {
		o.Headers = map[string]string{}
	}
	for name, value := range w.Headers {
		o.Headers[name] = value.Reveal()
	}
	for _, s := range w.SigningSecrets {
		o.SigningSecrets = append(o.SigningSecrets, s.Reveal())
	}
	for _, s := range w.Signatures {
		signature := webhook.Signature{Header: s.Header, Algorithm: s.Algorithm, Prefix: s.Prefix, Encoding: s.Encoding, Secret: s.Secret.Reveal()}
		if s.Algorithm == "token" {
			signature.Encoding = "" // a token is not encoded
		}
		o.Signatures = append(o.Signatures, signature)
	}
	return o
}

func userAgent() string { return "bellbuoy/" + buildVersion() }
