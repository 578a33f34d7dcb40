package notify

import (
	"context"
	"encoding/json"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// kindToggle is rows whose ID is a webhook. They are rows and not lane state because any replica may write them, not only the lane's owner.
const kindToggle = "notify.toggle"

// What switched a webhook off at run time.
const (
	SwitchedByGone     = "gone"     // its receiver answered 410
	SwitchedByOperator = "operator" // bellbuoy disable, the console
)

// toggle is whether a webhook is switched off at run time. Its deliveries are planned all the same, wait, and go when it is switched on again;
// `enabled: false` in the configuration is the way to have none planned.
type toggle struct {
	Off   bool      `json:"off"`
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"` // of the last change
}

func gone() toggle { return toggle{Off: true, Why: SwitchedByGone, Since: time.Now()} }

func (t toggle) same(o toggle) bool {
	return t.Off == o.Off && t.Why == o.Why && t.Since.Equal(o.Since)
}

func (d *Dispatcher) saveToggle(ctx context.Context, webhook string, t toggle) error {
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	row := store.Row{Key: store.Key{Kind: kindToggle, ID: webhook}, Value: value, Seen: t.Since}
	return d.store.Update(ctx, nil, func(tx store.Tx) error {
		tx.Put(row)
		return nil
	})
}

// loadToggles reads what every webhook's toggle is, and tells the lanes.
func (d *Dispatcher) loadToggles(ctx context.Context) error {
	toggles := map[string]toggle{}
	before := d.switches.Load()
	err := d.store.View(ctx, func(r store.Reader) error {
		rows, err := r.Scan(kindToggle, "", allRows)
		for _, row := range rows {
			var t toggle
			if json.Unmarshal(row.Value, &t) == nil {
				toggles[row.ID] = t
			}
		}
		return err
	})
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.switches.Load() != before {
		d.relook() // one was switched here meanwhile: what was read may be older
		return nil
	}
	d.toggles = toggles
	for name, l := range d.lanes {
		l.switchTo(toggles[name])
	}
	return nil
}

// switchTo stores a toggle and applies it here at once; other replicas see it with their next lease.
func (d *Dispatcher) switchTo(ctx context.Context, webhook string, t toggle) error {
	if err := d.saveToggle(ctx, webhook, t); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.switches.Add(1)
	d.toggles[webhook] = t
	if l := d.lanes[webhook]; l != nil {
		l.switchTo(t)
	}
	return nil
}
