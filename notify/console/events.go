package console

import (
	"context"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// EventDesk has the events of the projects in the scope of an account.
type EventDesk interface {
	Events(ctx context.Context, by access.Principal, q manage.EventQuery) (manage.EventPage, error)
	Event(ctx context.Context, by access.Principal, id string) (detect.Event, error)
	EventBody(ctx context.Context, by access.Principal, id, format string) (manage.Body, error)
	Explain(ctx context.Context, by access.Principal, id string) ([]manage.Verdict, error)
}

const (
	eventsPath   = "/events"
	eventsAtOnce = 50 // rows of a page
)

func (c *Console) addEvents() {
	c.mux.Handle("GET "+eventsPath, c.page(showEvents))
	c.mux.Handle("GET "+eventsPath+"/{id}", c.page(showEvent))
}

type eventsPage struct {
	Filters filters
	List    template.HTML
}

// eventList is the table of the page. It depends on nothing but the query and the account's scope,
// because viewers share it.
type eventList struct {
	Rows     []eventRow
	Pages    pages
	Live     bool // the newest are shown
	Filtered bool
}

// eventRow is an event as a table shows it.
type eventRow struct {
	ID, Type, Project, Repository, Tag, Digest, Operator, Note string
	At                                                         time.Time
}

func showEvents(v *pageRequest) error {
	p := eventsPage{Filters: v.filters(byType, byProject, byRepository, byTag, byOperator, byFrom, byTo)}
	f := p.Filters.Form
	q := manage.EventQuery{Project: f.Value("project"), Cursor: v.URL.Query().Get("cursor"), Limit: eventsAtOnce}
	q.Since, q.Until = p.Filters.span()
	q.Types, q.Repositories = one(f.Value("type")), one(f.Value("repository"))
	q.Tags, q.Operators = one(f.Value("tag")), one(f.Value("operator"))
	if !f.Problems() {
		var err error
		p.List, err = v.c.newest.list(v, q, func(found manage.EventPage) (template.HTML, error) {
			list := eventList{Live: q.Cursor == "", Filtered: p.Filters.Active}
			for i := range found.Events {
				list.Rows = append(list.Rows, rowOfEvent(&found.Events[i]))
			}
			list.Pages = p.Filters.pages(v.URL.Query(), found.Next, searched(found.Searched, found.LookedTo), q.Since, q.Until)
			text, err := executed("events", "list", list)
			return template.HTML(text), err
		})
		if err := p.Filters.refused(err); err != nil {
			return err
		}
	}
	v.render(p.Filters.status(), "events", pageData{Title: "Events", Tab: "events", Body: p})
	return nil
}

// one is a list of a value; none for "".
func one(value string) []string {
	if value == "" {
		return nil
	}
	return []string{value}
}

func rowOfEvent(e *detect.Event) eventRow {
	b := format.NewBellbuoyEvent(e)
	row := eventRow{
		ID: e.ID, Type: string(e.Type), Repository: b.Repository, Tag: strings.Join(e.Tags, ", "), Digest: e.Digest,
		Operator: e.Client.Operator, At: e.At,
	}
	if e.Chart != nil {
		row.Tag = e.Chart.Version
	}
	if e.Inspection() {
		row.Note = "inspection"
	}
	return row
}

type eventPage struct {
	Row      eventRow
	Formats  []option
	Format   string
	Body     manage.Body
	Unsaid   string // why the format has no body of it
	Verdicts []manage.Verdict
}

func showEvent(v *pageRequest) error {
	id := v.PathValue("id")
	e, err := v.c.Events.Event(v.Context(), v.by, id)
	if err != nil {
		return err
	}
	p := eventPage{Row: rowOfEvent(&e), Format: v.URL.Query().Get("format")}
	if p.Format == "" {
		p.Format = "bellbuoy"
	}
	for _, name := range format.Names() {
		if name != "template" { // it has no body without a webhook's template
			p.Formats = append(p.Formats, option{name, name})
		}
	}
	p.Body, err = v.c.Events.EventBody(v.Context(), v.by, id, p.Format)
	switch status := statusOf(err); {
	case err == nil:
	case status == http.StatusBadRequest:
		p.Unsaid = sentence(plainText(err))
	default:
		return err
	}
	if p.Verdicts, err = v.c.Events.Explain(v.Context(), v.by, id); err != nil {
		return err
	}
	v.render(http.StatusOK, "event", pageData{Title: eventWord(p.Row.Type), Tab: "events", Body: p})
	return nil
}
