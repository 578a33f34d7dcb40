package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	rateOf       = 100 // deliveries of the last day for the success rate
	reachTimeout = 5 * time.Second
)

type (
	statusAnswer struct {
		Version   string           `json:"version"`
		Config    string           `json:"config"`
		Started   time.Time        `json:"started"`
		Webhooks  []webhookStatus  `json:"webhooks"`
		Upstreams []upstreamStatus `json:"upstreams"`
		Scanners  []scannerStatus  `json:"scanners,omitempty"`
		Store     storeStatus      `json:"store"`
		Attention []string         `json:"attention"` // what an operator should look at; empty: nothing
	}
	webhookStatus struct {
		Name        string                    `json:"name"`
		State       string                    `json:"state"` // ok, failing, disabled, gone or off
		Since       time.Time                 `json:"since,omitzero"`
		Why         string                    `json:"why,omitempty"`
		Circuit     string                    `json:"circuit"` // closed or open
		NextAttempt time.Time                 `json:"next_attempt,omitzero"`
		SuccessRate *float64                  `json:"success_rate,omitempty"` // of the tried deliveries of 24 h; absent: none was tried
		Tried       int                       `json:"tried"`                  // how many deliveries that are, at most 100
		Pending     int64                     `json:"pending"`
		Oldest      time.Time                 `json:"oldest,omitzero"`
		Dead        int64                     `json:"dead"`
		Parked      int64                     `json:"parked,omitempty"`
		LastFired   map[detect.Type]time.Time `json:"last_fired,omitempty"`
	}
	upstreamStatus struct {
		Name   string  `json:"name"`
		Type   string  `json:"type"`
		URL    string  `json:"url"`
		Error  string  `json:"error,omitempty"`
		Millis float64 `json:"milliseconds"`
	}
	storeStatus struct {
		Kind        string   `json:"kind"` // sqlite or postgres
		Dir         string   `json:"data_dir,omitempty"`
		Size        int64    `json:"size"`      // bytes of the files in data_dir
		MaxSize     int64    `json:"max_size"`  // store.retention.max_size; 0: no limit
		DiskFree    int64    `json:"disk_free"` // bytes that bellbuoy may use
		DiskSize    int64    `json:"disk_size"`
		Error       string   `json:"error,omitempty"` // why it cannot be written
		InMemory    int      `json:"in_memory"`       // commits that wait for the store
		OpenIntents int      `json:"open_intents"`    // writes whose outcome is unknown
		Lost        int64    `json:"lost"`            // events lost since the start
		Warnings    []string `json:"warnings,omitempty"`
	}
)

func (api controlAPI) status(w http.ResponseWriter, r *http.Request) error {
	c := api.wiring.Load().config
	answer := statusAnswer{Version: buildVersion(), Config: api.path, Started: api.started, Attention: []string{}}
	upstreams := make(chan []upstreamStatus, 1)
	go func() { upstreams <- reachAll(r.Context(), api.wiring.Load()) }()
	states, err := api.dispatcher.States(r.Context())
	if err != nil {
		return err
	}
	for _, s := range states {
		status, err := api.webhookStatus(r.Context(), s)
		if err != nil {
			return err
		}
		answer.Webhooks = append(answer.Webhooks, status)
	}
	answer.Store = api.storeStatus(r.Context(), c)
	if answer.Scanners, err = api.scannerStatuses(r.Context()); err != nil {
		return err
	}
	quotas, err := api.quotaLines(r.Context(), mostProjects)
	if err != nil {
		return err
	}
	answer.Upstreams = <-upstreams
	answer.Attention = append(append(answer.Attention, attention(&answer)...), overQuota(quotas)...)
	if !api.reloads.taken.Load() {
		answer.Attention = append(answer.Attention, "the configuration file has problems and was not loaded: bellbuoy check")
	}
	answer.Attention = append(answer.Attention, api.running.Set().Off...)
	if !c.Notifications.Enabled {
		answer.Attention = append(answer.Attention, "notifications.enabled is false: nothing is delivered")
	}
	return json.NewEncoder(w).Encode(answer)
}

// webhookStatus returns a webhook's state with statistics of its last deliveries.
func (api controlAPI) webhookStatus(ctx context.Context, s notify.WebhookState) (webhookStatus, error) {
	w := webhookStatus{Name: s.Name, Circuit: "closed", Pending: s.Pending, Oldest: s.Oldest, Dead: s.Dead, Parked: s.Parked, LastFired: s.Fired}
	last, err := api.dispatcher.Deliveries(ctx, store.DeliveryQuery{Webhook: s.Name, Since: time.Now().Add(-24 * time.Hour), Limit: rateOf})
	if err != nil {
		return w, err
	}
	delivered := 0
	for _, d := range last {
		if d.Attempts > 0 || d.State != store.Pending {
			w.Tried++
		}
		if d.State == store.Delivered {
			delivered++
		}
		if d.State == store.Pending && !d.NextAt.IsZero() && (w.NextAttempt.IsZero() || d.NextAt.Before(w.NextAttempt)) {
			w.NextAttempt = d.NextAt
		}
	}
	if w.Tried > 0 {
		rate := float64(delivered) / float64(w.Tried)
		w.SuccessRate = &rate
	}
	w.State, w.Since, w.Why = manage.StateOf(s)
	if s.Open {
		w.Circuit = "open"
	}
	w.NextAttempt = nextAttempt(s, w.NextAttempt)
	return w, nil
}

// nextAttempt returns when the next POST of a webhook may begin. due is when its first pending
// delivery is due.
func nextAttempt(s notify.WebhookState, due time.Time) time.Time {
	switch {
	case !s.Enabled || s.Off != "":
		return time.Time{} // none before it is enabled
	case s.Open:
		return s.ProbeAt
	}
	return due
}

func (api controlAPI) storeStatus(ctx context.Context, c *config.Config) storeStatus {
	s := storeStatus{Kind: "sqlite", Dir: c.DataDir, MaxSize: int64(c.Store.Retention.MaxSize), InMemory: api.outbox.Deferred(), Lost: api.outbox.Lost(),
		OpenIntents: api.tracker.Stats().OpenIntents, Warnings: api.store.Warnings()}
	if err := api.outbox.Healthy(); err != nil {
		s.Error = err.Error()
	}
	if c.Database != "" {
		s.Kind, s.Dir = "postgres", ""
		held, err := api.store.Size(ctx)
		if err != nil && s.Error == "" {
			s.Error = err.Error()
		}
		s.Size = held
		return s // the database's disk is on another machine
	}
	s.Size = sizeOf(c.DataDir)
	var fs unix.Statfs_t
	if unix.Statfs(c.DataDir, &fs) == nil {
		s.DiskFree, s.DiskSize = int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize
	}
	return s
}

// sizeOf returns the total size of the files in a directory.
func sizeOf(dir string) (total int64) {
	entries, _ := os.ReadDir(dir) // files that cannot be read count as 0
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return total
}

// reachAll tests every upstream at the same time.
func reachAll(ctx context.Context, w *wiring) []upstreamStatus {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	all := make([]upstreamStatus, len(w.config.Upstreams))
	var asking sync.WaitGroup
	for i := range w.config.Upstreams {
		u := &w.config.Upstreams[i]
		all[i] = upstreamStatus{Name: u.Name, Type: u.Type, URL: u.URL}
		asking.Go(func() {
			begun := time.Now()
			if err := w.lookupClients[u.Name].Reach(ctx, u.Type == config.TypeChartMuseum); err != nil {
				all[i].Error = err.Error()
			}
			all[i].Millis = millis(time.Since(begun))
		})
	}
	asking.Wait()
	return all
}

// attention returns what an operator should look at, the worst first.
func attention(a *statusAnswer) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	s := &a.Store
	if s.Lost > 0 {
		say("%s lost since the start: the store failed and memory was full", plural(int(s.Lost), "event"))
	}
	if s.Error != "" {
		say("the store fails (%s); %s in memory", s.Error, plural(s.InMemory, "event"))
	}
	if s.DiskSize > 0 && s.DiskFree < s.DiskSize/20 {
		say("the disk of data_dir is nearly full")
	}
	if s.OpenIntents > 0 {
		say("%s: pushes or deletes whose outcome is unknown", plural(s.OpenIntents, "open intent"))
	}
	for _, u := range a.Upstreams {
		if u.Error != "" {
			say("upstream %s: %s", u.Name, u.Error)
		}
	}
	for _, s := range a.Scanners {
		if s.Error != "" {
			say("scanner %s: %s: %s", s.Name, plural(s.Waiting, "scan")+" waiting", s.Error)
		}
	}
	webhooks := slices.Clone(a.Webhooks)
	slices.SortStableFunc(webhooks, func(x, y webhookStatus) int { return cmp.Compare(y.Dead, x.Dead) })
	for _, w := range webhooks {
		if w.State == manage.StateFailing || w.State == manage.StateGone {
			say("webhook %s: %s since %s: %s", w.Name, w.State, fullTime(w.Since), cmp.Or(w.Why, "no answer"))
		}
		if w.Dead > 0 {
			say("webhook %s: %s; see: bellbuoy deliveries --webhook %s --state dead", w.Name, plural(int(w.Dead), "dead letter"), w.Name)
		}
	}
	return all
}

// quota returns the usage of the requested project, or of all.
func (api controlAPI) quota(w http.ResponseWriter, r *http.Request) error {
	if api.wiring.Load().quotas == nil {
		return fmt.Errorf("%w: no entry of projects has a quota", errBad)
	}
	lines, err := api.quotaLines(r.Context(), mostProjects)
	if err != nil {
		return err
	}
	project := r.URL.Query().Get("project")
	found := []quotaLine{}
	for _, l := range lines {
		if project == "" || l.Project == project {
			found = append(found, l)
		}
	}
	if project != "" && len(found) == 0 {
		if quotaRule(api.wiring.Load().config.Projects)(project).Limit > 0 {
			return fmt.Errorf("nothing of the project %q has been counted yet: %w; run bellbuoy index", project, store.ErrNotFound)
		}
		return fmt.Errorf("the project %q has no quota: %w", project, store.ErrNotFound)
	}
	return json.NewEncoder(w).Encode(found)
}

// waits are the webhooks that are not delivered to.
func (api controlAPI) waits(w http.ResponseWriter, r *http.Request) error {
	states, err := api.dispatcher.States(r.Context())
	if err != nil {
		return err
	}
	waits := []waitLine{}
	for _, s := range states {
		state, since, why := manage.StateOf(s)
		if state == manage.StateOK || state == manage.StateFailing && !s.Open {
			continue
		}
		waits = append(waits, waitLine{Webhook: s.Name, State: state, Since: since, Why: why, NextTry: s.ProbeAt})
	}
	return json.NewEncoder(w).Encode(waits)
}

// webhookNames returns the keys of all webhooks.
func (api controlAPI) webhookNames(w http.ResponseWriter, _ *http.Request) error {
	return json.NewEncoder(w).Encode(api.running.Set().Keys())
}
