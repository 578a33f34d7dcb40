package notify

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// kindSwitch is the kind of the rows that store switchState. Their ID is the webhook. Any replica
// may write them, so they are not part of the lane's state, which only its owner writes.
const kindSwitch = "notify.toggle"

// Reasons for which a webhook is disabled at run time.
const (
	SwitchedByGone     = "gone"     // the receiver answered 410
	SwitchedByOperator = "operator" // bellbuoy disable, or the console
)

// switchState records whether a webhook is disabled at run time. Its deliveries are still planned,
// and wait until it is enabled again. `enabled: false` in the configuration plans none.
type switchState struct {
	Off   bool      `json:"off"`
	Why   string    `json:"why,omitempty"`
	Since time.Time `json:"since,omitzero"` // time of the last change
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

// loadSwitches reads the state of every webhook and passes it to the lanes.
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
		// a state was changed here meanwhile: the rows that were read may be older
		d.leaseSoon()
		return nil
	}
	d.switched = toggles
	for name, l := range d.lanes {
		l.switchTo(toggles[name])
	}
	return nil
}

// switchTo stores the state and applies it to this replica's lane. Other replicas read it when they
// renew their leases.
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

// Enable resumes a webhook that Disable or a 410 has disabled. Waiting deliveries become due at
// once; the time in which they waited does not count towards their expiry.
func (d *Dispatcher) Enable(ctx context.Context, name string) error {
	return d.setSwitch(ctx, name, switchState{Since: time.Now()})
}

// Disable stops a webhook until Enable, across restarts too. Its deliveries are still planned, and
// wait.
func (d *Dispatcher) Disable(ctx context.Context, name string) error {
	return d.setSwitch(ctx, name, switchState{Off: true, Why: SwitchedByOperator, Since: time.Now()})
}

// Disabled reports whether a webhook was disabled by Disable or a 410. Another replica's switch is
// known when the leases are renewed.
func (d *Dispatcher) Disabled(webhook string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.switched[webhook].Off
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
