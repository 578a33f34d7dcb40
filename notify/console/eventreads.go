package console

import (
	"context"
	"fmt"
	"html/template"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// eventReads shares reads of events, and the tables made of them, among the viewers of live pages.
// Two viewers with the same scope who ask for the same within sharedFor get the same table, so that
// reads and tables do not grow with the viewers.
type eventReads struct{ shared[eventRead] }

// eventRead is one read, which the first viewer makes while the others wait.
type eventRead struct {
	mu   sync.Mutex // held while it is made
	made bool
	page manage.EventPage
	err  error
	list template.HTML // the table as the page of events has it; "": not made yet
}

const (
	sharedFor = 200 * time.Millisecond // with live.js's 0.6 s, an event appears within a second
	readFor   = 10 * time.Second       // a shared read that takes longer has failed
)

// events returns a page of events. Only pages without a span are shared, because its ends differ
// from viewer to viewer.
func (r *eventReads) events(v *pageRequest, q manage.EventQuery) (manage.EventPage, error) {
	read := r.read(v.by, q)
	if read == nil {
		return v.c.Events.Events(v.Context(), v.by, q)
	}
	read.mu.Lock()
	defer read.mu.Unlock()
	read.make(v, q)
	return read.page, read.err
}

// list returns the table that list makes of a page of events.
func (r *eventReads) list(v *pageRequest, q manage.EventQuery, list func(manage.EventPage) (template.HTML, error)) (template.HTML, error) {
	read := r.read(v.by, q)
	if read == nil {
		page, err := v.c.Events.Events(v.Context(), v.by, q)
		if err != nil {
			return "", err
		}
		return list(page)
	}
	read.mu.Lock()
	defer read.mu.Unlock()
	if read.make(v, q); read.err == nil && read.list == "" {
		read.list, read.err = list(read.page)
	}
	return read.list, read.err
}

// make makes the read if nobody has. If that panics, the next viewer makes it. It needs r.mu.
func (r *eventRead) make(v *pageRequest, q manage.EventQuery) {
	if r.made {
		return
	}
	// The answer is for others too: it does not end with this request.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(v.Context()), readFor)
	defer cancel()
	r.page, r.err = v.c.Events.Events(ctx, v.by, q)
	r.made = true
}

// read returns the read of a query within an account's scope; nil: it is not shared.
func (r *eventReads) read(by access.Principal, q manage.EventQuery) *eventRead {
	if !q.Since.IsZero() || !q.Until.IsZero() {
		return nil
	}
	key := fmt.Sprintf("%t %q %#v", by.Administrator, by.Projects, q)
	return r.of(key, sharedFor)
}
