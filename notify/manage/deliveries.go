package manage

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// MostIDs bounds the ids of a DeliveryQuery.
const MostIDs = 1000

// DeliveryQuery selects deliveries; zero fields select all.
type DeliveryQuery struct {
	IDs          []int64
	Webhook      int64  // its number
	WebhookKey   string // alternatively its key, or project/name
	States       []string
	Types        []string
	Project      string // of the event
	Repository   string // of the event, as it is shown
	Event        string // its id
	Since, Until time.Time
	Cursor       string
	Limit        int // 0: UsualPage; at most MostPage
}

// Ref names a webhook.
type Ref struct {
	Number  int64
	Key     string // of its deliveries
	Name    string // within its project
	Project string // "": in the file, or removed
}

// Delivery is a delivery as lists show it.
type Delivery struct {
	ID         int64
	Webhook    Ref
	State      string
	EventID    string
	EventType  string
	Repository string
	Tag        string // several are separated by commas
	Attempts   int
	Status     int    // of the last answer
	Reason     string // of the last failure
	Created    time.Time
	Finished   time.Time
	NextAt     time.Time // when the next attempt may begin; zero: unknown, or none
	Waits      string    // of a pending or parked one: what it waits for
}

// DeliveryPage is a page of deliveries, newest first. Searched and LookedTo are as in EventPage.
type DeliveryPage struct {
	Deliveries []Delivery
	Next       string
	Searched   bool
	LookedTo   time.Time
}

var stateNames = map[store.State]string{store.Pending: "pending", store.Delivered: "delivered", store.Dead: "dead", store.Parked: "parked"}

// States are the names of the states of deliveries.
func States() []string { return []string{"pending", "delivered", "dead", "parked"} }

func stateOf(name string) (store.State, bool) {
	for state, known := range stateNames {
		if known == name {
			return state, true
		}
	}
	return 0, false
}

// deliverySearch is a checked DeliveryQuery within an account's scope.
type deliverySearch struct {
	store.DeliverySearch
	passes  func(*detect.Event) bool // nil: all
	limit   int
	about   any // what cursors are bound to
	cursors sealer
}

// search checks a query and restricts it to the account's scope.
func (d *AccountDeliveries) search(ctx context.Context, by access.Principal, q DeliveryQuery) (s deliverySearch, err error) {
	if !by.Knows() {
		return s, ErrForbidden
	}
	if s.States, err = q.check(); err != nil {
		return s, err
	}
	s.IDs, s.EventID, s.Types, s.Since, s.Until, s.about = q.IDs, q.Event, q.Types, q.Since, q.Until, queryOf(by, q)
	if s.limit = q.Limit; s.limit == 0 {
		s.limit = UsualPage
	}
	if s.cursors, err = d.Cursors.sealer(ctx); err != nil {
		return s, err
	}
	if s.BeforeID, err = s.cursors.positionOf(q.Cursor, s.about); err != nil {
		return s, err
	}
	if s.Webhooks, err = d.webhooksOf(ctx, by, q); err != nil {
		return s, err
	}
	if q.Project != "" {
		s.Projects = []string{q.Project}
	}
	if q.Repository != "" {
		s.Repositories = storedRepositories(q.Repository)
	}
	mayHaveOthers := slices.ContainsFunc(s.Webhooks, func(key string) bool { return d.mayHaveOthers(by, key) })
	if mayHaveOthers || q.Project != "" || q.Repository != "" {
		s.passes = func(e *detect.Event) bool {
			return (!mayHaveOthers || by.May(notify.ProjectOf(e))) && (q.Project == "" || notify.ProjectOf(e) == q.Project) &&
				(q.Repository == "" || e.Repository == q.Repository || format.NewBellbuoyEvent(e).Repository == q.Repository)
		}
	}
	return s, nil
}

// mayHaveOthers reports whether a webhook in the account's scope may have deliveries outside the
// scope: a webhook of the file may have had other projects under an earlier configuration.
func (d *AccountDeliveries) mayHaveOthers(by access.Principal, key string) bool {
	if by.Administrator {
		return false
	}
	h := d.Running.Set().Named(key)
	return h != nil && h.Stored == nil
}

// InScope returns deliveries as an account may see them, without those of events that are not of
// its projects. The webhooks must be in scope.
func (d *AccountDeliveries) InScope(ctx context.Context, by access.Principal, all []store.Delivery) ([]store.Delivery, error) {
	if by.Administrator {
		return all, nil
	}
	var scoped []store.Delivery
	for page := range slices.Chunk(all, MostPage) {
		if !slices.ContainsFunc(page, func(one store.Delivery) bool { return d.mayHaveOthers(by, one.Webhook) }) {
			scoped = append(scoped, page...)
			continue
		}
		events, err := d.eventsOf(ctx, page)
		if err != nil {
			return nil, err
		}
		for _, one := range page {
			if e := events[one.EventSeq]; e != nil && by.May(notify.ProjectOf(e)) {
				scoped = append(scoped, one)
			}
		}
	}
	for i := range scoped {
		scoped[i].Reason = reasonFor(by, scoped[i].Reason)
	}
	return scoped, nil
}

// check returns the states of the query, or its Problems.
func (q *DeliveryQuery) check() (states []store.State, err error) {
	var problems Problems
	for i, name := range q.States {
		state, ok := stateOf(name)
		if !ok {
			problems = append(problems, Problem{fmt.Sprintf("state[%d]", i), fmt.Sprintf("%q is not a state: pending, delivered, dead or parked", name)})
		}
		states = append(states, state)
	}
	for i, t := range q.Types {
		if !slices.Contains(notify.Types(), detect.Type(t)) {
			problems = append(problems, Problem{fmt.Sprintf("type[%d]", i), fmt.Sprintf("there is no type %q of events; there are %s", t, listOf(notify.Types()))})
		}
	}
	if q.Limit < 0 || q.Limit > MostPage {
		problems = append(problems, Problem{"limit", fmt.Sprintf("it must be a number from 1 to %d", MostPage)})
	}
	if len(q.IDs) > MostIDs {
		problems = append(problems, Problem{"id", fmt.Sprintf("there may be at most %d", MostIDs)})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return states, nil
}

// storedRepositories returns the repositories under which the store may hold events of a repository
// as it is shown. The store holds a chart's event under its tenant path, without the chart's name.
func storedRepositories(shown string) []string {
	all := []string{shown}
	if project, name, ok := cutLast(shown); ok {
		all = append(all, project)
		if project == "library" {
			all = append(all, name, "")
		}
	} else {
		all = append(all, "")
	}
	return all
}

func cutLast(repository string) (before, last string, ok bool) {
	i := strings.LastIndexByte(repository, '/')
	return repository[:max(i, 0)], repository[i+1:], i >= 0
}

// listedWebhook is a webhook whose deliveries are listed. It is in use, or a webhook of the store
// that is left out.
type listedWebhook struct {
	Ref
	projects []string
}

// everyListedWebhook calls each for every webhook, until each returns false.
func (d *AccountDeliveries) everyListedWebhook(each func(listedWebhook) bool) {
	set := d.Running.Set()
	for _, h := range set.All {
		if !each(listedWebhook{d.refOf(set, h.Name), h.Projects()}) {
			return
		}
	}
	for _, s := range set.out {
		if !each(listedWebhook{refOfStored(s), []string{s.Project}}) {
			return
		}
	}
}

func refOfStored(s *notify.Stored) Ref { return Ref{s.Number, s.Key, s.Name, s.Project} }

// webhooksOf returns the keys of the webhooks in scope that a query selects; nil: all.
func (d *AccountDeliveries) webhooksOf(ctx context.Context, by access.Principal, q DeliveryQuery) ([]string, error) {
	if q.WebhookKey == "" && q.Webhook == 0 && by.Administrator {
		return nil, nil
	}
	keys, one := []string{}, q.WebhookKey != "" || q.Webhook != 0
	d.everyListedWebhook(func(w listedWebhook) bool {
		named := q.WebhookKey == "" || q.WebhookKey == w.Key || w.Project != "" && q.WebhookKey == w.Project+"/"+w.Name
		if named && (q.Webhook == 0 || q.Webhook == w.Number) && by.MayAll(w.projects) {
			keys = append(keys, w.Key)
		}
		return !one || len(keys) == 0
	})
	switch {
	case !one || len(keys) > 0:
		return keys, nil
	case q.WebhookKey != "":
		return d.removedWebhook(ctx, by, q.WebhookKey)
	}
	return nil, fmt.Errorf("%w: there is no webhook with the number %d", ErrNotFound, q.Webhook)
}

// removedWebhook returns the key of a removed webhook that still has deliveries. Only
// administrators see these.
func (d *AccountDeliveries) removedWebhook(ctx context.Context, by access.Principal, key string) ([]string, error) {
	if by.Administrator {
		left, err := d.Dispatcher.Deliveries(ctx, store.DeliveryQuery{Webhook: key, Limit: 1})
		if err != nil || len(left) > 0 {
			return []string{key}, err
		}
	}
	return nil, d.noWebhook(by, key)
}

const mostNamed = 50 // webhooks in an error

// noWebhook is the error for a name that no webhook in scope has.
func (d *AccountDeliveries) noWebhook(by access.Principal, key string) error {
	var names []string
	for _, h := range d.Running.Set().All {
		if len(names) < mostNamed && by.MayAll(h.Projects()) {
			names = append(names, h.Name)
		}
	}
	if len(names) == 0 {
		return fmt.Errorf("%w: %q: %w", ErrNotFound, key, notify.ErrNoWebhook)
	}
	return fmt.Errorf("%w: %q: %w; there are %s", ErrNotFound, key, notify.ErrNoWebhook, strings.Join(names, ", "))
}

// refOf returns the Ref of a delivery's webhook.
func (d *AccountDeliveries) refOf(set *HookSet, key string) Ref {
	h := set.Named(key)
	switch {
	case h == nil:
		if i := slices.IndexFunc(set.out, func(s *notify.Stored) bool { return s.Key == key }); i >= 0 {
			return refOfStored(set.out[i])
		}
		return Ref{Key: key, Name: key}
	case h.Stored != nil:
		return refOfStored(h.Stored)
	}
	return Ref{Number: d.Numbers.Webhook(key), Key: key, Name: key}
}

// Deliveries returns a page of the deliveries that q selects, of the webhooks in scope.
func (d *AccountDeliveries) Deliveries(ctx context.Context, by access.Principal, q DeliveryQuery) (page DeliveryPage, err error) {
	s, err := d.search(ctx, by, q)
	if err != nil {
		return page, err
	}
	show, err := d.shower(ctx, by)
	if err != nil {
		return page, err
	}
	next, looked, err := d.find(ctx, s, s.limit, func(found store.Delivery, e *detect.Event) error {
		page.Deliveries = append(page.Deliveries, show(found, e))
		return nil
	})
	page.Searched = !looked.IsZero()
	page.Next = s.cursors.cursorOf(next, s.about, page.Searched)
	if by.Administrator {
		page.LookedTo = looked
	}
	return page, err
}

// find calls each for at most limit deliveries of a search, with their events (nil: the event was
// removed). next and looked are as in a page.
func (d *AccountDeliveries) find(ctx context.Context, s deliverySearch, limit int, each func(store.Delivery, *detect.Event) error) (next int64, looked time.Time, err error) {
	s.Limit = limit
	for found, tested := 0, 0; ; {
		page, err := d.Dispatcher.SearchDeliveries(ctx, s.DeliverySearch)
		if err != nil {
			return 0, looked, err
		}
		events, err := d.eventsOf(ctx, page.Deliveries)
		if err != nil {
			return 0, looked, err
		}
		for i, one := range page.Deliveries {
			e := events[one.EventSeq]
			if tested++; s.passes != nil && (e == nil || !s.passes(e)) {
				continue
			}
			if err := each(one, e); err != nil {
				return 0, looked, err
			}
			if found++; found == limit && (i < len(page.Deliveries)-1 || page.Next != 0) {
				return one.ID, looked, nil
			}
		}
		if page.Next == 0 || !page.LookedTo.IsZero() {
			return page.Next, page.LookedTo, nil
		}
		if tested >= mostDecoded {
			return page.Next, page.Deliveries[len(page.Deliveries)-1].CreatedAt, nil
		}
		s.BeforeID, s.Limit = page.Next, decodedMore
	}
}

// eventsOf returns the events of deliveries, by Seq.
func (d *AccountDeliveries) eventsOf(ctx context.Context, deliveries []store.Delivery) (map[int64]*detect.Event, error) {
	var seqs []int64
	for _, one := range deliveries {
		seqs = append(seqs, one.EventSeq)
	}
	slices.Sort(seqs)
	seqs = slices.Compact(seqs)
	events := map[int64]*detect.Event{}
	if len(seqs) == 0 {
		return events, nil
	}
	found, err := d.Dispatcher.Events(ctx, store.EventQuery{Seqs: seqs, Limit: len(seqs)})
	for i := range found {
		events[found[i].Seq] = &found[i]
	}
	return events, err
}
