package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// newHook makes a webhook ready, with its client. key is the key of its deliveries, project that of
// a webhook of the store.
func (w *wiring) newHook(c config.Webhook, guard *webhook.Guard, project string) (*manage.Hook, error) {
	client, err := webhook.New(webhookOptions(&c, guard))
	if err != nil {
		return nil, err
	}
	f, err := w.newFormat(&c)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("format_options: %w", err)
	}
	h := &manage.Hook{Webhook: notifyWebhook(&c, f, client), Client: client, Complete: manage.CompleteDefinition(&c), URL: c.URL.Reveal()}
	h.Project = project
	return h, nil
}

// newStoredHook makes a webhook of the store ready. If a limited account made or edited it, that
// account's limits apply.
func (w *wiring) newStoredHook(s *notify.Stored) (*manage.Hook, error) {
	h, err := w.checkedHook(s)
	if err != nil {
		return nil, manage.ProblemsOf(err)
	}
	return h, nil
}

func (w *wiring) checkedHook(s *notify.Stored) (*manage.Hook, error) {
	c, err := w.config.Webhook(s.Name, s.Definition)
	if err != nil {
		return nil, err
	}
	guard := w.guard
	if s.Limited {
		if err := checkLimits(&c); err != nil {
			return nil, err
		}
		guard = guard.Restricted()
	}
	if to, ok := addressOf(c.URL.Reveal()); ok {
		if err := guard.Check(to); err != nil {
			return nil, fmt.Errorf("url: %w", err)
		}
	}
	c.Name = s.Key
	h, err := w.newHook(c, guard, s.Project)
	if err != nil {
		return nil, err
	}
	h.Stored, h.Complete.Name = s, s.Name
	if _, err := notify.Compile(true, []notify.Webhook{h.Webhook}); err != nil {
		h.Client.Close()
		return nil, err
	}
	return h, nil
}

// checkLimits refuses settings that webhooks of limited accounts may not have.
func checkLimits(c *config.Webhook) error {
	switch {
	case !c.Proxy.IsZero():
		return errors.New("proxy: accounts limited to projects may not set it")
	case c.TLS.InsecureSkipVerify:
		return errors.New("tls.insecure_skip_verify: accounts limited to projects may not set it (skip_cert_verify in Harbor's API)")
	}
	for name := range c.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			return errors.New("headers.Host: accounts limited to projects may not set it")
		}
	}
	return nil
}

// webhooks returns what the webhooks in use depend on.
func (w *wiring) webhooks() *manage.Configuration {
	return &manage.Configuration{Enabled: w.config.Notifications.Enabled, Hooks: w.hooks, Mute: w.replications.Mutes, Build: w.newStoredHook}
}

// giveNumbers stores the numbers of the file's webhooks. If that fails, their numbers are the
// hashes of their names.
func (d *daemon) giveNumbers(ctx context.Context, c *config.Config) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(c.Store.Timeout))
	defer cancel()
	if err := d.numbers.GiveWebhooks(ctx, webhookNames(c)...); err != nil {
		d.log.Warn("webhooks have no stored numbers yet", zap.Error(err))
	}
}

func webhookNames(c *config.Config) (names []string) {
	for i := range c.Webhooks {
		names = append(names, c.Webhooks[i].Name)
	}
	return names
}
