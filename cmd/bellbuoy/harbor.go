package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/console"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// harbor returns Harbor's API for the daemon.
func (d *daemon) harbor() *api.Harbor {
	return &api.Harbor{Webhooks: d.desk, Projects: d.projects(), History: historyDesk{d}, System: systemDesk{d}, Log: d.log}
}

func (d *daemon) projects() projectDesk {
	shown, _ := lru.New[int64, string](shownProjects) // fails only for sizes below one
	return projectDesk{d, shown}
}

// shownProjects bounds the projects that are known only from requests of the API.
const shownProjects = 1024

// projectDesk implements api.Projects.
type projectDesk struct {
	*daemon
	// shown has names by number, of projects that no row of the store has yet: a request named
	// the project, and its answer showed the number. "": several names have the number.
	shown *lru.Cache[int64, string]
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
		all = append(all, d.project(name, numbers[name]))
	}
	return all, nil
}

func (d projectDesk) project(name string, number int64) api.Project {
	public := visibility(d.wiring.Load().config.Projects)(name + "/")
	return api.Project{Number: number, Name: name, Public: public == "public"}
}

// namedProjects returns the projects that the configuration names, without globs.
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
	d.noteShown(number, name)
	return d.project(name, number), nil
}

// noteShown records that an answer showed a project's number. If two names have the same number, it
// stands for neither of them until one is stored. Otherwise an account could choose a name to take
// over another project's number.
func (d projectDesk) noteShown(number int64, name string) {
	if earlier, ok := d.shown.Get(number); ok && earlier != name {
		name = ""
	}
	d.shown.Add(number, name)
}

// Numbered implements api.Projects.
func (d projectDesk) Numbered(ctx context.Context, number int64) (api.Project, error) {
	name, err := d.numbers.ProjectOf(ctx, number)
	if err != nil {
		return api.Project{}, err
	}
	if name == "" {
		name, _ = d.shown.Get(number)
	}
	if name != "" {
		return d.project(name, number), nil
	}
	known, err := d.Projects(ctx)
	if err != nil {
		return api.Project{}, err
	}
	i := slices.IndexFunc(known, func(p api.Project) bool { return p.Number == number })
	if i < 0 {
		return api.Project{}, fmt.Errorf("%w: project %d not found", manage.ErrNotFound, number)
	}
	return known[i], nil
}

// historyDesk implements api.History.
type historyDesk struct{ *daemon }

// Deliveries implements api.History.
func (d historyDesk) Deliveries(ctx context.Context, by access.Principal, q store.DeliveryQuery) ([]store.Delivery, error) {
	found, err := d.dispatcher.Deliveries(ctx, q)
	if err != nil {
		return nil, err
	}
	return d.desk.InScope(ctx, by, found)
}

// Attempts implements api.History.
func (d historyDesk) Attempts(ctx context.Context, by access.Principal, delivery int64) ([]store.Attempt, error) {
	return d.desk.Attempts(ctx, by, delivery)
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

// consoleProjects implements console.ProjectDesk.
type consoleProjects struct{ projectDesk }

// Projects implements console.ProjectDesk.
func (d consoleProjects) Projects(ctx context.Context, by access.Principal) ([]console.Project, error) {
	known, err := d.projectDesk.Projects(ctx)
	if err != nil {
		return nil, err
	}
	quotas, err := d.quotaLines(ctx, mostProjects)
	if err != nil {
		return nil, err
	}
	usage := map[string][]console.QuotaUse{}
	for _, q := range quotas {
		usage[q.Project] = append(usage[q.Project], console.QuotaUse{Upstream: q.Upstream, Used: q.Used, Limit: q.Limit, Inexact: q.Inexact > 0})
	}
	var all []console.Project
	for _, p := range known {
		if by.May(p.Name) {
			all = append(all, console.Project{Name: p.Name, Public: p.Public, Usage: usage[p.Name]})
		}
	}
	return all, nil
}
