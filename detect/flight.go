package detect

import (
	"sync"
	"sync/atomic"
	"time"
)

// flight are the intents that the proxy holds between Intend and Settle, Leave or Drop.
type flight struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (f *flight) add(in *Intent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ids == nil {
		f.ids = map[string]struct{}{}
	}
	f.ids[in.ID] = struct{}{}
}

func (f *flight) remove(in *Intent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ids, in.ID)
}

func (f *flight) has(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.ids[id]
	return ok
}

func (f *flight) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ids)
}

// open are the intents whose outcome is unknown, with when each is asked about next.
type open struct {
	mu   sync.Mutex
	byID map[string]*asked
	n    atomic.Int32  // len(byID), for readers that need no more
	wake chan struct{} // holds one
	once sync.Once
}

// asked is an open intent and how asking about it goes.
type asked struct {
	in    *Intent
	since time.Time
	next  time.Time
	tries int
	busy  bool // being asked
}

func (o *open) init() {
	o.once.Do(func() {
		o.byID, o.wake = map[string]*asked{}, make(chan struct{}, 1)
	})
}

func (o *open) add(in *Intent, now time.Time) {
	o.init()
	o.mu.Lock()
	if _, ok := o.byID[in.ID]; !ok {
		o.byID[in.ID] = &asked{in: in, since: now, next: now}
		o.n.Store(int32(len(o.byID)))
	}
	o.mu.Unlock()
	o.awake()
}

func (o *open) awake() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// remove ends an open intent; false when it has ended already.
func (o *open) remove(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.byID[id]
	delete(o.byID, id)
	o.n.Store(int32(len(o.byID)))
	return ok
}

func (o *open) len() int { return int(o.n.Load()) }

// due takes intents that shall be asked about now, and tells when the next one shall be.
func (o *open) due(now time.Time, limit int) (take []*asked, next time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.byID {
		switch {
		case a.busy:
		case !a.next.After(now) && len(take) < limit:
			a.busy = true
			take = append(take, a)
		case next.IsZero() || a.next.Before(next):
			next = a.next
		}
	}
	return take, next
}

// again puts off an intent whose upstream does not say, with growing pauses up to a minute.
func (o *open) again(a *asked, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a.busy = false
	a.tries++
	a.next = now.Add(min(time.Second<<min(a.tries-1, 10), time.Minute))
}

// about are the open intents that a read of a reference may tell something of.
func (o *open) about(p place, reference string, now time.Time) (found []*asked) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.byID {
		if a.in.w.place == p && a.in.w.Reference == reference && a.since.Before(now) {
			found = append(found, a)
		}
	}
	return found
}
