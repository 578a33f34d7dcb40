package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// newGuard returns the egress guard of all outbound calls except those to upstreams. own returns
// the addresses on which bellbuoy listens; nil: none.
func newGuard(c *config.Config, own func() []netip.AddrPort) *webhook.Guard {
	return webhook.NewGuard(webhook.GuardOptions{Allow: c.Egress.Allow, Deny: c.Egress.Deny, Private: c.Egress.Private, Own: own})
}

// wireWebhooks makes the webhooks of the file, with their clients, and compiles their filters.
func (w *wiring) wireWebhooks() (err error) {
	var compiled []notify.Webhook
	for i := range w.config.Webhooks {
		h, err := w.builder().File(i)
		if err != nil {
			first := manage.ProblemsOf(err)[0]
			return problemAt(w.config, strings.TrimSuffix(fmt.Sprintf("webhooks[%d].%s", i, first.Field), "."), errors.New(first.Message))
		}
		w.hooks = append(w.hooks, h)
		compiled = append(compiled, h.Webhook)
	}
	if w.set, err = notify.Compile(w.config.Notifications.Enabled, compiled); err != nil {
		return problemAt(w.config, "webhooks", err)
	}
	w.set.Mute(w.replications.Mutes)
	return nil
}

func (w *wiring) builder() *manage.Builder {
	return &manage.Builder{Config: w.config, Guard: w.guard, Numbers: w.numbers, UserAgent: userAgent()}
}

// webhooks returns the configuration of manage.Running.
func (w *wiring) webhooks() *manage.Configuration {
	return &manage.Configuration{Enabled: w.config.Notifications.Enabled, Hooks: w.hooks, Mute: w.replications.Mutes, Build: w.builder().Stored}
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

func userAgent() string { return "bellbuoy/" + buildVersion() }
