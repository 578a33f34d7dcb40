package notify

import (
	"cmp"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// queue is what a lane knows of what it may send.
//
// Asking the store is the dearest thing that a lane does, so it asks only when something new may be there. As long as all that is due fits into ready, the
// lane holds all of it and keeps the order by itself: what lies behind a key that flies goes when the key has landed, without a question. When it does not
// fit (backlog), or a repository's order depends on what is not due yet, the store picks, and is asked again whenever something has landed.
//
// What is new is handed over by the store where it can; a lane that knows all that is due takes that in, and asks nothing.
type laneQueue struct {
	ready   []store.Delivery // fetched and not begun, by id
	stale   bool             // the store may have what ready has not
	backlog bool             // the store picks
	asking  bool             // the store is being asked
	seen    int64            // the newest delivery that was ever ready
}

// forget drops what was fetched: what may be sent is to be found out anew.
func (q *laneQueue) forgetFetched() { *q = laneQueue{stale: true, asking: q.asking, seen: q.seen} }

// got tells the lane of deliveries that are new; nil: it shall ask.
func (l *lane) addNew(deliveries []store.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.canAddNew(deliveries) {
		l.refetch()
		return
	}
	for _, d := range deliveries {
		if d.ID > l.seen { // else an answer of the store had it already
			l.ready = append(l.ready, d)
			l.seen = d.ID
		}
	}
	l.startPump()
}

// mayTake tells whether the lane holds all else that is due, and has room. A repository's order depends on what is not due as well.
func (l *lane) canAddNew(deliveries []store.Delivery) bool {
	return len(deliveries) > 0 && !l.stale && !l.asking && !l.backlog && l.mayPost(time.Now()) && !l.circuit.open &&
		l.hook.Order != store.ByRepository && len(l.ready)+len(deliveries) <= laneAhead
}

// fetch makes sure that something is ready where there is room for it; false: there is nothing to do now.
func (l *lane) fetch() bool {
	q, need, have := l.query()
	if !need {
		return have
	}
	found, next, err := l.d.due(q, q.Order != store.Unordered || q.Busy != nil)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asking = false
	if err != nil {
		l.d.noteRead(err)
		l.stale = true
		l.wakeAt(time.Now().Add(laneRest))
		return false
	}
	if !next.IsZero() {
		l.wakeAt(next)
	}
	return l.fetched(q, found)
}

// query is what to ask the store for, if need; else have tells whether something is ready and may begin.
func (l *lane) query() (q store.DueQuery, need, have bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	free := l.slots(now)
	if free <= 0 {
		if !l.mayPost(now) || l.circuit.open {
			l.forgetFetched() // until it may again, all can change
		}
		return q, false, false
	}
	if l.grouping() {
		return l.groupQuery(now)
	}
	if !l.circuit.open && (!l.stale || l.enough(free)) {
		return q, false, len(l.ready) > 0
	}
	l.stale, l.asking = false, true // what comes while the store is asked makes it stale again
	return l.dueQuery(now, free), true, false
}

// enough tells whether what is ready will do for the free slots.
func (l *lane) enough(free int) bool {
	if l.backlog {
		return len(l.ready) > 0
	}
	for _, d := range l.ready {
		if !l.busyKeys[keyOf(d, l.hook.Order)] {
			free--
		}
	}
	return free <= 0
}

// dueQuery asks for all that is due, or where the store picks, for more than can begin now, so that not each POST needs a question of its own.
func (l *lane) dueQuery(now time.Time, free int) store.DueQuery {
	q := store.DueQuery{Webhook: l.name, Order: store.Unordered, Now: now, Limit: laneAhead - len(l.ready), Except: map[int64]bool{}}
	for id := range l.inFlight {
		q.Except[id] = true
	}
	if !l.circuit.open && !l.backlog && l.hook.Order != store.ByRepository && q.Limit > 0 {
		for _, d := range l.ready {
			q.Except[d.ID] = true
		}
		return q
	}
	l.backlog, l.ready = true, nil
	q.Order, q.Busy = l.hook.Order, l.busyKeysCopy()
	switch {
	case l.circuit.open:
		q.Limit = laneProbes
	case l.limiter != nil: // others would grow old
		q.Limit = free
	default:
		q.Limit = min(max(2*l.hook.concurrency(), free), max(laneAhead, free))
	}
	return q
}

func (l *lane) busyKeysCopy() map[string]bool {
	busy := make(map[string]bool, len(l.busyKeys))
	for k := range l.busyKeys {
		busy[k] = true
	}
	return busy
}

// fetched takes in what the store had, and tells whether something is ready.
func (l *lane) fetched(q store.DueQuery, found []store.Delivery) bool {
	full := len(found) >= q.Limit
	switch {
	case l.grouping():
		l.stale = l.stale || full
	case !l.backlog && full:
		l.forgetFetched()
		l.backlog = true
		return l.fetchAgain()
	case l.backlog && len(found) == 0 && len(l.inFlight) == 0 && !l.circuit.open:
		l.backlog = false // the next look holds all again
	case l.backlog && full:
		l.stale = true
	}
	l.ready = append(l.ready, found...)
	for _, d := range found {
		l.seen = max(l.seen, d.ID)
	}
	slices.SortFunc(l.ready, func(a, b store.Delivery) int { return cmp.Compare(a.ID, b.ID) })
	return len(l.ready) > 0
}

// fetchAgain asks for another look, since what was found is of no use.
func (l *lane) fetchAgain() bool {
	l.dirty = true
	return false
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
	if l.grouping() {
		return l.beginGroup(now)
	}
	var behind []store.Delivery
	for i, d := range l.ready {
		if free <= 0 {
			behind = append(behind, l.ready[i:]...)
			break
		}
		if l.busyKeys[keyOf(d, l.hook.Order)] {
			behind = append(behind, d)
			continue
		}
		if !now.Before(l.expiry(d)) {
			l.expire(d)
			continue
		}
		if wait := l.limit(now); wait > 0 {
			l.wakeAt(now.Add(wait))
			l.ready = append(behind, l.ready[i:]...)
			return false
		}
		l.start(d, false)
		free--
	}
	l.ready = behind
	return free > 0 && l.stale
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
		if now.Before(l.expiry(d)) {
			young = append(young, d)
			continue
		}
		l.expire(d)
	}
	if len(young) < len(ready) || len(young) == 0 {
		return // the finisher kicks, and there may be more
	}
	at := l.circuit.choose(len(young), func(i int) int64 { return young[i].ID })
	l.start(young[at], true)
}
