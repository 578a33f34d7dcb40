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
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	rateOf       = 100 // of the last deliveries of a day, for the success rate
	reachTimeout = 5 * time.Second
)

type (
	statusAnswer struct {
		Version   string           `json:"version"`
		Config    string           `json:"config"`
		Started   time.Time        `json:"started"`
		Webhooks  []webhookStatus  `json:"webhooks"`
		Upstreams []upstreamStatus `json:"upstreams"`
		Store     storeStatus      `json:"store"`
		Attention []string         `json:"attention"` // what somebody should look at; empty: nothing
	}
	webhookStatus struct {
		Name        string                    `json:"name"`
		State       string                    `json:"state"` // ok, failing, disabled, gone, off
		Since       time.Time                 `json:"since,omitzero"`
		Why         string                    `json:"why,omitempty"`
		Circuit     string                    `json:"circuit"` // closed, open
		NextAttempt time.Time                 `json:"next_attempt,omitzero"`
		SuccessRate *float64                  `json:"success_rate,omitempty"` // of the last deliveries of 24 h that were tried; none: nothing was
		Tried       int                       `json:"tried"`                  // how many these are, at most 100
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
		Kind        string   `json:"kind"` // sqlite, postgres
		Dir         string   `json:"data_dir,omitempty"`
		Size        int64    `json:"size"`      // bytes of the files in data_dir
		MaxSize     int64    `json:"max_size"`  // store.retention.max_size; 0: none
		DiskFree    int64    `json:"disk_free"` // bytes that bellbuoy may still use
		DiskSize    int64    `json:"disk_size"`
		Error       string   `json:"error,omitempty"` // why it cannot be written
		InMemory    int      `json:"in_memory"`       // events that wait for the store
		OpenIntents int      `json:"open_intents"`    // writes whose outcome the upstream has not told
		Lost        int64    `json:"lost"`            // events, since the start
		Warnings    []string `json:"warnings,omitempty"`
	}
)

func (b *buoy) controlStatus(w http.ResponseWriter, r *http.Request) error {
	c := b.wiring.Load().config
	answer := statusAnswer{Version: buildVersion(), Config: b.path, Started: b.started, Attention: []string{}}
	upstreams := make(chan []upstreamStatus, 1)
	go func() { upstreams <- reachAll(r.Context(), b.wiring.Load()) }()
	states, err := b.dispatcher.States(r.Context())
	if err != nil {
		return err
	}
	for _, s := range states {
		status, err := b.webhookStatus(r.Context(), s)
		if err != nil {
			return err
		}
		answer.Webhooks = append(answer.Webhooks, status)
	}
	answer.Store = b.storeStatus(r.Context(), c)
	answer.Upstreams = <-upstreams
	answer.Attention = append(answer.Attention, attention(&answer)...)
	if !b.reloads.taken.Load() {
		answer.Attention = append(answer.Attention, "the configuration file has problems and was not taken: bellbuoy check")
	}
	if !c.Notifications.Enabled {
		answer.Attention = append(answer.Attention, "notifications.enabled is false: nothing is delivered")
	}
	return json.NewEncoder(w).Encode(answer)
}

// webhookStatus is a webhook's state with what its last deliveries say.
func (b *buoy) webhookStatus(ctx context.Context, s notify.WebhookState) (webhookStatus, error) {
	w := webhookStatus{Name: s.Name, Circuit: "closed", Pending: s.Pending, Oldest: s.Oldest, Dead: s.Dead, Parked: s.Parked, LastFired: s.Fired}
	last, err := b.dispatcher.Deliveries(ctx, store.DeliveryQuery{Webhook: s.Name, Since: time.Now().Add(-24 * time.Hour), Limit: rateOf})
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
	w.State, w.Since, w.Why = stateOfWebhook(s)
	if s.Open {
		w.Circuit = "open"
	}
	w.NextAttempt = nextAttempt(s, w.NextAttempt)
	return w, nil
}

// nextAttempt is when a webhook's next POST may begin; due is when its first waiting delivery is.
func nextAttempt(s notify.WebhookState, due time.Time) time.Time {
	switch {
	case !s.Enabled || s.Off != "":
		return time.Time{} // none before it is enabled
	case s.Open:
		return s.ProbeAt
	}
	return due
}

func (b *buoy) storeStatus(ctx context.Context, c *config.Config) storeStatus {
	s := storeStatus{Kind: "sqlite", Dir: c.DataDir, MaxSize: int64(c.Store.Retention.MaxSize), InMemory: b.outbox.Deferred(), Lost: b.outbox.Lost(),
		OpenIntents: b.tracker.Stats().OpenIntents, Warnings: b.store.Warnings()}
	if err := b.outbox.Healthy(); err != nil {
		s.Error = err.Error()
	}
	if c.Database != "" {
		s.Kind, s.Dir = "postgres", ""
		held, err := b.store.Size(ctx)
		if err != nil && s.Error == "" {
			s.Error = err.Error()
		}
		s.Size = held
		return s // its disk is another machine's
	}
	s.Size = sizeOf(c.DataDir)
	var fs unix.Statfs_t
	if unix.Statfs(c.DataDir, &fs) == nil {
		s.DiskFree, s.DiskSize = int64(fs.Bavail)*fs.Bsize, int64(fs.Blocks)*fs.Bsize
	}
	return s
}

// sizeOf is how much the files of a directory hold.
func sizeOf(dir string) (total int64) {
	entries, _ := os.ReadDir(dir) // what cannot be read has no size to tell
	for _, e := range entries {
		if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
	}
	return total
}

// reachAll asks every upstream at once whether it answers.
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
			if err := w.askers[u.Name].Reach(ctx, u.Type == config.TypeChartMuseum); err != nil {
				all[i].Error = err.Error()
			}
			all[i].Millis = millis(time.Since(begun))
		})
	}
	asking.Wait()
	return all
}

// attention is what somebody should look at, the worst first.
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
		say("%s: a push or delete of which the upstream has not said what became", plural(s.OpenIntents, "open intent"))
	}
	for _, u := range a.Upstreams {
		if u.Error != "" {
			say("upstream %s: %s", u.Name, u.Error)
		}
	}
	webhooks := slices.Clone(a.Webhooks)
	slices.SortStableFunc(webhooks, func(x, y webhookStatus) int { return cmp.Compare(y.Dead, x.Dead) })
	for _, w := range webhooks {
		if w.State == stateFailing || w.State == stateGone {
			say("webhook %s: %s since %s: %s", w.Name, w.State, fullTime(w.Since), cmp.Or(w.Why, "no answer"))
		}
		if w.Dead > 0 {
			say("webhook %s: %s; see: bellbuoy deliveries --webhook %s --state dead", w.Name, plural(int(w.Dead), "dead letter"), w.Name)
		}
	}
	return all
}
