package main

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// newGuard returns the egress guard of all outbound calls except those to upstreams. own returns
// the addresses on which bellbuoy listens; nil: none.
func newGuard(c *config.Config, own func() []netip.AddrPort) *webhook.Guard {
	return webhook.NewGuard(webhook.GuardOptions{Allow: c.Egress.Allow, Deny: c.Egress.Deny, Private: c.Egress.Private, Own: own})
}

// wireWebhooks makes the webhooks of the file, with their clients.
func (w *wiring) wireWebhooks() error {
	for i := range w.config.Webhooks {
		c := w.config.Webhooks[i]
		h, err := w.newHook(c, w.guard, "")
		if err != nil {
			first := manage.ProblemsOf(err)[0]
			return problemAt(w.config, strings.TrimSuffix(fmt.Sprintf("webhooks[%d].%s", i, first.Field), "."), errors.New(first.Message))
		}
		at := w.config.Problem(fmt.Sprintf("webhooks[%d].name", i), "")
		h.Source = fmt.Sprintf("%s:%d", at.File, at.Line)
		w.hooks = append(w.hooks, h)
	}
	return nil
}

// newFormat returns a webhook's format. A template is tested with a sample of each type that the
// webhook gets.
func (w *wiring) newFormat(c *config.Webhook) (format.Format, error) {
	o := c.FormatOptions
	options := format.Options{Mode: o.Mode, Type: o.Type, Subject: o.Subject, Spec: o.Spec, Template: o.Text, TemplateName: "text", ContentType: o.ContentType}
	if o.File != "" {
		text, err := os.ReadFile(o.File)
		if err != nil {
			return format.Format{}, fmt.Errorf("reading the template: %w", err)
		}
		options.Template, options.TemplateName = string(text), filepath.Base(o.File)
	}
	for _, e := range c.Events {
		options.Events = append(options.Events, detect.Type(e))
	}
	if w.numbers != nil {
		options.Project, options.Number = w.numbers.Project, w.numbers.Webhook(c.Name)
	}
	return format.New(c.Format, c.Name, options)
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
		MinSeverity: m.MinSeverity, NewFindings: m.NewFindings,
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
