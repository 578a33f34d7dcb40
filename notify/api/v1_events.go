package api

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// V1Events reads recorded events within an account's scope. *manage.Desk implements it.
type V1Events interface {
	Events(ctx context.Context, by access.Principal, q manage.EventQuery) (manage.EventPage, error)
	Event(ctx context.Context, by access.Principal, id string) (detect.Event, error)
	// Newest returns the position of the newest event of all projects, for Follow.
	Newest(ctx context.Context, by access.Principal) (position string, err error)
	Follow(ctx context.Context, by access.Principal, q manage.EventQuery, each func(e detect.Event, position string) error) error
	// CheckFollow returns an error if Follow would refuse the query.
	CheckFollow(ctx context.Context, by access.Principal, q manage.EventQuery) error
	EventBody(ctx context.Context, by access.Principal, id, format string) (manage.Body, error)
	Explain(ctx context.Context, by access.Principal, id string) ([]manage.Verdict, error)
}

// V1Scanners explains the decisions of the configured scanners.
type V1Scanners interface {
	// ExplainScans returns the decision of each scanner about a push, and nothing for other
	// events.
	ExplainScans(ctx context.Context, e *detect.Event) ([]V1ScanVerdict, error)
}

// V1Event is an event as /api/v1 shows it.
type V1Event struct {
	Seq int64 `json:"seq,omitempty" doc:"the order of the log of all projects; for accounts without limits only"`
	format.BellbuoyEvent
}

// NewV1Event returns an event as /api/v1 shows it to an account.
func NewV1Event(by access.Principal, e *detect.Event) V1Event {
	shown := V1Event{BellbuoyEvent: format.NewBellbuoyEvent(e)}
	if by.Administrator {
		shown.Seq = e.Seq
	}
	return shown
}

// V1EventPage is a page of events.
type V1EventPage struct {
	Items    []V1Event `json:"items" nullable:"false" doc:"newest first"`
	Next     string    `json:"next,omitempty" doc:"the cursor of the next page; without it this is the last one"`
	LookedTo time.Time `json:"looked_to,omitzero" doc:"the page ended here because enough events were tested; the next page continues; for accounts without limits only"`
	Last     string    `json:"last,omitempty" doc:"of the first page: the position of the newest event when the page was read, for the stream's parameter after"`
}

// V1Explained is an event with the verdicts of webhooks and scanners.
type V1Explained struct {
	Event    V1Event         `json:"event"`
	Webhooks []V1Verdict     `json:"webhooks" nullable:"false"`
	Scanners []V1ScanVerdict `json:"scanners,omitempty" doc:"of a push, if scanners are configured"`
}

// V1ScanVerdict is the decision of a scanner about a push.
type V1ScanVerdict struct {
	Scanner string   `json:"scanner"`
	Scans   bool     `json:"scans" doc:"by its current configuration"`
	Because string   `json:"because,omitempty" doc:"why not"`
	Became  []string `json:"became,omitempty" doc:"the state or the result of each scan of the push"`
}

// V1Verdict is the decision of a webhook about an event, with its deliveries.
type V1Verdict struct {
	Webhook       string       `json:"webhook" doc:"the key of its deliveries"`
	WebhookNumber int64        `json:"webhook_number,omitempty"`
	Fires         bool         `json:"fires" doc:"by its current filters"`
	Because       string       `json:"because,omitempty" doc:"the key that rejects the event"`
	Value         string       `json:"value,omitempty" doc:"the event's value"`
	Wanted        string       `json:"wanted,omitempty" doc:"the key's value"`
	Deliveries    []V1Delivery `json:"deliveries,omitempty"`
}

// EventFilter has the parameters that select events.
type EventFilter struct {
	Type       []string `query:"type,explode" maxItems:"20" doc:"events of one of these types" example:"PUSH_ARTIFACT"`
	Project    string   `query:"project" maxLength:"255" doc:"events of this project"`
	Upstream   string   `query:"upstream" maxLength:"255" doc:"events of this upstream"`
	Repository []string `query:"repository,explode" maxItems:"20" doc:"globs of repositories, as in match of a webhook"`
	Tag        []string `query:"tag,explode" maxItems:"20" doc:"globs of tags, or of versions of charts"`
	Operator   []string `query:"operator,explode" maxItems:"20" doc:"globs of operators"`
}

func (f *EventFilter) query() manage.EventQuery {
	return manage.EventQuery{Types: f.Type, Project: f.Project, Upstream: f.Upstream, Repositories: f.Repository, Tags: f.Tag, Operators: f.Operator}
}

// TimeSpan has the parameters of a time span.
type TimeSpan struct {
	Since time.Time `query:"since" doc:"at this time or later"`
	Until time.Time `query:"until" doc:"before this time"`
}

// Paging has the parameters of a page.
type Paging struct {
	Cursor string `query:"cursor" maxLength:"1024" doc:"next of the previous page"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"most entries of the page"`
}

// PathEvent has the id of an event.
type PathEvent struct {
	ID string `path:"id" maxLength:"64" doc:"id of the event"`
}

// addEvents adds the endpoints about events.
func (v *V1) addEvents() {
	addV1(v, operation("listEvents", "GET /events", "Recorded events, newest first", "events"), everyAccount, v.listEvents)
	addV1(v, operation("followEvents", "GET /events/stream", "New events as they happen, as server-sent events or as lines of JSON", "events"), everyAccount, v.followEvents)
	addV1(v, operation("getEvent", "GET /events/{id}", "One event", "events"), everyAccount, v.getEvent)
	addV1(v, operation("getEventBody", "GET /events/{id}/body", "The body of an event in a format", "events"), everyAccount, v.getEventBody)
	addV1(v, operation("explainEvent", "GET /events/{id}/explain", "Whether each webhook got an event, and why", "events"), everyAccount, v.explainEvent)
}

func (v *V1) listEvents(ctx context.Context, by access.Principal, in *struct {
	EventFilter
	TimeSpan
	Paging
}) (*struct{ Body V1EventPage }, error) {
	q := in.query()
	q.Since, q.Until, q.Cursor, q.Limit = in.Since, in.Until, in.Cursor, in.Limit
	last := ""
	if in.Cursor == "" {
		var err error
		if last, err = v.Events.Newest(ctx, by); err != nil {
			return nil, err
		}
	}
	found, err := v.Events.Events(ctx, by, q)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body V1EventPage }{pageOfEvents(by, found)}
	out.Body.Last = last
	return out, nil
}

func (v *V1) getEvent(ctx context.Context, by access.Principal, in *PathEvent) (*struct{ Body V1Event }, error) {
	e, err := v.Events.Event(ctx, by, in.ID)
	if err != nil {
		return nil, err
	}
	return &struct{ Body V1Event }{NewV1Event(by, &e)}, nil
}

// V1Body is the body of a POST.
type V1Body struct {
	ContentType string            `json:"content_type"`
	Header      map[string]string `json:"header,omitempty" doc:"the format's own headers"`
	Text        string            `json:"text"`
}

func (v *V1) getEventBody(ctx context.Context, by access.Principal, in *struct {
	PathEvent
	Format string `query:"format" required:"true" maxLength:"64" example:"harbor" doc:"name of the format"`
}) (*struct{ Body V1Body }, error) {
	b, err := v.Events.EventBody(ctx, by, in.ID, in.Format)
	if err != nil {
		return nil, err
	}
	return &struct{ Body V1Body }{V1Body(b)}, nil
}

func (v *V1) explainEvent(ctx context.Context, by access.Principal, in *PathEvent) (*struct{ Body V1Explained }, error) {
	e, err := v.Events.Event(ctx, by, in.ID)
	if err != nil {
		return nil, err
	}
	verdicts, err := v.Events.Explain(ctx, by, in.ID)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body V1Explained }{V1Explained{Event: NewV1Event(by, &e), Webhooks: make([]V1Verdict, len(verdicts))}}
	for i, one := range verdicts {
		shown := V1Verdict{Webhook: one.Webhook.Key, WebhookNumber: one.Webhook.Number, Fires: one.Fires, Because: one.Because, Value: one.Value, Wanted: one.Wanted}
		for _, d := range one.Deliveries {
			shown.Deliveries = append(shown.Deliveries, shownDelivery(d))
		}
		out.Body.Webhooks[i] = shown
	}
	if out.Body.Scanners, err = v.Scanners.ExplainScans(ctx, &e); err != nil {
		return nil, err
	}
	for i := range out.Body.Scanners {
		if one := &out.Body.Scanners[i]; !by.Administrator {
			one.Because, _, _ = strings.Cut(one.Because, ":") // the rest may name other projects
		}
	}
	return out, nil
}

// Bounds of streams.
const (
	mostStreams  = 200              // of all accounts, at a time
	streamsOf    = 50               // of one account
	streamWrite  = 30 * time.Second // for one write to a client
	streamSignal = 20 * time.Second // interval of comments that keep a stream of server-sent events open
)

type followInput struct {
	EventFilter
	After       string `query:"after" maxLength:"64" doc:"events after this position: last of a list of events, or the id of a server-sent event; without it, events from now on"`
	LastEventID string `header:"Last-Event-ID" maxLength:"64" doc:"as after, sent by browsers that connect again; it takes precedence"`
	Accept      string `header:"Accept" doc:"text/event-stream, or else lines of JSON"`
}

func (v *V1) followEvents(ctx context.Context, by access.Principal, in *followInput) (*huma.StreamResponse, error) {
	q := in.query()
	q.After = cmp.Or(in.LastEventID, in.After)
	if err := v.Events.CheckFollow(ctx, by, q); err != nil {
		return nil, err
	}
	end, err := v.streams.begin(by.Name)
	if err != nil {
		return nil, err
	}
	return &huma.StreamResponse{Body: func(ctx huma.Context) {
		defer end()
		s := newStream(ctx, strings.Contains(in.Accept, "text/event-stream"))
		defer s.close()
		// the end of the stream shows the client that it failed
		_ = v.Events.Follow(ctx.Context(), by, q, func(e detect.Event, position string) error {
			return s.send(NewV1Event(by, &e), position)
		})
	}}, nil
}

// streams counts the open streams. The zero value is ready for use.
type streams struct {
	mu  sync.Mutex
	all int
	of  map[string]int // by account; none is zero
}

// begin counts a stream of an account until end is called.
func (s *streams) begin(account string) (end func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.of[account] >= streamsOf:
		return nil, huma.NewError(http.StatusTooManyRequests, fmt.Sprintf("this account has %d streams already", streamsOf))
	case s.all >= mostStreams:
		return nil, huma.NewError(http.StatusServiceUnavailable, fmt.Sprintf("there are %d streams already", mostStreams))
	}
	if s.of == nil {
		s.of = map[string]int{}
	}
	s.all++
	s.of[account]++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.all--
		if s.of[account]--; s.of[account] == 0 {
			delete(s.of, account)
		}
	}, nil
}

// stream writes events to a client.
type stream struct {
	w      http.ResponseWriter
	writes *http.ResponseController
	sse    bool
	done   chan struct{}
	ended  sync.WaitGroup

	mu sync.Mutex // held while writing
}

func newStream(ctx huma.Context, sse bool) *stream {
	s := &stream{w: ctx.BodyWriter().(http.ResponseWriter), sse: sse, done: make(chan struct{})}
	s.writes = http.NewResponseController(s.w)
	ctx.SetHeader("Content-Type", "application/x-ndjson")
	if sse {
		ctx.SetHeader("Content-Type", "text/event-stream")
		s.ended.Go(s.signal)
	}
	ctx.SetHeader("Cache-Control", "no-store")
	_ = s.write("")
	return s
}

func (s *stream) close() {
	close(s.done)
	s.ended.Wait()
	_ = s.writes.SetWriteDeadline(time.Time{})
}

// signal sends comments, so that proxies do not close a quiet connection.
func (s *stream) signal() {
	ticker := time.NewTicker(streamSignal)
	defer ticker.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-ticker.C:
			if s.write(":\n\n") != nil {
				return // send fails too
			}
		}
	}
}

func (s *stream) send(e V1Event, position string) error {
	text, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if s.sse {
		return s.write(fmt.Sprintf("id: %s\ndata: %s\n\n", position, text))
	}
	return s.write(string(text) + "\n")
}

func (s *stream) write(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.writes.SetWriteDeadline(time.Now().Add(streamWrite)) // the writers of tests have no deadlines
	if _, err := s.w.Write([]byte(text)); err != nil {
		return err
	}
	return s.writes.Flush()
}
