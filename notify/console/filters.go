package console

import (
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/instant"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// filters is the bar of fields that select what a table shows. They stand in the page's address.
type filters struct {
	Form   form
	Fields []filterField
	Path   string // without a filter
	Active bool
}

type filterField struct {
	Name, Label, Placeholder string
	Options                  []option // nil: a text
}

// The fields that filter tables.
var (
	byWebhook    = filterField{Name: "webhook", Label: "Webhook"}
	byProject    = filterField{Name: "project", Label: "Project"}
	byRepository = filterField{Name: "repository", Label: "Repository"}
	byTag        = filterField{Name: "tag", Label: "Tag"}
	byOperator   = filterField{Name: "operator", Label: "Operator"}
	byFrom       = filterField{Name: "from", Label: "From", Placeholder: "2h or 09:30"}
	byTo         = filterField{Name: "to", Label: "To", Placeholder: "now"}
	byState      = filterField{Name: "state", Label: "State", Options: []option{
		{"", "all"}, {"pending", "Pending"}, {"delivered", "Delivered"}, {"dead", "Dead"}, {"parked", "Parked"},
	}}
	byType = filterField{Name: "type", Label: "Event type", Options: typeOptions()}
)

func typeOptions() []option {
	all := []option{{"", "all"}}
	for _, t := range eventTypes {
		all = append(all, option{string(t), eventWord(string(t))})
	}
	return all
}

// filters returns the bar of a page with these fields, as its address fills it.
func (v *pageRequest) filters(fields ...filterField) filters {
	f := filters{Form: newForm(url.Values{}), Fields: fields, Path: v.URL.Path}
	q := v.URL.Query()
	for _, field := range fields {
		if value := q.Get(field.Name); value != "" {
			f.Form.values.Set(field.Name, value)
			f.Active = true
		}
	}
	return f
}

// span reads From and To. What is wrong with them is a problem of their field.
func (f filters) span() (since, until time.Time) {
	now := time.Now()
	read := func(name string, last bool) time.Time {
		text := f.Form.Value(name)
		if text == "" {
			return time.Time{}
		}
		t, err := timeOf(text, now, last)
		if err != nil {
			f.Form.problems[name] = sentence(err.Error())
		}
		return t
	}
	return read("from", false), read("to", true)
}

// timeOf parses a time; see instant.Parse. The error is for the user.
func timeOf(text string, now time.Time, last bool) (time.Time, error) {
	t, ok := instant.Parse(text, now, last)
	if !ok {
		return t, errors.New("write a time of day (15:04), a date (2006-01-02), both, or how long ago (2h, 3d)")
	}
	return t, nil
}

// pages are links to more of a table.
type pages struct {
	Shown                 string
	First, Next           string
	FirstLabel, NextLabel string
}

// pages links a page of a cursor: to the newest, and to older ones. A cursor is bound to its query,
// so that the links name the times that "2h" meant here.
func (f filters) pages(q url.Values, next, shown string, since, until time.Time) pages {
	p := pages{Shown: shown, FirstLabel: "Newest", NextLabel: "Older"}
	if q.Get("cursor") != "" {
		p.First = f.Path + withQuery(f.Form.values, "cursor", "")
	}
	if next == "" {
		return p
	}
	older := url.Values{"cursor": {next}}
	for name, values := range f.Form.values {
		older[name] = values
	}
	for name, t := range map[string]time.Time{"from": since, "to": until} {
		if !t.IsZero() {
			older.Set(name, t.Format(time.RFC3339Nano))
		}
	}
	p.Next = f.Path + "?" + older.Encode()
	return p
}

// refused puts what is wrong with a query to its fields; it returns errors that are not theirs.
func (f filters) refused(err error) error {
	problems, ok := errors.AsType[manage.Problems](err)
	if !ok {
		return err
	}
	names := make([]string, 0, len(f.Fields))
	for _, field := range f.Fields {
		names = append(names, field.Name)
	}
	f.Form.blame(problems, names)
	if f.Form.Problem("") != "" {
		return err
	}
	return nil
}

func (f filters) status() int {
	if f.Form.Problems() {
		return http.StatusUnprocessableEntity
	}
	return http.StatusOK
}

// searched says how far a page has searched: ended early, to a time that may be unknown.
func searched(early bool, to time.Time) string {
	switch {
	case !early:
		return "Newest first"
	case to.IsZero():
		return "Searched in part"
	}
	return "Searched back to " + absolute(to)
}
