package notify

import (
	"sync"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	laneAhead   = 64              // deliveries fetched ahead, and outcomes not stored yet, at most
	laneProbes  = 64              // deliveries looked at for a probe
	laneRest    = time.Second     // after the store failed
	laneLongest = 1 * time.Minute // a timer is never set for longer: clocks jump
)

// lane is a webhook's queue. Nothing runs while nothing is due: a goroutine (the pump) is started by whatever may have changed that, begins what may
// begin, and ends; a goroutine for each POST; and one (the finisher) while outcomes are to be stored.
//
//	kick ─► pump: fetch ─► ready ─► begin ─► attempt: render, POST, judge ─► done ─► finisher: Finish ─► pump
//
// A delivery is flying from when it begins until its outcome is stored, and so is its key: the next of the key begins only after that.
type lane struct {
	d    *Dispatcher
	name string

	mu            sync.Mutex
	hook          *compiledWebhook // nil: the webhook is gone, what flies ends
	limiter       *rate.Limiter    // nil: no limit
	epoch         int64            // of the lease; 0: it belongs to somebody else
	until         time.Time        // the lease's end by this machine's clock
	switched      switchState
	circuit       circuit
	failure       failureState
	stopped       bool
	storedRetryAt time.Time // circuit.retryAt as it is stored
	lastWarned    time.Time // when the log last had the first of some failures in a row
	recovery      recovery

	pumping bool
	dirty   bool
	laneQueue
	inFlight        map[int64]string // id → key
	busyKeys        map[string]bool  // of what flies; never ""
	posts           int
	lastGroup       time.Time // when the last message of several events began; see Group
	outcomes        []attemptOutcome
	storingOutcomes bool
	timer           *time.Timer
}

// kick makes the lane ask the store what there is to do. It never blocks.
func (l *lane) kick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refetch()
}

// look is kick for those who hold the lane.
func (l *lane) refetch() {
	l.stale = true
	l.startPump()
}

// goOn makes the lane begin what it has, now that there may be room for it. The caller holds the lane.
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

// may tells whether a POST may begin at all.
func (l *lane) mayPost(now time.Time) bool {
	return !l.stopped && l.hook != nil && l.hook.Enabled && l.d.on() && !l.switched.Off && l.epoch > 0 && now.Before(l.until)
}

// slots is how many POSTs may begin now.
func (l *lane) slots(now time.Time) int {
	switch {
	case !l.mayPost(now):
		return 0
	case !l.circuit.open:
		return min(l.hook.concurrency()-l.posts, l.hook.concurrency()+laneAhead-len(l.inFlight))
	case now.Before(l.circuit.retryAt):
		l.wakeAt(l.circuit.retryAt)
		return 0
	case len(l.inFlight) > 0: // a probe, or what was under way
		return 0
	}
	return 1
}

// expiry is when a delivery is too old to be sent. Time in which the webhook was switched off does not count.
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

// wakeAt sets the one timer. Each look for something to do sets it anew for what it found last.
func (l *lane) wakeAt(t time.Time) {
	wait := min(max(time.Until(t), 0), laneLongest)
	if l.timer == nil {
		l.timer = time.AfterFunc(wait, l.kick)
		return
	}
	l.timer.Reset(wait)
}

// configure gives the lane its webhook's new settings. What flies ends with the old ones. nil: the webhook is gone.
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

// own notes a lease, and tells whether it is a new one.
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
		l.backlog = true // there may be much after a stop: the store picks until all is sent
		l.recovery = recovery{waiting: true}
	}
	l.epoch, l.until = epoch, until
	if asleep {
		l.refetch()
	}
	return anew
}

// disown forgets what only the owner may know. What flies ends, and is fenced off where it has to be.
func (l *lane) loseLease() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch > 0 {
		l.d.log.Debug("lane given up", zap.String("webhook", l.name))
	}
	l.epoch, l.circuit = 0, circuit{}
	l.forgetFetched()
}

// switchTo takes over what an operator or a 410 decided.
func (l *lane) switchTo(t switchState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.switched.same(t) {
		return
	}
	if l.switched.Off && !t.Off {
		l.circuit = circuit{} // who switches it on says that its receiver works
	}
	l.switched = t
	l.forgetFetched()
	l.refetch()
}

// stop lets nothing begin any more.
func (l *lane) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

// idle tells that nothing flies.
func (l *lane) idle() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.inFlight) == 0
}

// describe fills in what the lane knows; stored is what its owner, another replica perhaps, has written down of it.
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

// wanted tells whether the lane needs a lease: its webhook is configured, or something of it still flies.
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
