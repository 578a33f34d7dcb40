package notify

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/detect"
)

const (
	recentEvents = 512
	recentBytes  = 16 << 10 // of an event; a larger one is read from the store
)

// recent is the last events, so that a lane need not read back and decode what was committed a millisecond ago.
//
// It must never show anything but what the store has under that id. An event is entered while its transaction runs, since lanes wake before the
// committer does; when two transactions enter the same id, or one of them fails, the store may hold either, and the id is marked: ask the store.
type recent struct {
	mu     sync.Mutex
	events *lru.Cache[string, recentEvent]
}

type recentEvent struct {
	event *detect.Event // nil: ask the store
	by    *written
}

func newRecent() *recent {
	cache, err := lru.New[string, recentEvent](recentEvents)
	if err != nil {
		panic(err) // only a size below 1 is refused
	}
	return &recent{events: cache}
}

func (r *recent) put(e *detect.Event, size int, by *written) {
	if size > recentBytes {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.events.Peek(e.ID); ok && old.by != by {
		r.events.Add(e.ID, recentEvent{})
		return
	}
	copied := *e
	r.events.Add(e.ID, recentEvent{&copied, by})
}

// forget takes back what a run entered that is being repeated.
func (r *recent) forget(w *written) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range w.events {
		if old, ok := r.events.Peek(e.ID); ok && old.by == w {
			r.events.Remove(e.ID)
		}
	}
}

// doubt marks the events of a transaction whose outcome is unknown. w may be nil.
func (r *recent) doubt(w *written) {
	if w == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range w.events {
		r.events.Add(e.ID, recentEvent{})
	}
}

// get is the event; what it points to is shared and must not be changed.
func (r *recent) get(id string) (detect.Event, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.events.Get(id)
	if !ok || found.event == nil {
		return detect.Event{}, false
	}
	return *found.event, true
}
