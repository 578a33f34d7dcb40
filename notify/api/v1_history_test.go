package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/danielgtaylor/huma/v2"
)

// recorder implements V1Events, V1Deliveries and V1Scanners. It records the queries.
type recorder struct {
	by       access.Principal
	events   manage.EventQuery
	found    manage.EventPage
	wanted   manage.DeliveryQuery
	dry      bool
	replayed string
	stream   chan detect.Event
	err      error
}

func (r *recorder) Events(_ context.Context, by access.Principal, q manage.EventQuery) (manage.EventPage, error) {
	r.by, r.events = by, q
	return r.found, r.err
}

func (r *recorder) Event(_ context.Context, by access.Principal, id string) (detect.Event, error) {
	r.by = by
	return detect.Event{ID: id, Type: detect.PushArtifact, Repository: "team/app", Tags: []string{"v1"}, Artifact: &detect.Artifact{}}, r.err
}

func (r *recorder) Newest(context.Context, access.Principal) (string, error) { return "newest", r.err }

func (r *recorder) CheckFollow(_ context.Context, by access.Principal, q manage.EventQuery) error {
	r.by, r.events = by, q
	return r.err
}

func (r *recorder) Follow(ctx context.Context, by access.Principal, q manage.EventQuery, each func(detect.Event, string) error) error {
	r.by, r.events = by, q
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case e, more := <-r.stream:
			if !more {
				return errors.New("the end")
			}
			if err := each(e, fmt.Sprint("at", e.Seq)); err != nil {
				return err
			}
		}
	}
}

func (r *recorder) EventBody(_ context.Context, _ access.Principal, id, format string) (manage.Body, error) {
	return manage.Body{ContentType: "text/plain", Text: id + " as " + format}, r.err
}

func (r *recorder) Explain(context.Context, access.Principal, string) ([]manage.Verdict, error) {
	return []manage.Verdict{{Webhook: manage.Ref{Number: 3, Key: "ci"}, Because: "match.tags", Value: "v1", Wanted: "[v2]",
		Deliveries: []manage.Delivery{{ID: 4, State: "dead"}}}}, r.err
}

func (r *recorder) Deliveries(_ context.Context, by access.Principal, q manage.DeliveryQuery) (manage.DeliveryPage, error) {
	r.by, r.wanted = by, q
	return manage.DeliveryPage{Deliveries: []manage.Delivery{{ID: 9, Webhook: manage.Ref{Number: 3, Key: "ci"}, State: "pending", Waits: "the circuit is open"}}, Next: "more"}, r.err
}

func (r *recorder) Delivery(_ context.Context, _ access.Principal, id int64) (manage.DeliveryDetail, error) {
	return manage.DeliveryDetail{Delivery: manage.Delivery{ID: id, State: "dead"}, Request: &manage.Request{Body: "{}"},
		Log: []manage.Attempt{{Status: 500, Latency: 1500 * time.Microsecond}}}, r.err
}

func (r *recorder) Count(_ context.Context, _ access.Principal, q manage.DeliveryQuery) (int, error) {
	r.wanted = q
	return 10_000, r.err
}

func (r *recorder) Redeliver(_ context.Context, by access.Principal, q manage.DeliveryQuery) (int, error) {
	r.by, r.wanted, r.dry = by, q, false
	return 5, r.err
}

func (r *recorder) Redeliverable(_ context.Context, _ access.Principal, q manage.DeliveryQuery) (int, error) {
	r.wanted, r.dry = q, true
	return 5, r.err
}

func (r *recorder) Replay(_ context.Context, _ access.Principal, number int64, since time.Time, plan bool) (manage.Replayed, error) {
	r.replayed = fmt.Sprint(number, since.Unix(), plan)
	return manage.Replayed{Events: 1, Deliveries: 2}, r.err
}

func (r *recorder) ReplayNamed(_ context.Context, _ access.Principal, name string, since time.Time, plan bool) (manage.Replayed, error) {
	r.replayed = fmt.Sprint(name, since.Unix(), plan)
	return manage.Replayed{Events: 1, Deliveries: 2}, r.err
}

func (r *recorder) ExplainScans(context.Context, *detect.Event) ([]V1ScanVerdict, error) {
	return []V1ScanVerdict{{Scanner: "trivy", Because: "match.repositories: it wants [secret/**]"}}, nil
}

func recording() (*recorder, http.Handler) {
	r := &recorder{stream: make(chan detect.Event, 10)}
	v := newV1()
	v.Events, v.Deliveries, v.Scanners = r, r, r
	return r, v.Handler()
}

func TestParametersOfEvents(t *testing.T) {
	r, h := recording()
	r.found = manage.EventPage{Events: []detect.Event{{ID: "a", Seq: 5, Type: detect.PushArtifact, Artifact: &detect.Artifact{}}}, Next: "n"}
	w := askV1(h, limited, "GET", "/events?type=PUSH_ARTIFACT&type=DELETE_TAG&project=team&repository={a,b}/**&tag=v*&operator=x&since=2026-01-02T03:04:05Z&limit=7", "")
	want := manage.EventQuery{Types: []string{"PUSH_ARTIFACT", "DELETE_TAG"}, Project: "team", Repositories: []string{"{a,b}/**"}, Tags: []string{"v*"}, Operators: []string{"x"},
		Since: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Limit: 7}
	if w.Code != 200 || !reflect.DeepEqual(r.events, want) || r.by.Name != limited.Name {
		t.Errorf("%d %s: %+v", w.Code, w.Body, r.events)
	}
	var page V1EventPage
	if err := json.Unmarshal(w.Body.Bytes(), &page); err != nil || len(page.Items) != 1 || page.Items[0].ID != "a" || page.Items[0].Seq != 0 || page.Next != "n" || page.Last != "newest" {
		t.Errorf("%v %s", err, w.Body)
	}
	if w := askV1(h, administrator, "GET", "/events", ""); !strings.Contains(w.Body.String(), `"seq":5,`) {
		t.Errorf("the administrator's answer has no seq: %s", w.Body)
	}
	for path, want := range map[string]string{
		"/events/x":                   `"id":"x"`,
		"/events/x/body?format=slack": `"text":"x as slack"`,
		"/events/x/explain":           `"webhook":"ci","webhook_number":3,"fires":false,"because":"match.tags","value":"v1","wanted":"[v2]","deliveries":[{"id":4`,
	} {
		if w := askV1(h, limited, "GET", path, ""); w.Code != 200 || !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	for who, want := range map[string]bool{limited.Name: false, administrator.Name: true} {
		by := map[string]access.Principal{limited.Name: limited, administrator.Name: administrator}[who]
		if w := askV1(h, by, "GET", "/events/x/explain", ""); strings.Contains(w.Body.String(), "secret/**") != want {
			t.Errorf("%s is shown what a scanner wants: %s", who, w.Body)
		}
	}
	for path, status := range map[string]int{
		"/events?limit=0": 422, "/events?limit=501": 422, "/events?limit=x": 422, "/events?since=today": 422, "/events?colour=red": 422,
		"/events/x/body": 422, "/events/stream?since=2026-01-02T03:04:05Z": 422, "/events/stream?after=" + strings.Repeat("x", 65): 422,
	} {
		if w := askV1(h, limited, "GET", path, ""); w.Code != status {
			t.Errorf("%s: %d %s, want %d", path, w.Code, w.Body, status)
		}
	}
}

func TestParametersOfDeliveries(t *testing.T) {
	r, h := recording()
	w := askV1(h, administrator, "GET", "/deliveries?id=1&id=2&webhook=ci&webhook_number=3&state=dead&state=pending&type=DELETE_TAG&project=p&repository=p/r&event=e&until=2026-01-02T03:04:05Z&cursor=c", "")
	want := manage.DeliveryQuery{IDs: []int64{1, 2}, Webhook: 3, WebhookKey: "ci", States: []string{"dead", "pending"}, Types: []string{"DELETE_TAG"}, Project: "p", Repository: "p/r", Event: "e",
		Until: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Cursor: "c", Limit: 50}
	if w.Code != 200 || !reflect.DeepEqual(r.wanted, want) || !strings.Contains(w.Body.String(), `"waits":"the circuit is open"`) || !strings.Contains(w.Body.String(), `"next":"more"`) {
		t.Errorf("%d %s: %+v", w.Code, w.Body, r.wanted)
	}
	for _, tc := range []struct {
		method, path, body string
		status             int
		want               string
	}{
		{"GET", "/deliveries/12", "", 200, `"log":[{"at":"0001-01-01T00:00:00Z","status":500,"milliseconds":1.5}]`},
		{"GET", "/deliveries/x", "", 422, ""},
		{"GET", "/deliveries?state=lost", "", 422, ""},
		{"GET", "/deliveries/count?state=dead", "", 200, `{"count":10000,"more":true}`},
		{"POST", "/deliveries/redeliver", `{"ids":[1,2]}`, 200, `{"count":5}`},
		{"POST", "/deliveries/redeliver", `{}`, 422, "give ids"},
		{"POST", "/deliveries/redeliver", `{"all":true,"dry_run":true}`, 200, `{"count":5}`},
		{"POST", "/deliveries/redeliver", `{"webhook":"ci","states":["parked"]}`, 422, ""},
		{"POST", "/deliveries/redeliver", `{"webhook":"ci","colour":"red"}`, 422, ""},
		{"POST", "/deliveries/redeliver", `{`, 400, ""},
		{"POST", "/replay", `{"webhook":"ci","since":"1970-01-01T00:00:09Z"}`, 200, `{"events":1,"deliveries":2}`},
		{"POST", "/replay", `{"webhook_number":3}`, 422, "since"},
	} {
		if w := askV1(h, administrator, tc.method, tc.path, tc.body); w.Code != tc.status || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s %s %s: %d %s, want %d %q", tc.method, tc.path, tc.body, w.Code, w.Body, tc.status, tc.want)
		}
	}
	if r.replayed != "ci9 true" {
		t.Errorf("replayed %q", r.replayed)
	}
}

func TestErrorsOfTheDesk(t *testing.T) {
	r, h := recording()
	for _, tc := range []struct {
		err    error
		status int
		says   string
	}{
		{fmt.Errorf("%w: there is no event", manage.ErrNotFound), 404, "there is no event"},
		{manage.ErrForbidden, 403, "forbidden"},
		{manage.ErrConflict, 409, "conflict"},
		{manage.Problems{{Field: "cursor", Message: "it is not a cursor of this query"}}, 422, `"location":"cursor"`},
		{errors.New("disk of db.example.com"), 500, "internal error"},
	} {
		r.err = tc.err
		for _, path := range []string{"/events", "/events/x", "/events/x/body?format=slack", "/events/x/explain", "/events/stream", "/deliveries", "/deliveries/1", "/deliveries/count"} {
			w := askV1(h, limited, "GET", path, "")
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.says) || strings.Contains(w.Body.String(), "db.example") {
				t.Errorf("%v at %s: %d %s", tc.err, path, w.Code, w.Body)
			}
			if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("%s: Content-Type %q", path, got)
			}
		}
	}
}

func TestStreams(t *testing.T) {
	for _, tc := range []struct {
		by     access.Principal
		accept string
		want   []string
	}{
		{administrator, "text/event-stream", []string{"id: at5", `data: {"seq":5,`, ""}},
		{administrator, "", []string{`{"seq":5,`, `{"seq":6,`, `{"seq":7,`}},
		{limited, "text/event-stream", []string{"id: at5", `data: {"`, ""}},
		{limited, "", []string{`{"schema`, `{"schema`, `{"schema`}}, // without seq, which counts the events of all projects
	} {
		accept, want := tc.accept, tc.want
		r, h := recording()
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { h.ServeHTTP(w, access.WithPrincipal(req, tc.by)) }))
		req, err := http.NewRequestWithContext(t.Context(), "GET", s.URL+V1Path+"/events/stream?after=there&project=team", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			r.stream <- detect.Event{ID: "a", Seq: int64(5 + i), Type: detect.PushArtifact, Artifact: &detect.Artifact{}}
		}
		lines := bufio.NewReader(resp.Body)
		for _, w := range want {
			if line, err := lines.ReadString('\n'); err != nil || !strings.HasPrefix(line, w) {
				t.Errorf("%q: got %q, want %q: %v", accept, line, w, err)
			}
		}
		if r.events.After != "there" || r.events.Project != "team" {
			t.Errorf("followed %+v", r.events)
		}
		close(r.stream)
		_ = resp.Body.Close()
		s.Close()
	}
}

// FuzzV1: no request of /api/v1 gets 500, whatever its query and body.
func FuzzV1(f *testing.F) {
	_, h := recording()
	for _, seed := range []string{"GET /events?type=x&limit=9", "GET /deliveries?id=1&state=dead", "POST /deliveries/redeliver?x=y {\"ids\":[1]}", "POST /replay {\"since\":\"x\"}", "GET /events/%2f/body?format=%00", "PUT /openapi.json"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, request string) {
		method, rest, _ := strings.Cut(request, " ")
		target, body, _ := strings.Cut(rest, " ")
		if strings.Contains(target, "stream") {
			return
		}
		r, err := http.NewRequest(method, "http://bellbuoy"+V1Path+target, strings.NewReader(body))
		if err != nil || r.Host != "bellbuoy" {
			return
		}
		r.Header.Set("Content-Type", "application/json")
		w := httptest.NewRecorder()
		h.ServeHTTP(w, access.WithPrincipal(r, limited))
		if w.Code >= 500 {
			t.Errorf("%q: %d %s", request, w.Code, w.Body)
		}
	})
}

// An account can open some streams, and all accounts together more; what ends makes room.
func TestStreamsAreBounded(t *testing.T) {
	var s streams
	status := func(account string) int {
		t.Helper()
		_, err := s.begin(account)
		refused, _ := errors.AsType[huma.StatusError](err)
		if refused == nil {
			return http.StatusOK
		}
		return refused.GetStatus()
	}
	end, err := s.begin("ann")
	if err != nil {
		t.Fatal(err)
	}
	for n := range streamsOf - 1 {
		if got := status("ann"); got != http.StatusOK {
			t.Fatalf("stream %d of ann: %d", n+2, got)
		}
	}
	if got := status("ann"); got != http.StatusTooManyRequests {
		t.Errorf("one too many of ann: %d", got)
	}
	for n := range mostStreams - streamsOf {
		if got := status(fmt.Sprint("account", n)); got != http.StatusOK {
			t.Fatalf("stream %d: %d", streamsOf+n+1, got)
		}
	}
	if got := status("jo"); got != http.StatusServiceUnavailable {
		t.Errorf("one too many of all: %d", got)
	}
	end()
	if got := status("jo"); got != http.StatusOK {
		t.Errorf("after one has ended: %d", got)
	}
}
