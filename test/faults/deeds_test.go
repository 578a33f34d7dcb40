package faults

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// The kinds of deeds.
const (
	push   = "PUSH_ARTIFACT"
	untag  = "DELETE_TAG"
	remove = "DELETE_ARTIFACT"
	upload = "UPLOAD_CHART"
	unload = "DELETE_CHART"
)

// A deed is one write of a client, tried once or several times. Each try is a request whose id
// consists of the id of the deed and the number of the try, so that each event can be traced to its
// deed.
type deed struct {
	id         string
	do         string // the event's type
	host       string // of the upstream, as the client names it
	repository string // of a chart: its name
	reference  string // tag, digest or a chart's version
	digest     string // "": not known
	body       []byte

	worker  int
	number  int // in the worker's order
	tries   int
	began   time.Time
	ended   time.Time
	acked   bool // a try was answered 2xx
	written bool // the reference was written again while the outcome of this was unknown
}

func (d *deed) String() string {
	return fmt.Sprintf("%s %s %s %s@%.19s (%d tries, acknowledged %t, written again %t)", d.id, d.do, d.repository, d.reference, d.digest, d.tries, d.acked, d.written)
}

// place is what a deed writes. order: tag keeps the deeds of one place in order.
func (d *deed) place() string { return d.host + " " + d.repository + " " + d.reference }

func (d *deed) request(try int) string { return fmt.Sprintf("%s.%d", d.id, try) }

// deeds are all deeds, by id.
type deeds struct {
	mu  sync.Mutex
	all []*deed
}

func (l *deeds) add(d *deed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, d)
}

func (l *deeds) list() []*deed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*deed(nil), l.all...)
}

// An arrival is an event as a webhook got it: the first POST of its id that was accepted.
type arrival struct {
	id, kind, repository, digest, request string
	tags                                  []string
	inferred                              bool
	order                                 int // position among the webhook's first arrivals
	count                                 int // how often it was accepted
	at                                    time.Time
}

// deedOf returns the id of the deed of a request.
func (a arrival) deedOf() string {
	id, _, _ := strings.Cut(a.request, ".")
	return id
}

// tells returns an error unless an arrival describes the deed.
func (a arrival) tells(d *deed) error {
	switch {
	case a.kind != d.do:
		return fmt.Errorf("its type is %s", a.kind)
	case a.repository != d.repository && a.repository != "library/"+d.repository:
		return fmt.Errorf("its repository is %s", a.repository)
	case d.digest != "" && a.digest != d.digest && !(a.digest == "" && (d.do == unload || d.do == untag)):
		return fmt.Errorf("its digest is %q", a.digest)
	case d.do != remove && (len(a.tags) != 1 || a.tags[0] != d.reference):
		return fmt.Errorf("its tags are %v", a.tags)
	}
	return nil
}

// figures are the counts of a run.
type figures struct {
	deeds, acked, done int // all; those acknowledged; those that the upstream did
	unknown            int // done, but the client did not get the answer
	exempt             int // of those: written again before bellbuoy asked, and without an event
	events, inferred   int
	repeated           int // events beyond the first of a deed that the upstream did more than once
	posts, duplicates  int
	inOrder            int
}

func (f figures) String() string {
	return fmt.Sprintf("%d things tried, %d acknowledged, %d done by the upstream (%d of them unknown to the client, %d of those written again and not told of); "+
		"%d events (%d inferred, %d of repeated writes), %d webhooks accepted, %d twice (%.2f %%); %d pairs in order",
		f.deeds, f.acked, f.done, f.unknown, f.exempt, f.events, f.inferred, f.repeated, f.posts, f.duplicates, f.share(), f.inOrder)
}

func (f figures) share() float64 { return 100 * float64(f.duplicates) / float64(max(f.posts, 1)) }
