package notify

import (
	"context"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Wait is what a pending delivery waits for.
type Wait struct {
	Until time.Time // when it may be sent at the earliest; zero: unknown
	For   string    // one of the Wait… texts
}

// What a pending delivery waits for.
const (
	WaitRemoved    = "the webhook is not configured"
	WaitAllOff     = "notifications.enabled is false"
	WaitNotEnabled = "the webhook is not enabled in the configuration"
	WaitDisabled   = "the webhook is disabled"
	WaitGone       = "the webhook is disabled, because its receiver answered 410"
	WaitCircuit    = "the circuit is open"
	WaitAsked      = "the receiver's Retry-After"
	WaitRetry      = "the next attempt of its schedule"
	WaitRate       = "the rate limit"
	WaitAnswer     = "the answer to its POST"
	WaitOrder      = "an earlier delivery that must arrive first"
	WaitTurn       = "its turn"
)

// Waits returns a function that says what a pending delivery waits for.
func (d *Dispatcher) Waits(ctx context.Context) (func(store.Delivery) Wait, error) {
	elsewhere, err := d.store.LaneStates(ctx)
	if err != nil {
		return nil, fmt.Errorf("reading lanes: %w", err)
	}
	return func(pending store.Delivery) Wait {
		l := d.laneOf(pending.Webhook)
		if l == nil {
			return Wait{For: WaitRemoved}
		}
		return l.waitOf(pending, readCircuit(elsewhere[pending.Webhook]), time.Now())
	}, nil
}

// waitOf says what a pending delivery waits for. stored is the circuit's stored state, for a lane
// of another replica.
func (l *lane) waitOf(pending store.Delivery, stored circuitState, now time.Time) Wait {
	l.mu.Lock()
	defer l.mu.Unlock()
	open, byFailures, retryAt := stored.Open, true, stored.RetryAt
	if l.epoch > 0 {
		open, byFailures, retryAt = l.circuit.open, l.circuit.byFailures, l.circuit.retryAt
	}
	_, sending := l.inFlight[pending.ID]
	switch {
	case l.hook == nil:
		return Wait{For: WaitRemoved}
	case !l.hook.Enabled:
		return Wait{For: WaitNotEnabled}
	case !l.d.on():
		return Wait{For: WaitAllOff}
	case l.switched.Off && l.switched.Why == SwitchedByGone:
		return Wait{For: WaitGone}
	case l.switched.Off:
		return Wait{For: WaitDisabled}
	case sending:
		return Wait{For: WaitAnswer}
	case open:
		return waitForCircuit(pending.NextAt, retryAt, byFailures, now)
	case pending.NextAt.After(now):
		return Wait{pending.NextAt, WaitRetry}
	}
	return l.waitOfDue(pending, now)
}

func waitForCircuit(due, retryAt time.Time, byFailures bool, now time.Time) Wait {
	w := Wait{For: WaitCircuit}
	if !byFailures {
		w.For = WaitAsked
	}
	if due.After(retryAt) {
		retryAt = due
	}
	if retryAt.After(now) {
		w.Until = retryAt
	}
	return w
}

// waitOfDue says what a delivery waits for although it is due.
func (l *lane) waitOfDue(pending store.Delivery, now time.Time) Wait {
	switch {
	case l.busyKeys[keyOf(pending, l.hook.Order)]:
		return Wait{For: WaitOrder}
	case l.limiter != nil && l.limiter.TokensAt(now) < 1:
		return Wait{For: WaitRate}
	}
	return Wait{For: WaitTurn}
}
