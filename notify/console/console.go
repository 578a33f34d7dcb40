// Package console serves the pages for people: webhooks, their deliveries, the events, projects and
// an overview.
//
// Pages are made on the server from templates and work without JavaScript. static/live.js only adds
// to them: it refreshes what a page marks as live, sends the form's previews while one types, and
// opens rows in place. A page loads nothing from elsewhere and has no inline script or style, so
// that the strict Content-Security-Policy of every answer holds.
//
// A page is one file here and one in templates. Its handler reads the request, calls package
// notify/manage with the account of the request, and fills the template. What an account may see
// and do is decided by manage: what is out of its scope is ErrNotFound (404), what it may see and
// not do is ErrForbidden (403). Templates leave out the buttons for what is forbidden.
//
// Texts that strangers choose are escaped by html/template. Control characters and marks of text
// direction are replaced in every page as it is written (see clean).
package console

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// Console serves the pages. Its fields must be set before Handler is called.
type Console struct {
	Logins     Logins
	Webhooks   WebhookDesk
	Drafts     DraftDesk
	Deliveries DeliveryDesk
	Events     EventDesk
	Counts     CountDesk
	Projects   ProjectDesk
	// System returns what needs attention beside the webhooks, the worst first, for
	// administrators.
	System func(ctx context.Context) []string
	// Delivering reports whether webhooks are sent at all (notifications.enabled).
	Delivering func() bool
	Log        *zap.Logger

	once   sync.Once
	mux    *http.ServeMux
	turns  *turns
	newest eventReads
	plots  plotReads
}

// Logins begins and ends sessions; access.Door implements it.
type Logins interface {
	LogIn(w http.ResponseWriter, r *http.Request, name, password string) error
	LogInOnce(w http.ResponseWriter, r *http.Request, ticket string) error
	LogOut(w http.ResponseWriter, r *http.Request) error
	HasUsers() bool
}

// PublicPaths are the paths that need no account.
func PublicPaths() []string { return []string{access.LoginPath, access.OncePath, staticPath} }

// Handler serves all pages. Routes and templates are made at the first request, because many
// processes never show a page.
func (c *Console) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c.once.Do(c.build)
		setHeaders(w.Header())
		c.mux.ServeHTTP(w, r)
	})
}

func (c *Console) build() {
	c.mux, c.turns = http.NewServeMux(), newTurns()
	c.mux.HandleFunc("GET "+staticPath, serveStatic)
	c.addLogin()
	c.addWebhooks()
	c.addWebhookForm()
	c.addWebhook()
	c.addDeliveries()
	c.addEvents()
	c.addOverview()
	c.addProjects()
	c.mux.Handle("/", c.page(func(*pageRequest) error { return manage.ErrNotFound }))
}

// setHeaders sets what every answer has.
func setHeaders(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
}

// pageRequest is a request for a page, and what every page shows.
type pageRequest struct {
	*http.Request
	w  http.ResponseWriter
	c  *Console
	by access.Principal
	// made must be called once the page is made, before it is written; nil: there is no need.
	made func()
}

// page returns a handler for accounts, which shows the error of show as a page.
func (c *Console) page(show func(*pageRequest) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := &pageRequest{Request: r, w: w, c: c, by: access.PrincipalOf(r.Context())}
		if !v.by.Knows() {
			c.fail(v, http.StatusUnauthorized, nil)
			return
		}
		leave, err := c.turns.enter(v.by.Name)
		if err != nil {
			c.fail(v, statusOf(err), err)
			return
		}
		defer leave()
		if err := v.inTurn(show); err != nil {
			c.fail(v, statusOf(err), err)
		}
	})
}

// inTurn calls show when a page may be made. Actions do not wait: some take as long as a receiver
// of webhooks.
func (v *pageRequest) inTurn(show func(*pageRequest) error) (err error) {
	if v.Method == http.MethodGet {
		if v.made, err = v.c.turns.wait(v.Context()); err != nil {
			return err
		}
		defer v.made()
	}
	return v.try(show)
}

// try calls show. If it panics, that is logged and returned as errPanic.
func (v *pageRequest) try(show func(*pageRequest) error) (err error) {
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(p)
		}
		v.c.Log.Error("a page panicked; this is a bug", zap.String("path", v.URL.Path), zap.Any("panic", p), zap.Stack("stack"))
		err = errPanic
	}()
	return show(v)
}

// errPanic is the error of a page whose code has panicked.
var errPanic = errors.New("the page panicked")

// errBadRequest is wrapped by errors whose text is for the user.
var errBadRequest = errors.New("bad request")

func statusOf(err error) int {
	_, invalid := errors.AsType[manage.Problems](err)
	switch {
	case errors.Is(err, manage.ErrNotFound):
		return http.StatusNotFound
	case errors.Is(err, manage.ErrForbidden):
		return http.StatusForbidden
	case errors.Is(err, manage.ErrConflict):
		return http.StatusConflict
	case invalid, errors.Is(err, errBadRequest):
		return http.StatusBadRequest
	case errors.Is(err, errPanic):
		return http.StatusInternalServerError
	case errors.Is(err, errTooMany):
		return http.StatusTooManyRequests
	case errors.Is(err, context.Canceled):
		return 499 // the client has gone; nobody reads it
	}
	return http.StatusServiceUnavailable
}

// Refuse shows why a request may not pass, if a browser asks for a page; it reports whether it has.
func (c *Console) Refuse(w http.ResponseWriter, r *http.Request, status int, message string) bool {
	if !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return false
	}
	setHeaders(w.Header())
	p := errorPage{Status: status, Title: "Refused", Text: sentence(message)}
	if known, ok := errorTexts[status]; ok {
		p.Title = known.Title
	}
	(&pageRequest{Request: r, w: w, c: c}).render(status, "error", pageData{Title: p.Title, Bare: true, Body: p})
	return true
}

type errorPage struct {
	Status      int
	Title, Text string
}

// errorTexts are the words for a status.
var errorTexts = map[int]errorPage{
	http.StatusUnauthorized:        {Title: "A login is required", Text: "Log in to see this page."},
	http.StatusNotFound:            {Title: "Not found", Text: "There is nothing here, or your account may not see it."},
	http.StatusForbidden:           {Title: "Not allowed", Text: "Your account may see this, but not change it."},
	http.StatusConflict:            {Title: "Changed meanwhile", Text: "Somebody else has changed this since you opened it."},
	http.StatusBadRequest:          {Title: "That did not work"},
	http.StatusTooManyRequests:     {Title: "Too many requests"},
	http.StatusInternalServerError: {Title: "This page could not be made", Text: "That is a fault of bellbuoy; the log has the reason."},
	http.StatusServiceUnavailable:  {Title: "Not available now", Text: "bellbuoy cannot read its store at the moment. Try again soon; the log has the reason."},
}

// fail shows an error as a page.
func (c *Console) fail(v *pageRequest, status int, err error) {
	p := errorTexts[status]
	p.Status = status
	switch {
	case errors.Is(err, errBusy), errors.Is(err, errTooMany):
		v.w.Header().Set("Retry-After", "1")
		p.Text = sentence(err.Error() + "; try again soon")
	case status == http.StatusServiceUnavailable:
		c.Log.Warn("page not shown", zap.String("path", v.URL.Path), zap.Error(err))
	case status == http.StatusBadRequest, status == http.StatusConflict, status == http.StatusForbidden:
		if text := plainText(err); text != "" {
			p.Text = sentence(text)
		}
	}
	v.render(status, "error", pageData{Title: p.Title, Body: p})
}
