package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// kindToggle is rows whose ID is a webhook. They are rows and not lane state because any replica may write them, not only the lane's owner.
const kindSwitch = "notify.toggle"

// What switched a webhook off at run time.
const (
	SwitchedByGone     = "gone"     // its receiver answered 410
	SwitchedByOperator = "operator" // bellbuoy disable, the console
)

// toggle is whether a webhook is switched off at run time. Its deliveries are planned all the same, wait, and go when it is switched on again;
// `enabled: false` in the configuration is the way to have none planned.
type switchState struct {
	Off   bool      `json:"off"`
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"` // of the last change
}

func switchedByGone() switchState {
	return switchState{Off: true, Why: SwitchedByGone, Since: time.Now()}
}

func (t switchState) same(o switchState) bool {
	return t.Off == o.Off && t.Why == o.Why && t.Since.Equal(o.Since)
}

func (d *Dispatcher) saveSwitch(ctx context.Context, webhook string, t switchState) error {
	value, err := json.Marshal(t)
	if err != nil {
		return err
	}
	row := store.Row{Key: store.Key{Kind: kindSwitch, ID: webhook}, Value: value, Seen: t.Since}
	return d.store.Update(ctx, nil, func(tx store.Tx) error {
		tx.Put(row)
		return nil
	})
}

// loadToggles reads what every webhook's toggle is, and tells the lanes.
func (d *Dispatcher) loadSwitches(ctx context.Context) error {
	toggles := map[string]switchState{}
	before := d.switchCount.Load()
	err := d.store.View(ctx, func(r store.Reader) error {
		rows, err := r.Scan(kindSwitch, "", allRows)
		for _, row := range rows {
			var t switchState
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
	if d.switchCount.Load() != before {
		d.leaseSoon() // one was switched here meanwhile: what was read may be older
		return nil
	}
	d.switched = toggles
	for name, l := range d.lanes {
		l.switchTo(toggles[name])
	}
	return nil
}

// switchTo stores a toggle and applies it here at once; other replicas see it with their next lease.
func (d *Dispatcher) switchTo(ctx context.Context, webhook string, t switchState) error {
	if err := d.saveSwitch(ctx, webhook, t); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.switchCount.Add(1)
	d.switched[webhook] = t
	if l := d.lanes[webhook]; l != nil {
		l.switchTo(t)
	}
	return nil
}

// Enable switches a webhook on again, after Disable or a 410. What waited goes at once; the time that it waited does not count against its schedule.
func (d *Dispatcher) Enable(ctx context.Context, name string) error {
	return d.setSwitch(ctx, name, switchState{Since: time.Now()})
}

// Disable switches a webhook off until Enable, also over restarts. Its deliveries are planned all the same, and wait.
func (d *Dispatcher) Disable(ctx context.Context, name string) error {
	return d.setSwitch(ctx, name, switchState{Off: true, Why: SwitchedByOperator, Since: time.Now()})
}

func (d *Dispatcher) setSwitch(ctx context.Context, name string, t switchState) error {
	if d.set.Load().named[name] == nil {
		return fmt.Errorf("%q: %w", name, ErrNoWebhook)
	}
	if err := d.switchTo(ctx, name, t); err != nil {
		return fmt.Errorf("switching webhook %q: %w", name, err)
	}
	return nil
}
