package console

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

func TestEventsAndProjectsInScope(t *testing.T) {
	c := newConsole(sample())
	maria := access.Principal{Name: "maria", Projects: []string{"platform"}}
	for path, want := range map[string]int{
		"/events": 200, "/events/019aa0000000": 200, "/events/019aa0000001": 404, "/events/none": 404,
		"/projects": 200, "/projects/platform": 200, "/projects/web": 404, "/": 200, "/?span=day": 200,
	} {
		status, body := get(t, c, maria, path)
		if status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
		if strings.Contains(body, "web/shop") || strings.Contains(body, "/projects/web") {
			t.Errorf("%s shows another project:\n%s", path, body)
		}
	}
}

func TestTrafficIsForAdministrators(t *testing.T) {
	c := newConsole(sample())
	_, all := get(t, c, access.Principal{Name: "ops", Administrator: true}, "/")
	_, limited := get(t, c, access.Principal{Name: "maria", Projects: []string{"platform"}}, "/")
	if !strings.Contains(all, "Requests by upstream") || strings.Contains(limited, "Requests by upstream") {
		t.Error("traffic is shown to the wrong account")
	}
	for _, page := range []string{all, limited} {
		if !strings.Contains(page, "Events by type") || !strings.Contains(page, "<th scope=\"col\" class=\"num\">Artifact pulled</th>") {
			t.Error("the events are not there, or not as a table")
		}
	}
}

// Viewers of a live page share the reads of the store; accounts with different scopes do not.
func TestLivePagesShareReads(t *testing.T) {
	c := newConsole(sample())
	var viewers sync.WaitGroup
	for range 200 {
		viewers.Go(func() { get(t, c, access.Principal{Name: "ops", Administrator: true}, "/events") })
	}
	viewers.Wait()
	// One at a time within sharedFor; a slow machine may need several.
	if n := c.Events.(*past).reads.Load(); n > 20 {
		t.Errorf("200 viewers made %d reads", n)
	}
	var r eventReads
	ops, maria := access.Principal{Name: "ops", Administrator: true}, access.Principal{Name: "ops", Projects: []string{"platform"}}
	if r.read(ops, manage.EventQuery{}) == r.read(maria, manage.EventQuery{}) {
		t.Error("two scopes share a read")
	}
	if jo := (access.Principal{Name: "jo", Administrator: true}); r.read(ops, manage.EventQuery{}) != r.read(jo, manage.EventQuery{}) {
		t.Error("two administrators do not share a read")
	}
	if r.read(ops, manage.EventQuery{Since: time.Now()}) != nil {
		t.Error("a read with a span is shared")
	}
	if r.read(ops, manage.EventQuery{Limit: 10}) == r.read(ops, manage.EventQuery{Limit: 50}) {
		t.Error("reads of different lengths are shared")
	}
	for range 2 * mostShared {
		r.read(ops, manage.EventQuery{Project: strings.Repeat("x", len(r.all))})
	}
	if len(r.all) > mostShared {
		t.Errorf("%d reads are kept", len(r.all))
	}
}

// The script that refreshes a page gets no page while nothing has changed.
func TestAPageThatHasNotChanged(t *testing.T) {
	c := newConsole(sample())
	past := c.Events.(*past)
	again := func(tag string) *httptest.ResponseRecorder {
		w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/events", nil)
		r.Header.Set("If-None-Match", tag)
		c.Handler().ServeHTTP(w, access.WithPrincipal(r, ops))
		return w
	}
	synctest.Test(t, func(t *testing.T) {
		tag := again("").Header().Get("ETag")
		time.Sleep(sharedFor)
		if w := again(tag); tag == "" || w.Code != http.StatusNotModified || w.Body.Len() > 0 {
			t.Errorf("unchanged, tag %s: %d", tag, w.Code)
		}
		past.events = append([]detect.Event{{ID: "new", Type: detect.PushArtifact, Repository: "platform/api", At: time.Now()}}, past.events...)
		if w := again(tag); w.Code != http.StatusNotModified {
			t.Errorf("within sharedFor: %d", w.Code)
		}
		time.Sleep(sharedFor)
		if w := again(tag); w.Code != http.StatusOK || !strings.Contains(w.Body.String(), "/events/new") {
			t.Errorf("changed: %d", w.Code)
		}
	})
}

// The script gets the parts of a page that are live, the same as in the page.
func TestLivePartsOfPages(t *testing.T) {
	c := newConsole(sample())
	for _, path := range []string{"/", "/?span=day", "/events", "/deliveries", "/webhooks"} {
		_, page := get(t, c, ops, path)
		r := httptest.NewRequest("GET", path, nil)
		r.Header.Set("X-Fragment", "live")
		_, part := do(t, c, ops, r)
		if strings.Contains(part, "<html") || !strings.Contains(part, "data-live=") || !strings.Contains(page, part) {
			t.Errorf("%s: the live part is not that of the page:\n%.300s", path, part)
		}
	}
}

// A read that panics is an error page for its viewer, and the next viewer makes the read anew.
func TestAReadThatPanics(t *testing.T) {
	d := sample()
	c := newConsole(d)
	c.Events = &panicsOnce{EventDesk: c.Events}
	if status, page := get(t, c, ops, "/events"); status != http.StatusInternalServerError || !strings.Contains(page, "This page could not be made") {
		t.Errorf("the first viewer: %d\n%s", status, page)
	}
	if status, page := get(t, c, ops, "/events"); status != http.StatusOK || !strings.Contains(page, "/events/019aa0000000") {
		t.Errorf("the next viewer: %d\n%s", status, page)
	}
}

type panicsOnce struct {
	EventDesk
	panicked bool
}

func (p *panicsOnce) Events(ctx context.Context, by access.Principal, q manage.EventQuery) (manage.EventPage, error) {
	if !p.panicked {
		p.panicked = true
		panic("a bug")
	}
	return p.EventDesk.Events(ctx, by, q)
}

func TestBodyOfAnUnknownFormat(t *testing.T) {
	c := newConsole(sample())
	status, body := get(t, c, access.Principal{Name: "ops", Administrator: true}, "/events/019aa0000000?format=none")
	if status != http.StatusOK || !strings.Contains(body, "here is no such format") {
		t.Errorf("%d: %s", status, body)
	}
}

func TestSystemIsForAdministrators(t *testing.T) {
	c := newConsole(sample())
	c.System = func(context.Context) []string { return []string{"the disk of data_dir is nearly full"} }
	_, all := get(t, c, access.Principal{Name: "ops", Administrator: true}, "/")
	_, limited := get(t, c, access.Principal{Name: "maria", Projects: []string{"platform"}}, "/")
	if !strings.Contains(all, "nearly full") || strings.Contains(limited, "nearly full") {
		t.Error("the state of the store is shown to the wrong account")
	}
}

func TestPlot(t *testing.T) {
	from := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	p := plotOf("Events", from, time.Minute, []layer{{Name: "a", Class: "s0", values: []float64{0, 3}}, {Name: "b", Class: "s1", values: []float64{1, 0}}}, 1024, sum, bytesText)
	if len(p.Bars) != 2 || len(p.Rows) != 2 || p.Layers[0].Total != "3 B" || p.Rows[1].Values[0] != "3 B" {
		t.Errorf("%+v", p)
	}
	for n, want := range map[float64]float64{0: 2, 2: 2, 3: 4, 7: 10, 11: 20, 4001: 6000} {
		if got := niceTop(n); got != want {
			t.Errorf("niceTop(%g) = %g, want %g", n, got, want)
		}
	}
	if got := bytesText(1010 << 20); got != "1010 MiB" {
		t.Errorf("1010 MiB are written %s", got)
	}
	for n, want := range map[float64]string{0: "2 B", 1000: "1 KiB", 1025: "2 KiB", 900 << 20: "1 GiB", 3 << 30: "4 GiB"} {
		if got := bytesText(topOf(n, 1024)); got != want {
			t.Errorf("a plot of %g bytes goes up to %s, want %s", n, got, want)
		}
	}
}

// A page that shows few events of a type does not shorten another page that shows more of them.
func TestEventsAfterProjects(t *testing.T) {
	d := sample()
	c := newConsole(d)
	past := c.Events.(*past)
	for n := range 30 {
		past.events = append(past.events, detect.Event{ID: fmt.Sprintf("replicated%d", n), Type: detect.Replication, Repository: "platform/api"})
	}
	get(t, c, ops, "/projects")
	if _, page := get(t, c, ops, "/events?type=REPLICATION"); strings.Count(page, `href="/events/replicated`) != 30 {
		t.Errorf("the page of events shows %d of 30", strings.Count(page, `href="/events/replicated`))
	}
}

// The links of a project's page select the project, also where its name has signs of a URL.
func TestLinksOfAProject(t *testing.T) {
	d := sample()
	c := newConsole(d)
	c.Projects.(*past).projects = []Project{{Name: "a&b=c"}}
	_, page := get(t, c, ops, "/projects/a&b=c")
	for _, path := range []string{"/webhooks", "/deliveries", "/events"} {
		if want := `href="` + path + `?project=a%26b%3dc"`; !strings.Contains(page, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
}

// What needs attention beyond the longest list is counted, with a link.
func TestMoreNeedsAttention(t *testing.T) {
	d := sample()
	for n := range mostAttention {
		w := d.webhooks[1] // it fails and has dead letters: two lines
		w.Number, w.Name = int64(100+n), fmt.Sprint("more", n)
		d.webhooks = append(d.webhooks, w)
	}
	c := newConsole(d)
	v := &pageRequest{Request: httptest.NewRequest("GET", "/", nil), c: c, by: ops}
	all, err := v.allAttention()
	if err != nil || len(all) <= 2*mostAttention {
		t.Fatal(len(all), err)
	}
	_, page := get(t, c, ops, "/")
	if n := strings.Count(page, `<li><span class="badge`); n != mostAttention+1 {
		t.Errorf("the page has %d lines", n)
	}
	requireText(t, page, fmt.Sprintf(`<a href="/webhooks">And %d more lines; see all webhooks.</a>`, len(all)-mostAttention))
}

// Viewers of the overview share the plots while they are new; accounts of other scopes do not.
func TestViewersSharePlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newConsole(sample())
		counts := &countedCounts{CountDesk: c.Counts}
		c.Counts = counts
		for range 10 {
			get(t, c, ops, "/")
		}
		if counts.reads != 1 {
			t.Errorf("10 viewers made %d reads", counts.reads)
		}
		get(t, c, ops, "/?span=day")
		get(t, c, access.Principal{Name: "ops", Projects: []string{"platform"}}, "/")
		if counts.reads != 3 {
			t.Errorf("three different pages made %d reads", counts.reads)
		}
		time.Sleep(plotsFor)
		get(t, c, ops, "/")
		if counts.reads != 4 || len(c.plots.all) != 1 {
			t.Errorf("later: %d reads, %d kept", counts.reads, len(c.plots.all))
		}
	})
}

type countedCounts struct {
	CountDesk
	reads int
}

func (c *countedCounts) EventCounts(ctx context.Context, by access.Principal, project string, s manage.Span) ([]counters.Line, error) {
	c.reads++
	return c.CountDesk.EventCounts(ctx, by, project, s)
}
