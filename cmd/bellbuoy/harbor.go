package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// harbor returns Harbor's API for the daemon.
func (d *daemon) harbor() *api.Harbor {
	asked, _ := lru.New[int64, string](askedProjects) // errs for sizes below one only
	return &api.Harbor{
		Webhooks: webhookDesk{d}, Projects: projectDesk{d, asked}, History: historyDesk{d},
		System: systemDesk{d}, Log: d.log,
	}
}

// askedProjects bounds the projects that are known only from requests of the API.
const askedProjects = 1024

// webhookDesk implements api.Webhooks.
type webhookDesk struct{ *daemon }

// Webhooks are all, of the file and of the store, also those of the store that are off.
func (d webhookDesk) Webhooks(ctx context.Context) ([]api.Webhook, error) {
	stored, _, err := d.webhooks.All(ctx)
	if err != nil {
		return nil, err
	}
	var all []api.Webhook
	for _, h := range d.hooks.Load().all {
		if h.stored == nil {
			all = append(all, d.ofFile(h))
		}
	}
	for i := range stored {
		one, err := ofStore(&stored[i])
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func (d webhookDesk) ofFile(h *hook) api.Webhook {
	at := d.hooks.Load().config.Problem(fmt.Sprintf("webhooks[%d].name", h.index), "")
	return api.Webhook{
		Number: d.numbers.Webhook(h.Name), Key: h.Name, Name: h.Name, Projects: h.projects(), File: fmt.Sprintf("%s:%d", at.File, at.Line),
		Description: h.Description, Enabled: h.Enabled, Address: h.URL.String(), SkipVerify: h.TLS.InsecureSkipVerify,
		Format: h.Format, Events: h.Events,
	}
}

// definition has the settings of a webhook that Harbor's API can express, with the keys of an entry
// of webhooks.
type definition struct {
	Name        string           `json:"name"`
	Description string           `json:"description,omitempty"`
	Enabled     bool             `json:"enabled"`
	URL         string           `json:"url"`
	Format      string           `json:"format"`
	Events      []string         `json:"events,omitempty"`
	AuthHeader  string           `json:"auth_header,omitempty"`
	TLS         *definitionOfTLS `json:"tls,omitempty"`
}

type definitionOfTLS struct {
	InsecureSkipVerify bool `json:"insecure_skip_verify"`
}

func ofStore(s *notify.Stored) (api.Webhook, error) {
	var d definition
	if err := json.Unmarshal(s.Definition, &d); err != nil {
		return api.Webhook{}, fmt.Errorf("decoding webhook %s: %w", s.Key, err)
	}
	return api.Webhook{
		Number: s.Number, Key: s.Key, Name: s.Name, Projects: []string{s.Project}, Description: d.Description, Enabled: d.Enabled,
		Address: d.URL, AuthHeader: d.AuthHeader, SkipVerify: d.TLS != nil && d.TLS.InsecureSkipVerify, Format: d.Format, Events: d.Events,
		Maker: s.Maker, Made: s.Made, Changed: s.Changed, Policy: s.Policy,
	}, nil
}

// definitionOf leaves out what a plain address has no use for; the policy keeps it for the API's
// answers.
func definitionOf(name string, c api.Change) ([]byte, error) {
	d := definition{
		Name: name, Description: c.Description, Enabled: c.Enabled, URL: c.Address,
		Format: c.Format, Events: c.Events, AuthHeader: c.AuthHeader,
	}
	if c.SkipVerify && strings.HasPrefix(strings.ToLower(c.Address), "https:") {
		d.TLS = &definitionOfTLS{true}
	}
	return json.Marshal(d)
}

// Make implements api.Webhooks.
func (d webhookDesk) Make(ctx context.Context, by access.Principal, project string, c api.Change) (int64, error) {
	if d.taken(project, c.Name) {
		return 0, fmt.Errorf("%w: the configuration file has a webhook %s", api.ErrConflict, c.Name)
	}
	s := notify.Stored{
		Key: project + "/" + c.Name, Project: project, Name: c.Name, Maker: by.Name,
		Limited: !by.Administrator, Policy: c.Policy,
	}
	if err := d.define(&s, c); err != nil {
		return 0, err
	}
	if err := d.numbers.GiveProjects(ctx, project); err != nil {
		return 0, err
	}
	made, err := d.webhooks.Make(ctx, s)
	if err != nil {
		return 0, apiError(err)
	}
	return made.Number, d.takeOver(ctx)
}

// Change implements api.Webhooks.
func (d webhookDesk) Change(ctx context.Context, by access.Principal, number int64, c api.Change) error {
	_, err := d.webhooks.Change(ctx, number, func(s *notify.Stored) error {
		if !by.May(s.Project) {
			return api.ErrNotFound
		}
		if c.Name != "" && c.Name != s.Name && d.taken(s.Project, c.Name) {
			return fmt.Errorf("%w: the configuration file has a webhook %s", api.ErrConflict, c.Name)
		}
		s.Name = cmp.Or(c.Name, s.Name)
		s.Limited = s.Limited || !by.Administrator
		s.Policy = c.Policy
		return d.define(s, c)
	})
	if err != nil {
		return apiError(err)
	}
	return d.takeOver(ctx)
}

// Remove implements api.Webhooks. The dispatcher turns pending deliveries into dead letters.
func (d webhookDesk) Remove(ctx context.Context, by access.Principal, number int64) error {
	err := d.webhooks.Remove(ctx, number, func(s notify.Stored) error {
		if !by.May(s.Project) {
			return api.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return apiError(err)
	}
	return d.takeOver(ctx)
}

// taken reports whether the file has a webhook of that name in a project.
func (d webhookDesk) taken(project, name string) bool {
	return slices.ContainsFunc(d.hooks.Load().all, func(h *hook) bool { return h.stored == nil && h.takes(project, name) })
}

// define sets the definition of a webhook if it is valid.
func (d webhookDesk) define(s *notify.Stored, c api.Change) (err error) {
	if s.Definition, err = definitionOf(s.Name, c); err != nil {
		return err
	}
	h, err := d.wiring.Load().newStoredHook(s)
	if err != nil {
		return fmt.Errorf("%w: %s", api.ErrInvalid, plainProblem(err))
	}
	h.client.Close()
	return nil
}

// takeOver applies a change to the daemon, even if the client has disconnected.
func (d webhookDesk) takeOver(ctx context.Context) error {
	return d.useWebhooks(context.WithoutCancel(ctx))
}

// apiError translates an error of the store's webhooks into one of the API.
func apiError(err error) error {
	switch {
	case errors.Is(err, notify.ErrNoWebhook):
		return fmt.Errorf("%w: the webhook is gone", api.ErrNotFound)
	case errors.Is(err, notify.ErrNameTaken):
		return fmt.Errorf("%w: %w", api.ErrConflict, notify.ErrNameTaken)
	case errors.Is(err, notify.ErrTooMany):
		return fmt.Errorf("%w: %w", api.ErrInvalid, notify.ErrTooMany)
	}
	for _, kind := range []error{api.ErrInvalid, api.ErrConflict, api.ErrNotFound} {
		if errors.Is(err, kind) {
			_, text, found := strings.Cut(err.Error(), kind.Error()+": ")
			if found {
				return fmt.Errorf("%w: %s", kind, text)
			}
		}
	}
	return err
}

// projectDesk implements api.Projects.
type projectDesk struct {
	*daemon
	asked *lru.Cache[int64, string] // by number: names that were asked for, which are stored at the first write; "": several
}

// Projects implements api.Projects.
func (d projectDesk) Projects(ctx context.Context) ([]api.Project, error) {
	numbers, err := d.numbers.Projects(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range namedProjects(d.wiring.Load().config) {
		if _, given := numbers[name]; given {
			continue
		}
		if numbers[name], err = d.numbers.Find(ctx, name); err != nil {
			return nil, err
		}
	}
	all := make([]api.Project, 0, len(numbers))
	for _, name := range slices.Sorted(maps.Keys(numbers)) {
		all = append(all, d.shown(name, numbers[name]))
	}
	return all, nil
}

func (d projectDesk) shown(name string, number int64) api.Project {
	public := visibility(d.wiring.Load().config.Projects)(name + "/")
	return api.Project{Number: number, Name: name, Public: public == "public"}
}

// namedProjects are the names of projects that the configuration has, as opposed to globs.
func namedProjects(c *config.Config) (names []string) {
	add := func(all ...string) {
		for _, name := range all {
			if !strings.ContainsAny(name, `*?[]{}\`) {
				names = append(names, name)
			}
		}
	}
	for _, p := range c.Projects {
		add(p.Match)
	}
	for _, u := range c.Admin.Users {
		add(u.Projects...)
	}
	for _, t := range c.Admin.Tokens {
		add(t.Projects...)
	}
	return names
}

// Project implements api.Projects.
func (d projectDesk) Project(ctx context.Context, name string) (api.Project, error) {
	number, err := d.numbers.Find(ctx, name)
	if err != nil {
		return api.Project{}, err
	}
	d.ask(number, name)
	return d.shown(name, number), nil
}

// ask records the project whose number was shown. If two names have the same number, it means
// neither until it is stored. Otherwise an account could choose a name to take over another
// project's number.
func (d projectDesk) ask(number int64, name string) {
	if earlier, ok := d.asked.Get(number); ok && earlier != name {
		name = ""
	}
	d.asked.Add(number, name)
}

// Numbered implements api.Projects.
func (d projectDesk) Numbered(ctx context.Context, number int64) (api.Project, error) {
	name, err := d.numbers.ProjectOf(ctx, number)
	if err != nil {
		return api.Project{}, err
	}
	if name == "" {
		name, _ = d.asked.Get(number)
	}
	if name != "" {
		return d.shown(name, number), nil
	}
	known, err := d.Projects(ctx)
	if err != nil {
		return api.Project{}, err
	}
	i := slices.IndexFunc(known, func(p api.Project) bool { return p.Number == number })
	if i < 0 {
		return api.Project{}, fmt.Errorf("%w: project %d not found", api.ErrNotFound, number)
	}
	return known[i], nil
}

// historyDesk implements api.History.
type historyDesk struct{ *daemon }

// Deliveries implements api.History.
func (d historyDesk) Deliveries(ctx context.Context, q store.DeliveryQuery) ([]store.Delivery, error) {
	return d.dispatcher.Deliveries(ctx, q)
}

// Attempts implements api.History.
func (d historyDesk) Attempts(ctx context.Context, delivery int64) ([]store.Attempt, error) {
	return d.dispatcher.Attempts(ctx, delivery)
}

// Type implements api.History.
func (d historyDesk) Type(ctx context.Context, event string) (string, error) {
	found, err := d.dispatcher.Events(ctx, store.EventQuery{ID: event, Limit: 1})
	if err != nil || len(found) == 0 {
		return "", err
	}
	return string(found[0].Type), nil
}

// LastFired implements api.History.
func (d historyDesk) LastFired(_ context.Context, key string) (map[string]time.Time, error) {
	fired := map[string]time.Time{}
	for t, at := range d.dispatcher.LastFired(key) {
		fired[string(t)] = at
	}
	return fired, nil
}

// systemDesk implements api.System.
type systemDesk struct{ *daemon }

// Version implements api.System.
func (d systemDesk) Version() string { return buildVersion() }

// ExternalURL implements api.System.
func (d systemDesk) ExternalURL() string {
	for _, u := range d.wiring.Load().config.Upstreams {
		if u.ExternalURL != "" {
			return u.ExternalURL
		}
	}
	return ""
}

// Healthy implements api.System.
func (d systemDesk) Healthy() error { return d.outbox.Healthy() }
