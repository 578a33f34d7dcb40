package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	comparedPending = 100 // pending deliveries of a webhook whose next attempts are compared
	reachTimeout    = 5 * time.Second
)

// Status implements api.V1Operations.
func (d control) Status(ctx context.Context) (api.V1Status, error) {
	c := d.wiring.Load().config
	answer := api.V1Status{Version: buildVersion(), Config: d.path, Started: d.started, Attention: []string{}}
	upstreams := make(chan []api.V1UpstreamStatus, 1)
	go func() { upstreams <- reachAll(ctx, d.wiring.Load()) }()
	states, err := d.dispatcher.States(ctx)
	if err != nil {
		return answer, err
	}
	rates, err := d.desk.Counters.Successes(ctx)
	if err != nil {
		return answer, err
	}
	for _, s := range states {
		status, err := d.webhookStatus(ctx, s, rates[s.Name])
		if err != nil {
			return answer, err
		}
		answer.Webhooks = append(answer.Webhooks, status)
	}
	answer.Store = d.storeStatus(ctx, c)
	if answer.Scanners, err = d.scannerStatuses(ctx); err != nil {
		return answer, err
	}
	quotas, err := d.quotaLines(ctx, mostProjects)
	if err != nil {
		return answer, err
	}
	answer.Upstreams = <-upstreams
	answer.Attention = append(answer.Attention, d.attention(&answer, quotas)...)
	return answer, nil
}

// systemAttention returns the lines about the store, the scanners, the quotas and the configuration
// that need an administrator's attention.
func (d control) systemAttention(ctx context.Context) []string {
	answer := api.V1Status{Store: d.storeStatus(ctx, d.wiring.Load().config)}
	scanners, err := d.scannerStatuses(ctx)
	answer.Scanners = scanners
	quotas, quotaErr := d.quotaLines(ctx, mostProjects)
	all := d.attention(&answer, quotas)
	if err = errors.Join(err, quotaErr); err != nil && answer.Store.Error == "" {
		all = append(all, "the store cannot be read: "+err.Error())
	}
	return all
}

// attention returns a line for everything that needs an administrator's attention, the worst first.
func (d control) attention(a *api.V1Status, quotas []api.V1Quota) []string {
	all := append(attention(a), overQuota(quotas)...)
	if !d.reloads.succeeded.Load() {
		all = append(all, "the configuration file has problems and was not loaded: bellbuoy check")
	}
	all = append(all, d.running.Set().Off...)
	if !d.wiring.Load().config.Notifications.Enabled {
		all = append(all, "notifications.enabled is false: nothing is delivered")
	}
	return all
}

// webhookStatus returns a webhook's state. rate counts its attempts of the last day.
func (d control) webhookStatus(ctx context.Context, s notify.WebhookState, rate counters.Success) (api.V1WebhookStatus, error) {
	w := api.V1WebhookStatus{Name: s.Name, Circuit: "closed", Pending: s.Pending, Oldest: s.Oldest, Dead: s.Dead, Parked: s.Parked, LastFired: s.Fired, Tried: rate.Tried}
	if rate.Tried > 0 {
		part := float64(rate.Delivered) / float64(rate.Tried)
		w.SuccessRate = &part
	}
	w.State, w.Since, w.Why = manage.StateOf(s)
	if s.Open {
		w.Circuit = "open"
	}
	var due time.Time // of the first pending delivery
	if s.Pending > 0 {
		first, err := d.dispatcher.Deliveries(ctx, store.DeliveryQuery{Webhook: s.Name, States: []store.State{store.Pending}, Limit: comparedPending})
		if err != nil {
			return w, err
		}
		for _, one := range first {
			if due.IsZero() || one.NextAt.Before(due) {
				due = one.NextAt
			}
		}
	}
	w.NextAttempt = nextAttempt(s, due)
	return w, nil
}

// nextAttempt returns when the next POST of a webhook may begin; zero if it waits for something
// other than a time. due is when its first pending delivery is due.
func nextAttempt(s notify.WebhookState, due time.Time) time.Time {
	if s.Open {
		due = s.ProbeAt
	}
	if !s.Enabled || s.Off != "" || due.Before(time.Now()) {
		return time.Time{}
	}
	return due
}

func (d control) storeStatus(ctx context.Context, c *config.Config) api.V1StoreStatus {
	s := api.V1StoreStatus{Kind: "sqlite", Dir: c.DataDir, MaxSize: int64(c.Store.Retention.MaxSize), InMemory: d.outbox.Deferred(), Lost: d.outbox.Lost(),
		OpenIntents: d.tracker.Stats().OpenIntents, Warnings: d.store.Warnings()}
	if err := d.outbox.Healthy(); err != nil {
		s.Error = err.Error()
	}
	if c.Database != "" {
		s.Kind, s.Dir = "postgres", ""
		held, err := d.store.Size(ctx)
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
func reachAll(ctx context.Context, w *wiring) []api.V1UpstreamStatus {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	all := make([]api.V1UpstreamStatus, len(w.config.Upstreams))
	var asking sync.WaitGroup
	for i := range w.config.Upstreams {
		u := &w.config.Upstreams[i]
		all[i] = api.V1UpstreamStatus{Name: u.Name, Type: u.Type, URL: u.URL}
		asking.Go(func() {
			begun := time.Now()
			if err := w.lookupClients[u.Name].Reach(ctx, u.Type == config.TypeChartMuseum); err != nil {
				all[i].Error = reachText(err)
			}
			all[i].Millis = millis(time.Since(begun))
		})
	}
	asking.Wait()
	return all
}

// fewFree is the free space below which a disk of any size is nearly full.
const fewFree = 5 << 30

// attention returns the lines that follow from a status alone, the worst first.
func attention(a *api.V1Status) (all []string) {
	say := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	s := &a.Store
	if s.Lost > 0 {
		say("%s lost since the start: the store failed and memory was full", plural(int(s.Lost), "event"))
	}
	if s.Error != "" {
		say("the store fails (%s); %s in memory", s.Error, plural(s.InMemory, "event"))
	}
	if s.DiskFree < min(s.DiskSize/20, fewFree) {
		say("the disk of data_dir is nearly full: %s of %s are free", bytesText(s.DiskFree), bytesText(s.DiskSize))
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
	slices.SortStableFunc(webhooks, func(x, y api.V1WebhookStatus) int { return cmp.Compare(y.Dead, x.Dead) })
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
