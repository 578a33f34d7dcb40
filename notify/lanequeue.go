package notify

import (
	"cmp"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// laneQueue holds the deliveries that a lane may send next.
//
// Asking the store is the most expensive step of a lane, so it asks only when there may be
// something new. If everything that is due fits into ready, the lane holds all of it and keeps the
// order itself: a delivery whose key is busy starts when the key is free, without another query. If
// it does not fit (backlog), or if the order of a repository depends on deliveries that are not due
// yet, the store selects, and the lane asks again after each stored outcome.
//
// The store passes new deliveries to the lane if it can. A lane that holds everything that is due
// adds them without a query.
type laneQueue struct {
	ready   []store.Delivery // fetched and not begun, ordered by id
	stale   bool             // the store may have deliveries that ready lacks
	backlog bool             // the store selects what comes next
	asking  bool             // a query is running
	seen    int64            // id of the newest delivery that was ever ready
}

// forgetFetched drops the fetched deliveries, so that the lane asks the store again.
func (q *laneQueue) forgetFetched() { *q = laneQueue{stale: true, asking: q.asking, seen: q.seen} }

// addNew adds new deliveries to ready, or makes the lane ask the store if it cannot take them.
func (l *lane) addNew(deliveries []store.Delivery) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.canAddNew(deliveries) {
		l.refetch()
		return
	}
	for _, d := range deliveries {
		if d.ID > l.seen { // otherwise a query has returned it already
			l.ready = append(l.ready, d)
			l.seen = d.ID
		}
	}
	l.startPump()
}

// canAddNew reports whether the lane holds everything else that is due and has room. With `order:
// repository` it never does, because that order depends on deliveries that are not due.
func (l *lane) canAddNew(deliveries []store.Delivery) bool {
	return len(deliveries) > 0 && !l.stale && !l.asking && !l.backlog && l.mayPost(time.Now()) && !l.circuit.open &&
		l.hook.Order != store.ByRepository && len(l.ready)+len(deliveries) <= laneAhead
}

// fetch fills ready from the store if there is room, and reports whether something is ready.
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

// query returns the query for the store if one is needed. Otherwise have reports whether something
// is ready and may begin.
func (l *lane) query() (q store.DueQuery, need, have bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	free := l.slots(now)
	if free <= 0 {
		if !l.mayPost(now) || l.circuit.open {
			l.forgetFetched() // until POSTs may start again, everything can change
		}
		return q, false, false
	}
	if l.grouping() {
		return l.groupQuery(now)
	}
	if !l.circuit.open && (!l.stale || l.enough(free)) {
		return q, false, len(l.ready) > 0
	}
	l.stale, l.asking = false, true // a change during the query makes it stale again
	return l.dueQuery(now, free), true, false
}

// enough reports whether ready can fill the free slots.
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

// dueQuery asks for everything that is due. If the store selects, it asks for more than can begin
// now, so that not every POST needs its own query.
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
	case l.limiter != nil: // with a rate limit, fetched deliveries would become outdated
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

// fetched adds what the store returned and reports whether something is ready.
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
		l.backlog = false // the next query returns everything again
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

// fetchAgain makes the pump fetch once more, because the result cannot be used.
func (l *lane) fetchAgain() bool {
	l.dirty = true
	return false
}

// begin starts ready deliveries that may start, and reports whether to fetch more.
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

// limit takes a token of the rate limit, or returns how long to wait for one.
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

// beginProbe expires deliveries that are too old and then starts one POST as a probe.
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
		return // storing the outcomes kicks the lane again
	}
	at := l.circuit.choose(len(young), func(i int) int64 { return young[i].ID })
	l.start(young[at], true)
}
