package manage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// Builder makes hooks of webhooks under one configuration, each with its format and its client.
type Builder struct {
	Config    *config.Config
	Guard     *webhook.Guard
	Numbers   *notify.Numbers // of projects in cloudevents bodies; nil: format.Number of their names
	UserAgent string
}

// File makes the hook of the file's webhook with an index. Its error begins with the key.
func (b *Builder) File(i int) (*Hook, error) {
	h, err := b.hook(b.Config.Webhooks[i], b.Guard, "")
	if err != nil {
		return nil, err
	}
	at := b.Config.Problem(fmt.Sprintf("webhooks[%d].name", i), "")
	h.Source = fmt.Sprintf("%s:%d", at.File, at.Line)
	return h, nil
}

// Stored makes the hook of a webhook of the store. If a limited account made or edited the webhook,
// the limits of such accounts apply. The error is a Problems.
func (b *Builder) Stored(s *notify.Stored) (*Hook, error) {
	h, err := b.stored(s)
	switch {
	case errors.Is(err, webhook.ErrDenied):
		return nil, notAllowed{ProblemsOf(err)}
	case err != nil:
		return nil, ProblemsOf(err)
	}
	return h, nil
}

func (b *Builder) stored(s *notify.Stored) (*Hook, error) {
	c, err := b.Config.Webhook(s.Name, s.Definition)
	if err != nil {
		return nil, err
	}
	guard := b.Guard
	if s.Limited {
		if err := checkLimits(&c); err != nil {
			return nil, err
		}
		guard = guard.Restricted()
	}
	if to, ok := webhook.AddressOf(c.URL.Reveal()); ok {
		if err := guard.Check(to); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	c.Name = s.Key
	h, err := b.hook(c, guard, s.Project)
	if err != nil {
		return nil, err
	}
	h.Stored, h.Complete.Name = s, s.Name
	if _, err := notify.Compile(true, []notify.Webhook{h.Webhook}); err != nil {
		h.Client.Close()
		return nil, errors.New(strings.TrimPrefix(err.Error(), fmt.Sprintf("webhook %q: ", h.Name)))
	}
	return h, nil
}

// hook makes a hook. project is the project of a webhook of the store, or "".
func (b *Builder) hook(c config.Webhook, guard *webhook.Guard, project string) (*Hook, error) {
	client, err := webhook.New(b.clientOptions(&c, guard))
	if err != nil {
		return nil, err
	}
	f, err := b.Format(&c)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("format_options: %w", err)
	}
	h := &Hook{Webhook: ready(&c, f, client), Client: client, Complete: CompleteDefinition(&c), URL: c.URL.Reveal()}
	h.Project = project
	return h, nil
}

// Format returns a webhook's format. A template is tested with a sample of each type that the
// webhook gets.
func (b *Builder) Format(c *config.Webhook) (format.Format, error) {
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
	if b.Numbers != nil {
		options.Project, options.Number = b.Numbers.Project, b.Numbers.Webhook(c.Name)
	}
	return format.New(c.Format, c.Name, options)
}

// ready returns a webhook as the dispatcher uses it.
func ready(w *config.Webhook, f format.Format, client *webhook.Client) notify.Webhook {
	hook := notify.Webhook{
		Name: w.Name, Enabled: w.Enabled, Events: w.Events, ManifestReads: w.ManifestReads,
		Match: readyMatch(w.Match), Exclude: readyMatch(w.Exclude),
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

func readyMatch(m config.Match) notify.Match {
	return notify.Match{
		Upstreams: m.Upstreams, Projects: m.Projects, Repositories: m.Repositories, Tags: m.Tags,
		Operators: m.Operators, UserAgents: m.UserAgents, Kinds: m.Kinds, Tagged: m.Tagged, Semver: m.Semver, Changed: m.Changed,
		MinSeverity: m.MinSeverity, NewFindings: m.NewFindings,
	}
}

func (b *Builder) clientOptions(w *config.Webhook, guard *webhook.Guard) webhook.Options {
	o := webhook.Options{
		URL: w.URL.Reveal(), AuthHeader: w.AuthHeader.Reveal(),
		TLS:   webhook.TLS{CAFile: w.TLS.CAFile, CertFile: w.TLS.CertFile, KeyFile: w.TLS.KeyFile, ServerName: w.TLS.ServerName, InsecureSkipVerify: w.TLS.InsecureSkipVerify},
		Proxy: w.Proxy.Reveal(), Timeout: time.Duration(w.Timeout), Concurrency: w.Concurrency,
		UserAgent: b.UserAgent, Guard: guard,
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
