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
	laneProbes  = 64              // deliveries looked at while the circuit is open
	laneRest    = time.Second     // after the store failed
	laneLongest = 1 * time.Minute // a timer is never set for longer: clocks jump
)

// lane is a webhook's queue. Nothing runs while nothing is due: a goroutine (the pump) is started by whatever may have changed that, begins what may
// begin, and ends; a goroutine for each POST; and one (the finisher) while outcomes are to be stored.
//
//	kick ─► pump: DueDeliveries ─► ready ─► begin ─► attempt: render, POST, judge ─► done ─► finisher: Finish ─► kick
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
	stopped bool
	saved   time.Time // circuit.retryAt as it is stored

	pumping   bool
	dirty     bool
	ready     []store.Delivery
	more      bool // the store had more than was asked for
	flying    map[int64]string
	posts     int
	done      []finished
	finishing bool
	timer     *time.Timer
}

// kick makes the lane look for something to do. It never blocks.
func (l *lane) kick() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.kickLocked()
}

func (l *lane) kickLocked() {
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

// fetch makes sure that something is ready where there is room for it; false: there is nothing to do now.
func (l *lane) fetch() bool {
	q, need, have := l.query()
	if !need {
		return have
	}
	found, next, err := l.d.due(q)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.d.noteRead(err)
		l.wakeAt(time.Now().Add(laneRest))
		return false
	}
	if !next.IsZero() {
		l.wakeAt(next)
	}
	l.ready, l.more = found, len(found) >= q.Limit
	return len(found) > 0
}

// query is what to ask the store for, if need; else have tells whether something is ready and may begin.
func (l *lane) query() (q store.DueQuery, need, have bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	free := l.slots(now)
	if free <= 0 {
		l.ready = l.readyIfOwned(now)
		return q, false, false
	}
	if len(l.ready) > 0 && !l.circuit.open {
		return q, false, true
	}
	q = store.DueQuery{Webhook: l.name, Order: l.hook.Order, Now: now, Limit: l.ahead(free),
		Busy: map[string]bool{}, Except: map[int64]bool{}}
	for id, key := range l.flying {
		q.Except[id] = true
		if key != "" {
			q.Busy[key] = true
		}
	}
	return q, true, false
}

// readyIfOwned forgets what was fetched when nothing may begin: until something may, all of it can change.
func (l *lane) readyIfOwned(now time.Time) []store.Delivery {
	if l.may(now) && !l.circuit.open {
		return l.ready
	}
	return nil
}

// ahead is how many to fetch: more than can begin, so that not each POST needs a question of its own, unless a rate limit would let them grow old.
func (l *lane) ahead(free int) int {
	switch {
	case l.circuit.open:
		return laneProbes
	case l.limiter != nil:
		return free
	}
	return min(max(2*l.hook.concurrency(), free), max(laneAhead, free))
}

// begin starts what is ready and may start, and tells whether there may be more to fetch.
func (l *lane) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	free := l.slots(now)
	if l.circuit.open {
		if free > 0 {
			l.beginProbe(now)
		}
		return false
	}
	for ; free > 0 && len(l.ready) > 0; free-- {
		if wait := l.limit(now); wait > 0 {
			l.wakeAt(now.Add(wait))
			return false
		}
		d := l.ready[0]
		l.ready = l.ready[1:]
		l.start(d, false)
	}
	return free > 0 && l.more
}

// limit takes a token, or tells how long until there is one.
func (l *lane) limit(now time.Time) time.Duration {
	if l.limiter == nil {
		return 0
	}
	r := l.limiter.ReserveN(now, 1)
	wait := r.DelayFrom(now)
	if wait > 0 {
		r.CancelAt(now)
	}
	return wait
}

// beginProbe starts one POST under an open circuit, after it has given up what has grown too old there.
func (l *lane) beginProbe(now time.Time) {
	ready := l.ready
	l.ready = nil
	var young []store.Delivery
	for _, d := range ready {
		if now.Before(l.deadline(d)) {
			young = append(young, d)
			continue
		}
		l.fly(d)
		l.finished(finished{outcome: l.outcome(d, store.Dead, ReasonExpired), event: d.EventID})
	}
	if len(young) < len(ready) || len(young) == 0 {
		return // the finisher kicks, and there may be more
	}
	at := l.circuit.choose(len(young), func(i int) int64 { return young[i].ID })
	l.start(young[at], true)
}

// deadline is when the schedule of a delivery is over, be it attempted or not. Time in which the webhook was switched off does not count.
func (l *lane) deadline(d store.Delivery) time.Time {
	due := d.NextAt
	for _, t := range []time.Time{d.CreatedAt, l.toggle.Since} {
		if t.After(due) {
			due = t
		}
	}
	return due.Add(l.hook.schedule().remaining(d.Attempts))
}

func (l *lane) start(d store.Delivery, probe bool) {
	l.fly(d)
	l.posts++
	j := job{delivery: d, hook: l.hook, epoch: l.epoch, probe: probe, deadline: l.deadline(d)}
	l.d.work.Go(func() { l.attempt(j) })
}

func (l *lane) fly(d store.Delivery) {
	if l.flying == nil {
		l.flying = map[int64]string{}
	}
	key := ""
	if l.hook != nil {
		key = keyOf(d, l.hook.Order)
	}
	l.flying[d.ID] = key
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
	l.ready = nil
	l.kickLocked()
}

// own notes a lease, and tells whether it is a new one.
func (l *lane) own(epoch int64, until time.Time, state []byte) (anew bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	anew = l.epoch != epoch
	asleep := anew || !time.Now().Before(l.until)
	if anew {
		l.circuit.restore(state, time.Now())
		l.saved = l.circuit.retryAt
		l.ready = nil
	}
	l.epoch, l.until = epoch, until
	if asleep {
		l.kickLocked()
	}
	return anew
}

// disown forgets what only the owner may know. What flies ends, and is fenced off where it has to be.
func (l *lane) disown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.epoch > 0 {
		l.d.log.Info("lane lost", zap.String("webhook", l.name))
	}
	l.epoch, l.ready, l.circuit = 0, nil, circuit{}
}

// switchTo takes over what an operator or a 410 decided.
func (l *lane) switchTo(t toggle) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.toggle.same(t) {
		return
	}
	l.toggle = t
	l.ready = nil
	l.kickLocked()
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
