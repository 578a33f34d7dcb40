package notify

import (
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// deriver is a Deriver that calls a function of the test.
type deriver func(c *detect.Changes, v detect.View) (detect.Changes, error)

// Scope implements Deriver.
func (deriver) Scope(scope string) string { return "derived " + scope }

// Derive implements Deriver.
func (d deriver) Derive(c *detect.Changes, v detect.View) (detect.Changes, error) { return d(c, v) }

func quotaEvent(of detect.Event) detect.Event {
	return detect.Event{ID: nextID(), Type: detect.QuotaWarning, At: of.At, Upstream: of.Upstream, Repository: of.Repository, Tags: of.Tags,
		Quota: &detect.Quota{Project: "team", Limit: 100, Used: 90, Level: 85}}
}

// TestDerivedEvents: derived events are stored, planned and counted together with their cause. Each
// deriver sees the changes of the derivers before it, and the rows after the commit.
func TestDerivedEvents(t *testing.T) {
	s := newStore(t)
	out := NewOutbox(s, OutboxOptions{})
	out.Configure(compiled(t, hookNamed("w")))
	key := func(id string) detect.Key { return detect.Key{Kind: "k", ID: id} }
	row := func(id string) detect.Row { return detect.Row{Key: key(id), Value: []byte(id)} }
	s.rows[store.Key{Kind: "k", ID: "old"}] = store.Row{Key: store.Key{Kind: "k", ID: "old"}}
	s.rows[store.Key{Kind: "k", ID: "zold"}] = store.Row{Key: store.Key{Kind: "k", ID: "zold"}}
	var seen []string
	look := func(v detect.View) {
		rows, err := v.Scan("k", "", 0)
		if err != nil {
			t.Error(err)
		}
		seen = nil
		for _, r := range rows {
			_, ok, err := v.Get(r.Key)
			if !ok || err != nil {
				t.Errorf("%v: %v %v", r.Key, ok, err)
			}
			seen = append(seen, r.ID)
		}
		if _, ok, _ := v.Get(key("old")); ok {
			t.Error("found a deleted row")
		}
	}
	out.Derive(deriver(func(c *detect.Changes, v detect.View) (detect.Changes, error) {
		look(v)
		return detect.Changes{Events: []detect.Event{quotaEvent(c.Events[0])}, Put: []detect.Row{row("derived")}, Delete: []detect.Key{key("zold")}}, nil
	}), deriver(func(c *detect.Changes, v detect.View) (detect.Changes, error) {
		if len(c.Events) != 2 {
			t.Errorf("the second deriver sees %d events", len(c.Events))
		}
		look(v)
		return detect.Changes{}, nil
	}))
	err := out.Commit(t.Context(), "up/team/app", func(detect.View) (detect.Changes, error) {
		return detect.Changes{Events: []detect.Event{push("team/app", "v1")}, Put: []detect.Row{row("new")}, Delete: []detect.Key{key("old")}}, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"derived", "new"}; !slices.Equal(seen, want) {
		t.Errorf("rows %q, want %q", seen, want)
	}
	if len(s.events) != 2 || s.events[1].Type != string(detect.QuotaWarning) || len(s.deliveries) != 2 || s.deliveries[1].EventID != s.events[1].ID {
		t.Errorf("events %+v, deliveries %+v", s.events, s.deliveries)
	}
	if _, ok := s.rows[store.Key{Kind: "k", ID: "derived"}]; !ok || len(s.rows) != 2 {
		t.Errorf("rows %v", s.rows)
	}
}

// TestDeriverFails: only the events of the failed deriver are missing from the commit.
func TestDeriverFails(t *testing.T) {
	for name, fail := range map[string]deriver{
		"error": func(*detect.Changes, detect.View) (detect.Changes, error) {
			return detect.Changes{Put: []detect.Row{{Key: detect.Key{Kind: "k", ID: "half"}}}}, errors.New("no")
		},
		"panic": func(*detect.Changes, detect.View) (detect.Changes, error) { panic("no") },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			out := NewOutbox(s, OutboxOptions{})
			out.Configure(compiled(t, hookNamed("w")))
			out.Derive(fail, deriver(func(c *detect.Changes, _ detect.View) (detect.Changes, error) {
				return detect.Changes{Events: []detect.Event{quotaEvent(c.Events[0])}}, nil
			}))
			if err := out.Commit(t.Context(), "up/team/app", commits(push("team/app", "v1"))); err != nil {
				t.Fatal(err)
			}
			if len(s.events) != 2 || len(s.rows) != 0 {
				t.Errorf("events %+v, rows %v", s.events, s.rows)
			}
		})
	}
}

// unreadable is a transaction whose rows cannot be read.
type unreadable struct{ store.Tx }

var errUnreadable = errors.New("the disk is gone")

// Get implements store.Reader.
func (unreadable) Get(store.Key) (store.Row, bool, error) { return store.Row{}, false, errUnreadable }

// TestStoreFailsInDeriver: the commit fails if the store fails while a deriver reads.
func TestStoreFailsInDeriver(t *testing.T) {
	out := NewOutbox(newStore(t), OutboxOptions{})
	out.Derive(deriver(func(_ *detect.Changes, v detect.View) (detect.Changes, error) {
		_, _, err := v.Get(detect.Key{Kind: "k", ID: "x"})
		return detect.Changes{}, fmt.Errorf("deriving: %w", err)
	}))
	_, err := out.decide(unreadable{}, commits(push("team/app", "v1")))
	if refused := (refusal{}); !errors.Is(err, errUnreadable) || errors.As(err, &refused) {
		t.Errorf("got %v, want the store's error", err)
	}
}

// TestScopesOfACommit: a commit locks its own scope and those of the derivers.
func TestScopesOfACommit(t *testing.T) {
	out := NewOutbox(newStore(t), OutboxOptions{})
	if got := out.scopes("up/a"); !slices.Equal(got, []string{"up/a"}) {
		t.Errorf("got %q", got)
	}
	var called atomic.Bool
	out.Derive(deriver(func(*detect.Changes, detect.View) (detect.Changes, error) {
		called.Store(true)
		return detect.Changes{}, nil
	}))
	if got := out.scopes("up/a"); !slices.Equal(got, []string{"up/a", "derived up/a"}) {
		t.Errorf("got %q", got)
	}
	if got := out.scopes(""); len(got) > 0 {
		t.Errorf("a commit without a scope has %q", got)
	}
	if err := out.Commit(t.Context(), "up/a", func(detect.View) (detect.Changes, error) { return detect.Changes{}, nil }); err != nil || called.Load() {
		t.Errorf("an empty commit: %v, the deriver was called: %v", err, called.Load())
	}
}
