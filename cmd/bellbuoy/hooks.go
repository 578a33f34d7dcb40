package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// hook is a webhook of the file or of the store, with the client that posts for it. Its Name is the
// key of its deliveries.
type hook struct {
	config.Webhook
	client *webhook.Client
	ready  notify.Webhook
	index  int            // in the file's webhooks
	stored *notify.Stored // nil: it is in the file
}

// projects are the projects to which the webhook belongs; nil: it names none.
func (h *hook) projects() []string {
	if h.stored != nil {
		return []string{h.stored.Project}
	}
	if slices.ContainsFunc(h.Match.Projects, func(p string) bool { return strings.ContainsAny(p, `*?[]{}\`) }) {
		return nil
	}
	return h.Match.Projects
}

// takes reports whether a webhook of the file has the name of one of the store.
func (h *hook) takes(project, name string) bool {
	return h.Name == project+"/"+name || h.Name == name && slices.Contains(h.projects(), project)
}

// hookset is an immutable set of all webhooks.
type hookset struct {
	config  *config.Config
	changed int64 // changes of the store that are in it
	all     []*hook
	named   map[string]*hook
	off     []string // of the store's webhooks: which are left out, and why
	set     *notify.Set
}

// find is a webhook by the key of its deliveries, or of the store's by its project and name; nil:
// there is none.
func (s *hookset) find(name string) *hook {
	if h := s.named[name]; h != nil {
		return h
	}
	i := slices.IndexFunc(s.all, func(h *hook) bool { return h.stored != nil && h.stored.Project+"/"+h.stored.Name == name })
	if i < 0 {
		return nil
	}
	return s.all[i]
}

// keyOf returns the key of a webhook's deliveries. If there is no such webhook, it returns the name
// itself, because deliveries outlive their webhook.
func (s *hookset) keyOf(name string) string {
	if h := s.find(name); h != nil {
		return h.Name
	}
	return name
}

func (s *hookset) names() (names []string) {
	for _, h := range s.all {
		names = append(names, h.Name)
	}
	return names
}

// newStoredHook makes a webhook of the store ready. If a limited account made or edited it, that
// account's limits apply.
func (w *wiring) newStoredHook(s *notify.Stored) (*hook, error) {
	c, err := w.config.Webhook(s.Name, s.Definition)
	if err != nil {
		return nil, err
	}
	c.Name = s.Key
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
	client, err := webhook.New(webhookOptions(&c, guard))
	if err != nil {
		return nil, err
	}
	f, err := w.newFormat(&c)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("format_options: %w", err)
	}
	ready := notifyWebhook(&c, f, client)
	ready.Project = s.Project
	if _, err := notify.Compile(true, []notify.Webhook{ready}); err != nil {
		client.Close()
		return nil, err
	}
	return &hook{Webhook: c, client: client, ready: ready, stored: s}, nil
}

// checkLimits refuses settings that webhooks of limited accounts may not have.
func checkLimits(c *config.Webhook) error {
	switch {
	case !c.Proxy.IsZero():
		return errors.New("proxy: accounts limited to projects may not set it")
	case c.TLS.InsecureSkipVerify:
		return errors.New("tls.insecure_skip_verify (skip_cert_verify): accounts limited to projects may not set it")
	}
	for name := range c.Headers {
		if http.CanonicalHeaderKey(name) == "Host" {
			return errors.New("headers.Host: accounts limited to projects may not set it")
		}
	}
	return nil
}

// withStored returns the webhooks of the file and of the store. It reuses those of old that have
// not changed. It leaves out one that is invalid under this configuration, and the deliveries of
// that one are parked.
func (w *wiring) withStored(stored []notify.Stored, changed int64, old *hookset, log *zap.Logger) (*hookset, error) {
	s := &hookset{config: w.config, changed: changed, all: slices.Clone(w.hooks), named: map[string]*hook{}}
	for i := range stored {
		one := &stored[i]
		if slices.ContainsFunc(w.hooks, func(h *hook) bool { return h.takes(one.Project, one.Name) }) {
			s.leaveOut(one, "the configuration file has a webhook of its name", old, log)
			continue
		}
		h := old.same(one, w.config)
		if h == nil {
			var err error
			if h, err = w.newStoredHook(one); err != nil {
				s.leaveOut(one, plainProblem(err), old, log)
				continue
			}
		}
		s.all = append(s.all, h)
	}
	ready := make([]notify.Webhook, 0, len(s.all))
	for _, h := range s.all {
		s.named[h.Name] = h
		ready = append(ready, h.ready)
	}
	var err error
	if s.set, err = notify.Compile(w.config.Notifications.Enabled, ready); err == nil {
		s.set.Mute(w.replications.Mutes)
	}
	return s, err
}

// leaveOut logs that a webhook of the store is off, once.
func (s *hookset) leaveOut(one *notify.Stored, why string, old *hookset, log *zap.Logger) {
	text := fmt.Sprintf("webhook %s, made by API, is off: %s", one.Key, why)
	s.off = append(s.off, text)
	if old == nil || !slices.Contains(old.off, text) {
		log.Warn("webhook made by API is off", zap.String("webhook", one.Key), zap.String("why", why))
	}
}

// same is the webhook of the store in an older set, if neither it nor the configuration has
// changed.
func (s *hookset) same(one *notify.Stored, c *config.Config) *hook {
	if s == nil || s.config != c {
		return nil
	}
	if h := s.named[one.Key]; h != nil && h.stored != nil && h.stored.Version == one.Version {
		return h
	}
	return nil
}

// closeBut closes the clients of the store's webhooks that are not in next.
func (s *hookset) closeBut(next *hookset) {
	if s == nil {
		return
	}
	for _, h := range s.all {
		if h.stored != nil && next.named[h.Name] != h {
			h.client.Close()
		}
	}
}

// plainProblem is the problem of a webhook in words for users who do not see the file.
func plainProblem(err error) string {
	if problems, ok := errors.AsType[config.Problems](err); ok {
		return problems.Plain()
	}
	return err.Error()
}

// useWebhooks applies the webhooks of the file and of the store to the daemon.
func (d *daemon) useWebhooks(ctx context.Context) error {
	d.changing.Lock()
	defer d.changing.Unlock()
	return d.followStore(ctx, d.wiring.Load())
}

// followStore needs d.changing. If the store cannot be read, its webhooks stay unchanged.
func (d *daemon) followStore(ctx context.Context, w *wiring) error {
	stored, changed, readErr := d.webhooks.All(ctx)
	old := d.hooks.Load()
	if readErr != nil && old != nil {
		changed = old.changed
		for _, h := range old.all {
			if h.stored != nil {
				stored = append(stored, *h.stored)
			}
		}
	}
	next, err := w.withStored(stored, changed, old, d.log)
	if err != nil {
		return errors.Join(readErr, err)
	}
	d.hooks.Store(next)
	d.outbox.Configure(next.set)
	d.dispatcher.Configure(next.set)
	old.closeBut(next)
	return readErr
}

const lookForChanges = 500 * time.Millisecond

// followReplicas applies changes of other replicas within a second.
func (d *daemon) followReplicas(ctx context.Context) {
	ticker := time.NewTicker(lookForChanges)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		changed, err := d.webhooks.Changes(ctx)
		if err != nil || changed == d.hooks.Load().changed { // a store that fails is told of elsewhere
			continue
		}
		if err := d.useWebhooks(ctx); err != nil && ctx.Err() == nil {
			d.log.Warn("webhooks of the store not taken over", zap.Error(err))
		}
	}
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
