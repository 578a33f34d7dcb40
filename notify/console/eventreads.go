package console

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// eventReads shares reads of events among the viewers of live pages. Two viewers who ask for the
// same within sharedFor get the same answer, so that the reads of the store do not grow with the
// viewers.
type eventReads struct {
	mu  sync.Mutex
	all map[string]*eventRead
}

// eventRead is one read, which the first viewer makes while the others wait.
type eventRead struct {
	at time.Time

	mu   sync.Mutex // held while it is made
	made bool
	page manage.EventPage
	err  error
}

const (
	sharedFor  = 200 * time.Millisecond // with live.js's 0.6 s, an event appears within a second
	readFor    = 10 * time.Second       // a shared read that takes longer has failed
	mostShared = 256                    // reads; beyond them each viewer reads for itself
)

// events returns a page of events. Only pages without a span are shared, because its ends differ
// from viewer to viewer.
func (r *eventReads) events(v *pageRequest, q manage.EventQuery) (manage.EventPage, error) {
	read := r.read(v.by, q)
	if read == nil {
		return v.c.Events.Events(v.Context(), v.by, q)
	}
	return read.get(func() (manage.EventPage, error) {
		// The answer is for others too: it does not end with this request.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(v.Context()), readFor)
		defer cancel()
		return v.c.Events.Events(ctx, v.by, q)
	})
}

// get returns the answer of the read, and makes it first if nobody has. If that panics, it is not
// made, and the next viewer makes it.
func (r *eventRead) get(events func() (manage.EventPage, error)) (manage.EventPage, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.made {
		r.page, r.err = events()
		r.made = true
	}
	return r.page, r.err
}

// read returns the read of a query within an account's scope; nil: it is not shared.
func (r *eventReads) read(by access.Principal, q manage.EventQuery) *eventRead {
	if !q.Since.IsZero() || !q.Until.IsZero() {
		return nil
	}
	key := fmt.Sprintf("%q %t %q %#v", by.Name, by.Administrator, by.Projects, q)
	r.mu.Lock()
	defer r.mu.Unlock()
	now := time.Now()
	if read := r.all[key]; read != nil && now.Sub(read.at) < sharedFor {
		return read
	}
	for k, read := range r.all {
		if now.Sub(read.at) >= sharedFor {
			delete(r.all, k)
		}
	}
	if len(r.all) >= mostShared || len(key) > 4096 {
		return nil
	}
	if r.all == nil {
		r.all = map[string]*eventRead{}
	}
	read := &eventRead{at: now}
	r.all[key] = read
	return read
}
