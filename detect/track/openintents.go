package track

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

const (
	// maxOpen bounds the open intents in memory. The rows of all others wait in the ledger for
	// room.
	maxOpen = 1 << 14
	// maxUnstored bounds the open intents that the store did not take, and that are only in
	// memory.
	maxUnstored = 1 << 10
	// askers bounds the questions to one upstream at a time. At most half of them are about
	// hopeless intents.
	askers = 8
	// hopelessAfter is after how many questions without an answer an intent counts as hopeless.
	hopelessAfter = 5
	// longestPause is the longest time between two questions about an intent.
	longestPause = time.Hour
	// giveUpAfter is the age at which an intent is given up, if this process has asked about it
	// for at least giveUpTries.
	giveUpAfter = 7 * 24 * time.Hour
	giveUpTries = 10 * time.Minute
)

// openIntents are the intents whose outcome is unknown, with the time of the next question about
// each.
type openIntents struct {
	mu       sync.Mutex
	byID     map[string]*openIntent
	at       map[string][]*openIntent // by referencePart of their keys
	unstored int
	n        atomic.Int32  // len(byID), readable without the lock
	wake     chan struct{} // buffers one element
	once     sync.Once
}

// openIntent is an open intent and the questions about it. Its row is read when the upstream is
// asked.
type openIntent struct {
	id    string
	key   detect.Key
	in    *Intent // the intent itself where it has no row; else nil
	proof string  // the digest that a read of its tag shows if it was done; "": no read shows it
	made  time.Time
	since time.Time // when this process began to ask
	next  time.Time
	tries int
	busy  bool // a question is under way
}

func newOpenIntent(in *Intent, now time.Time) *openIntent {
	a := &openIntent{id: in.ID, key: in.key, made: in.w.At, since: now, next: now}
	if a.made.IsZero() {
		a.made = madeAt(in.ID, now)
	}
	if !in.durable {
		a.in = in
	}
	if w := &in.w; w.Do == doPut && !detect.IsDigest(w.Reference) && (!w.Before.Known || w.Before.Digest != w.Digest) {
		a.proof = w.Digest
	}
	return a
}

// madeAt returns when an intent was made, by its ID.
func madeAt(id string, otherwise time.Time) time.Time {
	u, err := uuid.Parse(id)
	if err != nil || u.Version() != 7 {
		return otherwise
	}
	return time.Unix(u.Time().UnixTime())
}

// upstream returns the first part of the ID of the row.
func (a *openIntent) upstream() string {
	name, _, _ := strings.Cut(a.key.ID, tagindex.Separator)
	return name
}

// referencePart returns the part of a key that names the place and the reference of an intent.
func referencePart(k detect.Key) string {
	id := k.ID[:max(strings.LastIndex(k.ID, tagindex.Separator), 0)]
	return id[:strings.LastIndex(id, tagindex.Separator)+1]
}

// intentIDOf returns the last part of the ID of a row.
func intentIDOf(k detect.Key) string { return k.ID[strings.LastIndex(k.ID, tagindex.Separator)+1:] }

func (a *openIntent) hopeless() bool { return a.tries >= hopelessAfter }

func (o *openIntents) init() {
	o.once.Do(func() {
		o.byID, o.at, o.wake = map[string]*openIntent{}, map[string][]*openIntent{}, make(chan struct{}, 1)
	})
}

// add opens an intent. It reports whether there was room; if it must, an open intent that has a row
// makes room.
func (o *openIntents) add(in *Intent, now time.Time) bool {
	o.init()
	a := newOpenIntent(in, now)
	o.mu.Lock()
	defer o.mu.Unlock()
	if _, ok := o.byID[a.id]; ok {
		return true
	}
	if a.in != nil && o.unstored >= maxUnstored || len(o.byID) >= maxOpen && !o.makeRoom() {
		return false
	}
	if a.in != nil {
		o.unstored++
	}
	o.byID[a.id] = a
	s := referencePart(a.key)
	o.at[s] = append(o.at[s], a)
	o.n.Store(int32(len(o.byID)))
	o.signal()
	return true
}

// makeRoom removes the open intent about which most questions were asked. Its row stays, and is
// adopted again later.
func (o *openIntents) makeRoom() bool {
	var most *openIntent
	for _, a := range o.byID {
		if a.in == nil && !a.busy && (most == nil || a.tries > most.tries) {
			most = a
		}
	}
	if most == nil {
		return false
	}
	o.drop(most)
	return true
}

func (o *openIntents) signal() {
	select {
	case o.wake <- struct{}{}:
	default:
	}
}

// remove ends an open intent. It reports whether the intent was open.
func (o *openIntents) remove(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, ok := o.byID[id]
	if ok {
		o.drop(a)
	}
	return ok
}

func (o *openIntents) drop(a *openIntent) {
	delete(o.byID, a.id)
	if a.in != nil {
		o.unstored--
	}
	s := referencePart(a.key)
	for i, other := range o.at[s] {
		if other == a {
			o.at[s] = append(o.at[s][:i], o.at[s][i+1:]...)
			break
		}
	}
	if len(o.at[s]) == 0 {
		delete(o.at, s)
	}
	o.n.Store(int32(len(o.byID)))
}

func (o *openIntents) has(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	_, ok := o.byID[id]
	return ok
}

func (o *openIntents) len() int { return int(o.n.Load()) }

// due takes the intents that are to be asked about now: those with the fewest questions first, and
// no more of one upstream than it may be asked at a time. next is when another intent is due.
func (o *openIntents) due(now time.Time) (take []*openIntent, next time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var slots slots
	for _, a := range o.byID {
		if a.busy {
			slots.take(a)
		}
	}
	var fresh, tried, hopeless []*openIntent
	for _, a := range o.byID {
		switch {
		case a.busy:
		case a.next.After(now):
			if next.IsZero() || a.next.Before(next) {
				next = a.next
			}
		case !slots.free(a):
		case a.tries == 0:
			fresh = append(fresh, a)
		case !a.hopeless():
			tried = append(tried, a)
		default:
			hopeless = append(hopeless, a)
		}
	}
	for _, some := range [][]*openIntent{fresh, tried, hopeless} {
		for _, a := range some {
			if slots.free(a) {
				slots.take(a)
				a.busy = true
				take = append(take, a)
			}
		}
	}
	return take, next
}

// slots counts the questions under way by upstream: all, and those about hopeless intents.
type slots struct{ all, hopeless map[string]int }

func (s *slots) free(a *openIntent) bool {
	u := a.upstream()
	return s.all[u] < askers && (!a.hopeless() || s.hopeless[u] < askers/2)
}

func (s *slots) take(a *openIntent) {
	if s.all == nil {
		s.all, s.hopeless = map[string]int{}, map[string]int{}
	}
	s.all[a.upstream()]++
	if a.hopeless() {
		s.hopeless[a.upstream()]++
	}
}

// again sets the time of the next question about an intent.
func (o *openIntents) again(a *openIntent, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a.busy = false
	a.tries++
	a.next = now.Add(pause(a.tries, now.Sub(a.since), len(o.byID)))
}

// pause is how long an intent waits after a question without an answer: a second at first, then
// twice as long each time up to a minute. After an hour it is a sixtieth of the time since the
// first question, so that intents are settled soon after the end of an outage. Many hopeless
// intents share ten questions a second.
func pause(tries int, asked time.Duration, crowd int) time.Duration {
	wait := max(min(time.Second<<min(tries-1, 10), time.Minute), asked/60)
	if tries >= hopelessAfter {
		wait = max(wait, time.Duration(crowd)*(time.Second/10))
	}
	return min(wait, longestPause)
}

// expired reports whether an intent is to be given up.
func (a *openIntent) expired(now time.Time) bool {
	return now.Sub(a.made) >= giveUpAfter && now.Sub(a.since) >= giveUpTries
}

// shownBy returns the open intents that a read of a reference proves done.
func (o *openIntents) shownBy(p tagindex.Place, reference, digest string, now time.Time) (found []*openIntent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.at[p.Key(rowIntent, reference, "").ID] {
		if a.proof == digest && a.since.Before(now) {
			found = append(found, a)
		}
	}
	return found
}

// inFlight are the intents that the proxy holds, from Intend to Settle, LeaveOpen or Drop.
type inFlight struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (f *inFlight) add(in *Intent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ids == nil {
		f.ids = map[string]struct{}{}
	}
	f.ids[in.ID] = struct{}{}
}

func (f *inFlight) remove(in *Intent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ids, in.ID)
}

func (f *inFlight) has(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.ids[id]
	return ok
}

func (f *inFlight) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ids)
}
