package manage

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

var (
	team    = access.Principal{Name: "team", Projects: []string{"team"}}
	teams   = access.Principal{Name: "teams", Projects: []string{"tea?", "x*"}} // globs
	nobody  access.Principal
	hookOf  = map[string][]string{"all": nil, "team-ci": {"team"}, "ops-ci": {"ops"}, "both": {"team", "ops"}}
	ctx     = context.Background()
	pushes  = 12
	project = []string{"team", "ops", "library"}
)

// history is a desk with a store on disk. The store has pushes to three projects in turn, and the
// deliveries that are planned of them. Nothing is sent.
type history struct {
	*Desk
	outbox *notify.Outbox
	store  *sqlite.Store
	events []detect.Event // oldest first
}

func newHistory(t testing.TB) *history {
	t.Helper()
	s, err := sqlite.Open(ctx, sqlite.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	outbox := notify.NewOutbox(s, notify.OutboxOptions{})
	dispatcher := notify.NewDispatcher(s, outbox, notify.DispatcherOptions{Replica: "one"})
	numbers, stored := notify.NewNumbers(s, zap.NewNop()), notify.NewWebhooks(s)
	running := NewRunning(stored, func(set *notify.Set) { outbox.Configure(set); dispatcher.Configure(set) }, zap.NewNop())
	h := &history{NewDesk(Parts{Running: running, Stored: stored, Dispatcher: dispatcher, Numbers: numbers, Cursors: NewCursors(s), Log: zap.NewNop()}), outbox, s, nil}
	var hooks []*Hook
	for _, name := range []string{"all", "team-ci", "ops-ci", "both"} {
		hooks = append(hooks, hookNamed(t, name, hookOf[name]))
	}
	if err := running.Use(ctx, &Configuration{Enabled: true, Hooks: hooks}); err != nil {
		t.Fatal(err)
	}
	for i := range pushes {
		h.push(t, fmt.Sprintf("%s/app%d", project[i%3], i%2), fmt.Sprint("v", i))
	}
	return h
}

func hookNamed(t testing.TB, name string, projects []string) *Hook {
	t.Helper()
	const address = "https://ci.example.com/hooks/s3cret-in-path"
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	client, err := webhook.New(webhook.Options{URL: u.String(), AuthHeader: "Bearer s3cret"})
	if err != nil {
		t.Fatal(err)
	}
	f, err := format.New("harbor", name, format.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &Hook{
		Webhook: notify.Webhook{Name: name, Enabled: true, Events: []string{"*"}, Match: notify.Match{Projects: projects}, Format: f, Poster: client},
		Client:  client, URL: address, Source: "bellbuoy.yaml:1",
		Complete: Definition{Name: name, URL: "https://ci.example.com/***", Match: Filter{Projects: projects}},
	}
}

var pushed int

func (h *history) push(t testing.TB, repository, tag string) detect.Event {
	t.Helper()
	pushed++
	e := detect.Event{ID: fmt.Sprintf("01a21fe2-db06-73dd-bfb2-%012d", pushed), Type: detect.PushArtifact, At: time.Now(), Upstream: "registry", Repository: repository, Tags: []string{tag},
		Digest: "sha256:1", Artifact: &detect.Artifact{Kind: detect.Image}, Client: detect.Client{Operator: "alice"}}
	if tag == "" {
		e.Type, e.Tags = detect.DeleteArtifact, []string{"old"}
	}
	if err := h.outbox.Commit(ctx, "registry", func(detect.View) (detect.Changes, error) { return detect.Changes{Events: []detect.Event{e}}, nil }); err != nil {
		t.Fatal(err)
	}
	h.events = append(h.events, e)
	return e
}

// inScope lists the projects and webhooks that each account sees.
var inScope = []struct {
	by       access.Principal
	projects []string
	webhooks []string
}{
	{ops, project, []string{"all", "team-ci", "ops-ci", "both"}},
	{team, []string{"team"}, []string{"team-ci"}},
	{teams, []string{"team"}, []string{"team-ci"}},
	{access.Principal{Name: "two", Projects: []string{"team", "ops"}}, []string{"team", "ops"}, []string{"team-ci", "ops-ci", "both"}},
	{guest, nil, nil},
}

// everyEvent returns the ids of all pages of a query.
func (h *history) everyEvent(t testing.TB, by access.Principal, q EventQuery) (ids []string) {
	t.Helper()
	for range 100 {
		page, err := h.Events(ctx, by, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range page.Events {
			ids = append(ids, e.ID)
		}
		if page.Next == "" {
			return ids
		}
		q.Cursor = page.Next
	}
	t.Fatal("the pages do not end")
	return nil
}

func (h *history) everyDelivery(t testing.TB, by access.Principal, q DeliveryQuery) (all []Delivery) {
	t.Helper()
	for range 100 {
		page, err := h.Deliveries(ctx, by, q)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Deliveries...)
		if page.Next == "" {
			return all
		}
		q.Cursor = page.Next
	}
	t.Fatal("the pages do not end")
	return nil
}

func TestEventsInScope(t *testing.T) {
	h := newHistory(t)
	for _, who := range inScope {
		var want []string
		for _, e := range slices.Backward(h.events) {
			sees := slices.Contains(who.projects, notify.ProjectOf(&e))
			if sees {
				want = append(want, e.ID)
			}
			for method, err := range map[string]error{
				"Event":     second(h.Event(ctx, who.by, e.ID)),
				"EventBody": second(h.EventBody(ctx, who.by, e.ID, "harbor")),
				"Explain":   second(h.Explain(ctx, who.by, e.ID)),
			} {
				if sees != (err == nil) || !sees && !errors.Is(err, ErrNotFound) {
					t.Errorf("%s of %s by %s: %v", method, e.Repository, who.by.Name, err)
				}
			}
		}
		for _, limit := range []int{1, 3, 0} {
			if got := h.everyEvent(t, who.by, EventQuery{Limit: limit}); !slices.Equal(got, want) {
				t.Errorf("events of %s by %d: %v, want %v", who.by.Name, limit, got, want)
			}
		}
		verdicts, err := h.Explain(ctx, ops, h.events[0].ID)
		if err != nil || len(verdicts) != len(hookOf) {
			t.Errorf("explained %d, %v", len(verdicts), err)
		}
		for _, p := range []string{"team", "ops", "other"} {
			for _, id := range h.everyEvent(t, who.by, EventQuery{Project: p}) {
				if e, err := h.Event(ctx, ops, id); err != nil || notify.ProjectOf(&e) != p || !slices.Contains(who.projects, p) {
					t.Errorf("%s sees %s by the project %s: %v", who.by.Name, e.Repository, p, err)
				}
			}
		}
	}
	verdicts, err := h.Explain(ctx, team, h.events[0].ID)
	if err != nil || len(verdicts) != 1 || verdicts[0].Webhook.Key != "team-ci" || len(verdicts[0].Deliveries) != 1 {
		t.Errorf("team is explained %+v, %v", verdicts, err)
	}
	if _, err := h.Events(ctx, nobody, EventQuery{}); !errors.Is(err, ErrForbidden) {
		t.Errorf("nobody lists events: %v", err)
	}
	if _, err := h.Deliveries(ctx, nobody, DeliveryQuery{}); !errors.Is(err, ErrForbidden) {
		t.Errorf("nobody lists deliveries: %v", err)
	}
}

func second[T any](_ T, err error) error { return err }

func TestEventFilters(t *testing.T) {
	h := newHistory(t)
	gone := h.push(t, "team/app0", "")
	for name, tc := range map[string]struct {
		q    EventQuery
		want func(*detect.Event) bool
	}{
		"a type":       {EventQuery{Types: []string{"DELETE_ARTIFACT"}}, func(e *detect.Event) bool { return e.ID == gone.ID }},
		"a repository": {EventQuery{Repositories: []string{"team/*0"}}, func(e *detect.Event) bool { return e.Repository == "team/app0" }},
		"a tag":        {EventQuery{Tags: []string{"v1*"}}, func(e *detect.Event) bool { return strings.HasPrefix(e.Tags[0], "v1") }},
		"an operator":  {EventQuery{Operators: []string{"bob"}}, func(*detect.Event) bool { return false }},
		"an upstream":  {EventQuery{Upstream: "other"}, func(*detect.Event) bool { return false }},
		"a time":       {EventQuery{Since: h.events[4].At}, func(e *detect.Event) bool { return !e.At.Before(h.events[4].At) }},
	} {
		var want []string
		for _, e := range slices.Backward(h.events) {
			if tc.want(&e) {
				want = append(want, e.ID)
			}
		}
		tc.q.Limit = 2
		if got := h.everyEvent(t, ops, tc.q); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

func TestQueriesAreChecked(t *testing.T) {
	h := newHistory(t)
	field := func(err error) string {
		problems, ok := errors.AsType[Problems](err)
		if !ok {
			return fmt.Sprint(err)
		}
		return problems[0].Field
	}
	for want, q := range map[string]EventQuery{
		"type[1]": {Types: []string{"PUSH_ARTIFACT", "PUSH"}}, "limit": {Limit: 501}, "repository[0]": {Repositories: []string{"["}},
		"tag[0]": {Tags: []string{"{"}}, "operator[0]": {Operators: []string{"["}}, "cursor": {Cursor: "AAAA"},
	} {
		_, err := h.Events(ctx, ops, q)
		if got := field(err); got != want {
			t.Errorf("%+v: %s, want %s", q, got, want)
		}
		if want == "cursor" {
			continue
		}
		if got := field(h.Follow(ctx, ops, q, nil)); got != want {
			t.Errorf("following %+v: %s, want %s", q, got, want)
		}
	}
	for want, q := range map[string]DeliveryQuery{
		"state[0]": {States: []string{"lost"}}, "type[0]": {Types: []string{"PUSH"}}, "limit": {Limit: -1}, "cursor": {Cursor: "=="}, "id": {IDs: make([]int64, MostIDs+1)},
	} {
		if got := field(second(h.Deliveries(ctx, ops, q))); got != want {
			t.Errorf("%+v: %s, want %s", q, got, want)
		}
	}
	if got := field(second(h.Redeliver(ctx, ops, DeliveryQuery{States: []string{"parked"}}))); got != "state" {
		t.Errorf("redelivering parked ones: %s", got)
	}
	if got := field(second(h.EventBody(ctx, ops, h.events[0].ID, "none"))); got != "format" {
		t.Errorf("an unknown format: %s", got)
	}
}

// TestCursorsAreForOneQuery: a cursor is valid for one query and one scope.
func TestCursorsAreForOneQuery(t *testing.T) {
	h := newHistory(t)
	page, err := h.Events(ctx, ops, EventQuery{Limit: 2})
	if err != nil || page.Next == "" {
		t.Fatal(page, err)
	}
	forged := []byte(page.Next)
	forged[len(forged)-1] ^= 1
	for name, try := range map[string]func() error{
		"its own query": func() error { return second(h.Events(ctx, ops, EventQuery{Cursor: page.Next, Limit: 5})) },
		"another filter": func() error {
			return second(h.Events(ctx, ops, EventQuery{Cursor: page.Next, Types: []string{"PUSH_ARTIFACT"}}))
		},
		"another account": func() error { return second(h.Events(ctx, team, EventQuery{Cursor: page.Next})) },
		"deliveries":      func() error { return second(h.Deliveries(ctx, ops, DeliveryQuery{Cursor: page.Next})) },
		"forged":          func() error { return second(h.Events(ctx, ops, EventQuery{Cursor: string(forged)})) },
		"more":            func() error { return second(h.Events(ctx, ops, EventQuery{Cursor: page.Next + "AA"})) },
		"none":            func() error { return second(h.Events(ctx, ops, EventQuery{Cursor: "x"})) },
	} {
		if err := try(); (name == "its own query") != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPagesShowNothingOfOthers: a limited account gets all events of its projects, and cannot tell
// from cursors and pages how much happens in others.
func TestPagesShowNothingOfOthers(t *testing.T) {
	h := newHistory(t)
	var others []detect.Event
	for i := range mostDecoded + 50 {
		others = append(others, detect.Event{ID: fmt.Sprintf("01a21fe2-db06-73dd-bfb3-%012d", i), Type: detect.PushArtifact, At: time.Now(), Upstream: "registry", Repository: "ops/app",
			Tags: []string{"v1"}, Artifact: &detect.Artifact{Kind: detect.Image}})
	}
	if err := h.outbox.Commit(ctx, "registry", func(detect.View) (detect.Changes, error) { return detect.Changes{Events: others}, nil }); err != nil {
		t.Fatal(err)
	}
	page, err := h.Events(ctx, teams, EventQuery{})
	if err != nil || !page.Searched || len(page.Events) > 0 || page.Next == "" || !page.LookedTo.IsZero() {
		t.Errorf("%v: %+v", err, page)
	}
	again, err := h.Events(ctx, teams, EventQuery{})
	if err != nil || again.Next == page.Next {
		t.Errorf("%v: equal cursors show that nothing happened meanwhile", err)
	}
	if n := len(h.everyEvent(t, teams, EventQuery{})); n != pushes/3 {
		t.Errorf("the pages have %d events, want %d", n, pushes/3)
	}
	if page, err := h.Events(ctx, ops, EventQuery{Repositories: []string{"team/*"}}); err != nil || !page.Searched || page.LookedTo.IsZero() {
		t.Errorf("an administrator's page: %v: %+v", err, page)
	}
	one, err := h.Newest(ctx, team)
	two, err2 := h.Newest(ctx, team)
	if err != nil || err2 != nil || one == two {
		t.Errorf("positions of the newest event: %q and %q; %v, %v", one, two, err, err2)
	}
	for _, cursor := range []string{page.Next, again.Next, one, two} {
		if raw, err := base64.RawURLEncoding.DecodeString(cursor); err != nil || len(raw) != cursorSize || bytes.HasPrefix(raw, make([]byte, 5)) {
			t.Errorf("%x: %v", raw, err)
		}
	}
}

// TestPositions: a stream can continue at a position on another replica. A position is no cursor of
// a list.
func TestPositions(t *testing.T) {
	h := newHistory(t)
	from, err := h.Newest(ctx, team)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		h.push(t, "team/app", "p")
		h.push(t, "ops/app", "p")
	}
	enough := errors.New("enough")
	for n, after := 3, from; n > 0; n-- {
		h.Desk.Cursors = NewCursors(h.store) // of another replica
		left := 0
		err := h.Follow(ctx, team, EventQuery{After: after}, func(_ detect.Event, position string) error {
			if left++; left == 1 {
				after = position
			}
			if left == n {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) {
			t.Fatalf("%d events after a position: %v", left, err)
		}
	}
	for _, wrong := range []string{"4711", "AAAA", from + "A"} {
		if err := h.CheckFollow(ctx, team, EventQuery{After: wrong}); !strings.HasPrefix(fmt.Sprint(err), "after: ") {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if err := h.CheckFollow(ctx, team, EventQuery{After: from}); err != nil {
		t.Error(err)
	}
	if _, err := h.Events(ctx, team, EventQuery{Cursor: from}); err == nil {
		t.Error("a list accepts a position as its cursor")
	}
}

func TestFollowInScope(t *testing.T) {
	h := newHistory(t)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, who := range inScope {
		if len(who.projects) == 0 {
			continue
		}
		after, err := h.Newest(ctx, who.by)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		done := make(chan error, 1)
		enough := errors.New("enough")
		go func() {
			done <- h.Follow(ctx, who.by, EventQuery{Tags: []string{"f*", "end"}, After: after}, func(e detect.Event, _ string) error {
				if got = append(got, e.Repository); e.Tags[0] == "end" {
					return enough
				}
				return nil
			})
		}()
		var want []string
		for i := range 9 {
			tag := "f"
			if i > 5 {
				tag = "end"
			}
			if i%2 == 1 {
				h.push(t, project[i%3]+"/quiet", "other")
			}
			h.push(t, project[i%3]+"/new", tag)
			ended := len(want) > 0 && strings.HasSuffix(want[len(want)-1], "!")
			if slices.Contains(who.projects, project[i%3]) && !ended {
				want = append(want, project[i%3]+"/new"+map[string]string{"f": "", "end": "!"}[tag])
			}
		}
		if err := <-done; !errors.Is(err, enough) {
			t.Fatalf("%s: %v", who.by.Name, err)
		}
		for i := range want {
			want[i] = strings.TrimSuffix(want[i], "!")
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s follows %v, want %v", who.by.Name, got, want)
		}
	}
	if err := h.Follow(ctx, nobody, EventQuery{}, nil); !errors.Is(err, ErrForbidden) {
		t.Errorf("nobody follows: %v", err)
	}
}
