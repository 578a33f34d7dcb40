package notify

import (
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// kindLastFired is the kind of rows with the ID "<type> <webhook>". Seen is when the webhook last
// got an event of that type.
const kindLastFired = "notify.fired"

const allRows = 1 << 20

// lastFired records when each webhook last got an event of each type. It is saved once a minute,
// not with each event.
type lastFired struct {
	mu      sync.Mutex
	last    map[lastFiredKey]time.Time
	changed map[lastFiredKey]bool
}

type lastFiredKey struct {
	kind    detect.Type
	webhook string
}

func newLastFired() *lastFired {
	return &lastFired{last: map[lastFiredKey]time.Time{}, changed: map[lastFiredKey]bool{}}
}

func (f *lastFired) note(e detect.Event, planned []store.Delivery) {
	if len(planned) == 0 {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, d := range planned {
		k := lastFiredKey{e.Type, d.Webhook}
		if e.At.After(f.last[k]) {
			f.last[k] = e.At
			f.changed[k] = true
		}
	}
}

// of returns the times of one webhook. With several replicas it knows only the events of this one.
func (f *lastFired) of(webhook string) map[detect.Type]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[detect.Type]time.Time{}
	for _, t := range Types() {
		if at, ok := f.last[lastFiredKey{t, webhook}]; ok {
			out[t] = at
		}
	}
	return out
}

// only removes webhooks that are not in s.
func (f *lastFired) only(s *Set) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := func(k lastFiredKey) bool { return s.named[k.webhook] == nil }
	maps.DeleteFunc(f.last, func(k lastFiredKey, _ time.Time) bool { return gone(k) })
	maps.DeleteFunc(f.changed, func(k lastFiredKey, _ bool) bool { return gone(k) })
}

func (f *lastFired) load(ctx context.Context, s Rows) error {
	return s.View(ctx, func(r store.Reader) error {
		rows, err := r.Scan(kindLastFired, "", allRows)
		if err != nil {
			return err
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, row := range rows {
			kind, webhook, _ := strings.Cut(row.ID, " ")
			k := lastFiredKey{detect.Type(kind), webhook}
			if row.Seen.After(f.last[k]) {
				f.last[k] = row.Seen
			}
		}
		return nil
	})
}

// save stores the changes. It does not replace a later time that another replica stored.
func (f *lastFired) save(ctx context.Context, s Rows) error {
	changes := f.take()
	if len(changes) == 0 {
		return nil
	}
	err := s.Update(ctx, nil, func(tx store.Tx) error {
		for k, at := range changes {
			key := store.Key{Kind: kindLastFired, ID: string(k.kind) + " " + k.webhook}
			old, ok, err := tx.Get(key)
			if err != nil {
				return err
			}
			if !ok || old.Seen.Before(at) {
				tx.Put(store.Row{Key: key, Seen: at})
			}
		}
		return nil
	})
	if err != nil {
		f.giveBack(slices.Collect(maps.Keys(changes)))
	}
	return err
}

func (f *lastFired) take() map[lastFiredKey]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[lastFiredKey]time.Time{}
	for k := range f.changed {
		out[k] = f.last[k]
	}
	clear(f.changed)
	return out
}

func (f *lastFired) giveBack(keys []lastFiredKey) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, k := range keys {
		f.changed[k] = true
	}
}
