package notify

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	// bound on fetched deliveries, and on outcomes that are not stored yet
	laneAhead   = 64
	laneProbes  = 64              // deliveries that are considered for a probe
	laneRest    = time.Second     // pause after a failure of the store
	laneLongest = 1 * time.Minute // longest timer, because clocks may jump
)

// lane sends the deliveries of one webhook. It has no goroutine while nothing is due. A change
// starts the pump, which begins what can begin and ends. Each POST has a goroutine, and one
// goroutine stores outcomes while there are any.
//
//	kick ─► pump: fetch ─► ready ─► begin ─► attempt: render, POST, judge
//	         ▲                                                              │
//	         └───────────── storeOutcomes ◄───────────── outcomes ◄─────────┘
//
// A delivery is in flight from its begin until its outcome is stored. Its key (the tag, with
// `order: tag`) is busy for that time, and the next delivery of that key waits.
type lane struct {
	d    *Dispatcher
	name string

	mu            sync.Mutex
	hook          *compiledWebhook // nil: the webhook was removed, and attempts in flight end
	limiter       *rate.Limiter    // nil: no limit
	epoch         int64            // of the lease; 0: another replica owns the lane
	until         time.Time        // end of the lease by this machine's clock
	switched      switchState
	circuit       circuit
	failure       failureState
	stopped       bool
	storedRetryAt time.Time // circuit.retryAt as stored
	lastWarned    time.Time // when the log last mentioned a first failure
	recovery      recovery

	pumping bool
	dirty   bool
	laneQueue
	inFlight        map[int64]string // delivery → key
	busyKeys        map[string]bool  // keys of the deliveries in flight; never ""
	posts           int
	lastGroup       time.Time // when the last message of a group began; see Group
	outcomes        []attemptOutcome
	storingOutcomes bool
	timer           *time.Timer
}

// kick makes the lane ask the store for due deliveries. It never blocks.
func (l *lane) kick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refetch()
}

// refetch is kick for callers that hold the lane's lock.
func (l *lane) refetch() {
	l.stale = true
	l.startPump()
}

// startPump starts the pump if it is not running. The caller holds the lane's lock.
func (l *lane) startPump() {
	if l.stopped {
		return
	}
	l.dirty = true
	if !l.pumping {
		l.pumping = true
		l.d.work.Go(l.pump)
	}
}

func (l *lane) pump() {
	for l.takeDirty() {
		for l.fetch() && l.begin() {
		}
	}
}

func (l *lane) takeDirty() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pumping = l.dirty
	l.dirty = false
	return l.pumping
}

// mayPost reports whether the lane may start any POST now.
func (l *lane) mayPost(now time.Time) bool {
	return !l.stopped && l.hook != nil && l.hook.Enabled && l.d.on() && !l.switched.Off && l.epoch > 0 && now.Before(l.until)
}

// slots returns how many POSTs may start now.
func (l *lane) slots(now time.Time) int {
	switch {
	case !l.mayPost(now):
		return 0
	case !l.circuit.open:
		return min(l.hook.concurrency()-l.posts, l.hook.concurrency()+laneAhead-len(l.inFlight))
	case now.Before(l.circuit.retryAt):
		l.wakeAt(l.circuit.retryAt)
		return 0
	case len(l.inFlight) > 0: // a probe, or attempts that began before the circuit opened
		return 0
	}
	return 1
}

// expiry returns when a delivery is too old to be sent. Time before the last switch of the webhook
// does not count.
func (l *lane) expiry(d store.Delivery) time.Time {
	since := d.PendingSince
	if l.switched.Since.After(since) {
		since = l.switched.Since
	}
	return since.Add(l.hook.schedule().lifetime())
}

func (l *lane) start(d store.Delivery, probe bool) {
	l.addInFlight(d)
	l.posts++
	j := job{delivery: d, hook: l.hook, epoch: l.epoch, probe: probe, expiry: l.expiry(d)}
	l.d.work.Go(func() { l.attempt(j) })
}

// expire makes a dead letter of a delivery that is too old.
func (l *lane) expire(d store.Delivery) {
	l.addInFlight(d)
	l.d.metrics.attempt(l.name, "dead", 0)
	l.queueOutcome(attemptOutcome{outcome: l.outcome(d, store.Dead, ReasonExpired), event: d.EventID})
}

func (l *lane) addInFlight(d store.Delivery) {
	if l.inFlight == nil {
		l.inFlight, l.busyKeys = map[int64]string{}, map[string]bool{}
	}
	key := ""
	if l.hook != nil {
		key = keyOf(d, l.hook.Order)
	}
	l.inFlight[d.ID] = key
	if key != "" {
		l.busyKeys[key] = true
	}
}

func (l *lane) removeInFlight(id int64) {
	delete(l.busyKeys, l.inFlight[id])
	delete(l.inFlight, id)
}

func keyOf(d store.Delivery, o store.Order) string {
	switch o {
	case store.ByTag:
		return d.TagKey
	case store.ByRepository:
		return d.RepoKey
	}
	return ""
}

// wakeAt sets the lane's only timer. Each fetch sets it again.
func (l *lane) wakeAt(t time.Time) {
	wait := min(max(time.Until(t), 0), laneLongest)
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.kick)
		return
	}
	l.timer.Reset(wait)
}

// configure applies new settings; nil: the webhook was removed. Attempts in flight end with the old
// settings.
func (l *lane) configure(h *compiledWebhook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h == nil || l.hook == nil || l.hook.RateLimit != h.RateLimit {
		l.limiter = nil
		if h != nil && h.RateLimit > 0 {
			l.limiter = rate.NewLimiter(h.RateLimit, 1)
		}
	}
	l.hook = h
	l.forgetFetched()
	l.refetch()
}

// takeLease records a lease and reports whether it is a new one.
func (l *lane) takeLease(epoch int64, until time.Time, state []byte) (anew bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	anew = l.epoch != epoch
	asleep := anew || !time.Now().Before(l.until)
	if anew {
		l.circuit.restore(state, time.Now())
		l.failure = readFailure(state)
		l.storedRetryAt = l.circuit.retryAt
		l.forgetFetched()
		// after a stop there may be many: the store selects until all are sent
		l.backlog = true
		l.recovery = recovery{waiting: true}
	}
	l.epoch, l.until = epoch, until
	if asleep {
		l.refetch()
	}
	return anew
}

// loseLease drops the state that belongs to the owner. Attempts in flight end; the store fences
// their outcomes off if the lane has a new owner.
func (l *lane) loseLease() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch > 0 {
		l.d.log.Debug("lane given up", zap.String("webhook", l.name))
	}
	l.epoch, l.circuit = 0, circuit{}
	l.forgetFetched()
}

// switchTo applies a change of the webhook's switch.
func (l *lane) switchTo(t switchState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.switched.same(t) {
		return
	}
	if l.switched.Off && !t.Off {
		l.circuit = circuit{} // an operator who enables it says that the receiver works
	}
	l.switched = t
	l.forgetFetched()
	l.refetch()
}

// probeNow makes the next probe of an open circuit due now, because an operator asked for it.
func (l *lane) probeNow() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.circuit.open {
		l.circuit.retryAt = time.Now()
		l.refetch()
	}
}

// stop prevents further POSTs.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

// idle reports whether nothing is in flight.
func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.inFlight) == 0
}

// describe fills in the lane's part of the state. stored is what the lane's owner, perhaps another
// replica, has stored.
func (l *lane) describe(s *WebhookState, stored []byte) {
	elsewhere := readCircuit(stored)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.switched.Off {
		s.Off, s.OffSince = l.switched.Why, l.switched.Since
	}
	s.OwnedHere = l.epoch > 0
	s.Open, s.ProbeAt = elsewhere.Open, elsewhere.RetryAt
	s.Failing, s.Why = elsewhere.Since, elsewhere.Why
	if s.OwnedHere {
		s.Open, s.ProbeAt = l.circuit.open, l.circuit.retryAt
		s.Failing, s.Why = l.failure.Since, l.failure.Why
	}
}

// wanted reports whether the lane needs a lease: its webhook is enabled, or something is in flight.
func (l *lane) wanted() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.hook != nil && l.hook.Enabled || len(l.inFlight) > 0
}

func (l *lane) owned() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.epoch > 0
}
