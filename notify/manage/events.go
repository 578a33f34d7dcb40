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

// Bounds of pages.
const (
	UsualPage = 50
	MostPage  = 500
	// events that are decoded and tested for one page, and how many at once if the first ones
	// do not fill it
	mostDecoded = 500
	decodedMore = 250
)

// EventQuery selects events; zero fields select all.
type EventQuery struct {
	Types        []string
	Project      string
	Upstream     string
	Repositories []string // globs, as in match
	Tags         []string
	Operators    []string
	Since, Until time.Time
	// After is for Follow: it gets the events after this position, which Newest or Follow
	// returned; "": from now on.
	After  string
	Cursor string
	Limit  int // 0: UsualPage; at most MostPage
}

// EventPage is a page of events, newest first.
type EventPage struct {
	Events []detect.Event
	Next   string // the cursor of the next page; "": there is none
	// Searched: the page ended because enough events were tested. Next continues there.
	Searched bool
	// LookedTo is then the time of the last event that was tested. Limited accounts do not get
	// it, because that event may belong to another project.
	LookedTo time.Time
}

// eventTest is the part of an EventQuery, and of an account's scope, that the store cannot test.
type eventTest func(*detect.Event) bool

// test checks a query and compiles it.
func (q *EventQuery) test(by access.Principal) (eventTest, error) {
	var problems Problems
	for i, t := range q.Types {
		if !slices.Contains(notify.Types(), detect.Type(t)) {
			problems = append(problems, Problem{fmt.Sprintf("type[%d]", i), fmt.Sprintf("there is no type %q of events; there are %s", t, listOf(notify.Types()))})
		}
	}
	if q.Limit < 0 || q.Limit > MostPage {
		problems = append(problems, Problem{"limit", fmt.Sprintf("it must be a number from 1 to %d", MostPage)})
	}
	matches, err := notify.Search(notify.Match{Repositories: q.Repositories, Tags: q.Tags, Operators: q.Operators})
	if err != nil {
		field, message, _ := strings.Cut(strings.TrimPrefix(err.Error(), "search."), ": ")
		problems = append(problems, Problem{parameterOf(field), message})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return func(e *detect.Event) bool {
		if !by.Administrator || q.Project != "" {
			project := notify.ProjectOf(e)
			if !by.May(project) || q.Project != "" && q.Project != project {
				return false
			}
		}
		return (len(q.Types) == 0 || slices.Contains(q.Types, string(e.Type))) && (q.Upstream == "" || q.Upstream == e.Upstream) && matches(e)
	}, nil
}

// parameterOf returns the name of the parameter for a key of a filter: repository[0] for
// repositories[0].
func parameterOf(field string) string {
	for _, names := range [][2]string{{"repositories", "repository"}, {"tags", "tag"}, {"operators", "operator"}} {
		if rest, ok := strings.CutPrefix(field, names[0]); ok {
			return names[1] + rest
		}
	}
	return field
}

// Events returns a page of the events that q selects and the account may see.
func (d *AccountEvents) Events(ctx context.Context, by access.Principal, q EventQuery) (page EventPage, err error) {
	if !by.Knows() {
		return page, ErrForbidden
	}
	passes, err := q.test(by)
	if err != nil {
		return page, err
	}
	limit := q.Limit
	if limit == 0 {
		limit = UsualPage
	}
	about := queryOf(by, q)
	cursors, err := d.Cursors.sealer(ctx)
	if err != nil {
		return page, err
	}
	at, err := cursors.positionOf(q.Cursor, about)
	if err != nil {
		return page, err
	}
	search := store.EventSearch{Types: q.Types, Upstream: q.Upstream, Projects: projectsOf(by, q.Project), Since: q.Since, Until: q.Until, Before: at, Limit: limit}
	next, err := d.fill(ctx, search, limit, passes, &page)
	page.Searched = !page.LookedTo.IsZero()
	page.Next = cursors.cursorOf(next, about, page.Searched)
	if !by.Administrator {
		page.LookedTo = time.Time{}
	}
	return page, err
}

// fill tests events from search.Before on until the page is full or enough were tested. next is
// where the next page begins; 0: there is none.
func (d *AccountEvents) fill(ctx context.Context, search store.EventSearch, limit int, passes eventTest, page *EventPage) (next int64, err error) {
	for tested := 0; ; {
		found, err := d.Dispatcher.SearchEvents(ctx, search)
		if err != nil {
			return 0, err
		}
		for i := range found.Events {
			e := &found.Events[i]
			if tested++; passes(e) {
				page.Events = append(page.Events, *e)
			}
			more := i < len(found.Events)-1 || found.Next != 0
			if len(page.Events) == limit && more {
				return e.Seq, nil
			}
		}
		switch {
		case found.Next == 0:
			return 0, nil
		case !found.LookedTo.IsZero():
			page.LookedTo = found.LookedTo
			return found.Next, nil
		case tested >= mostDecoded:
			page.LookedTo = found.Events[len(found.Events)-1].At
			return found.Next, nil
		}
		search.Before, search.Limit = found.Next, decodedMore
	}
}

// queryOf returns the query and the scope for which a cursor is valid. Accounts with the same scope
// get the same cursors, and so the same pages.
func queryOf[Q EventQuery | DeliveryQuery](by access.Principal, q Q) any {
	switch q := any(&q).(type) {
	case *EventQuery:
		q.Cursor, q.Limit = "", 0
	case *DeliveryQuery:
		q.Cursor, q.Limit = "", 0
	}
	return []any{by.Administrator, by.Projects, q}
}

// projectsOf returns the projects that the store can select; nil if it must select all because one
// of them is a glob.
func projectsOf(by access.Principal, project string) []string {
	switch {
	case project != "":
		return []string{project}
	case by.Administrator || slices.ContainsFunc(by.Projects, isGlob):
		return nil
	}
	return by.Projects
}

func isGlob(project string) bool { return strings.ContainsAny(project, `*?[]{}\`) }

// Event returns an event by its id.
func (d *AccountEvents) Event(ctx context.Context, by access.Principal, id string) (e detect.Event, err error) {
	if id == "" {
		return e, fmt.Errorf("%w: give the id of an event", ErrNotFound)
	}
	found, err := d.Dispatcher.Events(ctx, store.EventQuery{ID: id, Limit: 1})
	if err != nil {
		return e, err
	}
	if len(found) == 0 || !by.Administrator && !by.May(notify.ProjectOf(&found[0])) {
		return e, fmt.Errorf("%w: there is no event %q, or it was removed", ErrNotFound, id)
	}
	return found[0], nil
}

const followPage = 500 // events that a follower reads at once

// Follow calls each for every new event that q selects and the account may see, with the position
// for After, until ctx ends or each returns an error.
func (d *AccountEvents) Follow(ctx context.Context, by access.Principal, q EventQuery, each func(e detect.Event, position string) error) error {
	if !by.Knows() {
		return ErrForbidden
	}
	passes, err := q.test(by)
	if err != nil {
		return err
	}
	cursors, err := d.Cursors.sealer(ctx)
	if err != nil {
		return err
	}
	appended := d.Dispatcher.EventAppended()
	after, err := d.after(ctx, cursors, q.After)
	if err != nil {
		return err
	}
	for {
		found, err := d.Dispatcher.Events(ctx, store.EventQuery{After: after, Ascending: true, Limit: followPage})
		if err != nil {
			return err
		}
		for i := range found {
			after = found[i].Seq
			if passes(&found[i]) {
				if err := each(found[i], cursors.cursor(after, streamCursor, true)); err != nil {
					return err
				}
			}
		}
		if len(found) == followPage {
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-appended:
			appended = d.Dispatcher.EventAppended()
		}
	}
}

// after returns the Seq at a position of a stream; of "", the newest event's.
func (d *AccountEvents) after(ctx context.Context, cursors sealer, position string) (int64, error) {
	if position == "" {
		return d.LastSeq(ctx)
	}
	return cursors.position("after", position, streamCursor)
}

// CheckFollow returns an error if Follow would refuse the query.
func (d *AccountEvents) CheckFollow(ctx context.Context, by access.Principal, q EventQuery) error {
	if !by.Knows() {
		return ErrForbidden
	}
	if _, err := q.test(by); err != nil {
		return err
	}
	cursors, err := d.Cursors.sealer(ctx)
	if err == nil && q.After != "" {
		_, err = d.after(ctx, cursors, q.After)
	}
	return err
}

// Newest returns the position of the newest event of all projects, for Follow.
func (d *AccountEvents) Newest(ctx context.Context, by access.Principal) (position string, err error) {
	if !by.Knows() {
		return "", ErrForbidden
	}
	cursors, err := d.Cursors.sealer(ctx)
	if err != nil {
		return "", err
	}
	last, err := d.LastSeq(ctx)
	return cursors.cursor(last, streamCursor, true), err
}

// LastSeq returns the Seq of the newest event of all projects; 0: there is none. Accounts must not
// see it.
func (d *AccountEvents) LastSeq(ctx context.Context) (int64, error) {
	newest, err := d.Dispatcher.Events(ctx, store.EventQuery{Limit: 1})
	if err != nil || len(newest) == 0 {
		return 0, err
	}
	return newest[0].Seq, nil
}

// EventBody returns the body that a webhook with a format would send about an event.
func (d *AccountEvents) EventBody(ctx context.Context, by access.Principal, id, name string) (Body, error) {
	e, err := d.Event(ctx, by, id)
	if err != nil {
		return Body{}, err
	}
	f, err := format.New(name, "webhook", format.Options{Project: d.Numbers.Project})
	if err != nil {
		return Body{}, problem("format", "%v", err)
	}
	contentType, header, body, err := f.Render(e, 0)
	if err != nil {
		return Body{}, problem("format", "%v", err)
	}
	if contentType == "" {
		contentType = "application/json"
	}
	return Body{ContentType: contentType, Header: header, Text: strings.ToValidUTF8(string(body), "\uFFFD")}, nil
}

func listOf[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, t := range all {
		texts[i] = string(t)
	}
	return strings.Join(texts, ", ")
}
