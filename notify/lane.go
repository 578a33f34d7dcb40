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

	mu      sync.Mutex
	hook    *hook         // nil: the webhook is gone, what flies ends
	limiter *rate.Limiter // nil: no limit
	epoch   int64         // of the lease; 0: it belongs to somebody else
	until   time.Time     // the lease's end by this machine's clock
	toggle  toggle
	circuit circuit
	trouble trouble
	stopped bool
	saved   time.Time // circuit.retryAt as it is stored
	told    time.Time // when the log last had the first of some failures in a row
	back    comeback

	pumping bool
	dirty   bool
	queue
	flying    map[int64]string // id → key
	keys      map[string]bool  // of what flies; never ""
	posts     int
	gathered  time.Time // when the last message of several events began; see Group
	done      []finished
	finishing bool
	timer     *time.Timer
}

// kick makes the lane ask the store what there is to do. It never blocks.
func (l *lane) kick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.look()
}

// look is kick for those who hold the lane.
func (l *lane) look() {
	l.stale = true
	l.goOn()
}

// goOn makes the lane begin what it has, now that there may be room for it. The caller holds the lane.
func (l *lane) goOn() {
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
	for l.again() {
		for l.fetch() && l.begin() {
		}
	}
}

func (l *lane) again() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pumping = l.dirty
	l.dirty = false
	return l.pumping
}

// may tells whether a POST may begin at all.
func (l *lane) may(now time.Time) bool {
	return !l.stopped && l.hook != nil && l.hook.Enabled && l.d.on() && !l.toggle.Off && l.epoch > 0 && now.Before(l.until)
}

// slots is how many POSTs may begin now.
func (l *lane) slots(now time.Time) int {
	switch {
	case !l.may(now):
		return 0
	case !l.circuit.open:
		return min(l.hook.concurrency()-l.posts, l.hook.concurrency()+laneAhead-len(l.flying))
	case now.Before(l.circuit.retryAt):
		l.wakeAt(l.circuit.retryAt)
		return 0
	case len(l.flying) > 0: // a probe, or what was under way
		return 0
	}
	return 1
}

// expiry is when a delivery is too old to be sent. Time in which the webhook was switched off does not count.
func (l *lane) expiry(d store.Delivery) time.Time {
	since := d.PendingSince
	if l.toggle.Since.After(since) {
		since = l.toggle.Since
	}
	return since.Add(l.hook.schedule().lifetime())
}

func (l *lane) start(d store.Delivery, probe bool) {
	l.fly(d)
	l.posts++
	j := job{delivery: d, hook: l.hook, epoch: l.epoch, probe: probe, expiry: l.expiry(d)}
	l.d.work.Go(func() { l.attempt(j) })
}

// expire makes a dead letter of a delivery that is too old.
func (l *lane) expire(d store.Delivery) {
	l.fly(d)
	l.d.metrics.attempt(l.name, "dead", 0)
	l.finished(finished{outcome: l.outcome(d, store.Dead, ReasonExpired), event: d.EventID})
}

func (l *lane) fly(d store.Delivery) {
	if l.flying == nil {
		l.flying, l.keys = map[int64]string{}, map[string]bool{}
	}
	key := ""
	if l.hook != nil {
		key = keyOf(d, l.hook.Order)
	}
	l.flying[d.ID] = key
	if key != "" {
		l.keys[key] = true
	}
}

func (l *lane) land(id int64) {
	delete(l.keys, l.flying[id])
	delete(l.flying, id)
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
func (l *lane) configure(h *hook) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if h == nil || l.hook == nil || l.hook.RateLimit != h.RateLimit {
		l.limiter = nil
		if h != nil && h.RateLimit > 0 {
			l.limiter = rate.NewLimiter(h.RateLimit, 1)
		}
	}
	l.hook = h
	l.forget()
	l.look()
}

// own notes a lease, and tells whether it is a new one.
func (l *lane) own(epoch int64, until time.Time, state []byte) (anew bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	anew = l.epoch != epoch
	asleep := anew || !time.Now().Before(l.until)
	if anew {
		l.circuit.restore(state, time.Now())
		l.trouble = readTrouble(state)
		l.saved = l.circuit.retryAt
		l.forget()
		l.backlog = true // there may be much after a stop: the store picks until all is sent
		l.back = comeback{owed: true}
	}
	l.epoch, l.until = epoch, until
	if asleep {
		l.look()
	}
	return anew
}

// disown forgets what only the owner may know. What flies ends, and is fenced off where it has to be.
func (l *lane) disown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch > 0 {
		l.d.log.Debug("lane given up", zap.String("webhook", l.name))
	}
	l.epoch, l.circuit = 0, circuit{}
	l.forget()
}

// switchTo takes over what an operator or a 410 decided.
func (l *lane) switchTo(t toggle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.toggle.same(t) {
		return
	}
	if l.toggle.Off && !t.Off {
		l.circuit = circuit{} // who switches it on says that its receiver works
	}
	l.toggle = t
	l.forget()
	l.look()
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
	return len(l.flying) == 0
}
