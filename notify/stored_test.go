package notify

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func makeStored(t *testing.T, w *Webhooks, project, name string) Stored {
	t.Helper()
	s, err := w.Make(t.Context(), Stored{Project: project, Name: name, Maker: "ops", Definition: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWebhooksOfTheStore(t *testing.T) {
	m := newMemory(t)
	here, there := NewWebhooks(m.replica("one")), NewWebhooks(m.replica("two"))
	first := makeStored(t, here, "team", "ci")
	if first.Number != 1 || first.Key != "team/ci#1" || first.Version != 1 || first.Made.IsZero() {
		t.Errorf("%+v", first)
	}
	if _, err := there.Make(t.Context(), Stored{Project: "team", Name: "ci"}); !errors.Is(err, ErrNameTaken) {
		t.Errorf("the name again, on another replica: %v", err)
	}
	if other := makeStored(t, there, "other", "ci"); other.Number != 2 {
		t.Errorf("%+v", other)
	}
	before, _ := there.Changes(t.Context())
	renamed, err := here.Change(t.Context(), 1, func(s *Stored) error { s.Name, s.Maker, s.Number = "cd", "thief", 9; return nil })
	if err != nil || renamed.Name != "cd" || renamed.Key != "team/ci#1" || renamed.Maker != "ops" || renamed.Version != 2 {
		t.Errorf("%+v %v", renamed, err)
	}
	if after, _ := there.Changes(t.Context()); after != before+1 {
		t.Errorf("the other replica sees %d changes after %d", after, before)
	}
	makeStored(t, there, "team", "ci") // the name is free again
	if _, err := here.Change(t.Context(), 3, func(s *Stored) error { s.Name = "cd"; return nil }); !errors.Is(err, ErrNameTaken) {
		t.Errorf("renamed to a taken name: %v", err)
	}
	refusal := errors.New("no")
	if err := here.Remove(t.Context(), 1, func(Stored) error { return refusal }); !errors.Is(err, refusal) {
		t.Error(err)
	}
	if err := here.Remove(t.Context(), 1, func(Stored) error { return nil }); err != nil {
		t.Error(err)
	}
	for name, err := range map[string]error{
		"change": func() error { _, err := here.Change(t.Context(), 1, func(*Stored) error { return nil }); return err }(),
		"remove": here.Remove(t.Context(), 1, func(Stored) error { return nil }),
	} {
		if !errors.Is(err, ErrNoWebhook) {
			t.Errorf("%s of a deleted webhook: %v", name, err)
		}
	}
	if s := makeStored(t, here, "team", "cd"); s.Number != 4 {
		t.Errorf("a number was assigned twice: %+v", s)
	}
	all, _, err := there.All(t.Context())
	if err != nil || len(all) != 3 || all[0].Key != "other/ci#2" || all[2].Key != "team/cd#4" {
		t.Errorf("%+v %v", all, err)
	}
	for key, want := range map[string]bool{"team/ci#1": true, "other/ci#2": false, "team/cd#4": false, "team/ci#99": false, "team/cd#1": false, "file": false, "file#1": false} {
		if gone, err := there.gone(t.Context(), key); err != nil || gone != want {
			t.Errorf("%s is gone: %t %v", key, gone, err)
		}
	}
}

func TestConcurrentChanges(t *testing.T) {
	m := newMemory(t)
	var group sync.WaitGroup
	for i := range 8 {
		w := NewWebhooks(m.replica(fmt.Sprint(i)))
		group.Go(func() { _, _ = w.Make(t.Context(), Stored{Project: "team", Name: fmt.Sprint(i / 2)}) })
	}
	group.Wait()
	all, changed, err := NewWebhooks(m.replica("z")).All(t.Context())
	if err != nil || len(all) != 4 || changed != 4 || all[3].Number != 4 {
		t.Errorf("%+v %d %v", all, changed, err)
	}
}

// TestDeletedWebhook: its pending and parked deliveries become dead letters. A new webhook of the
// same name gets none of them.
func TestDeletedWebhook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		webhooks := NewWebhooks(s)
		made := makeStored(t, webhooks, "team", "ci")
		failing := &sink{answer: fails(500, webhook.Retry, 0)}
		r := newRigWith(t, s, DispatcherOptions{Replica: s.id, Webhooks: webhooks}, to(made.Key, failing), to("file", failing))
		defer r.stop()
		r.commit(push("team/app", "1"))
		synctest.Wait()
		r.configure(to("file", failing)) // the set lacks it, but the store does not: the file may have taken its name
		time.Sleep(2 * time.Minute)
		if r.states() != "parked pending" {
			t.Fatal(r.states())
		}
		if err := webhooks.Remove(t.Context(), made.Number, func(Stored) error { return nil }); err != nil {
			t.Fatal(err)
		}
		again := makeStored(t, webhooks, "team", "ci")
		got := &sink{}
		r.configure(to("file", failing), to(again.Key, got))
		time.Sleep(2 * time.Minute)
		if r.states() != "dead pending" || got.count() != 0 {
			t.Errorf("%s, and the new one got %d", r.states(), got.count())
		}
	})
}

// TestProjectOfAWebhook: a webhook of a project gets no event of another project or of none,
// whatever its filter says.
func TestProjectOfAWebhook(t *testing.T) {
	limited := Webhook{Name: "w", Enabled: true, Format: plain{}, Poster: &receiver{}, Events: []string{"*"}, Project: "team", Match: Match{Projects: []string{"**"}}}
	s := compiled(t, limited, to("all", &sink{}, func(w *Webhook) { w.Events = []string{"*"} }))
	for name, tt := range map[string]struct {
		event detect.Event
		fires bool
	}{
		"its own":           {push("team/app", "v1"), true},
		"its chart":         {upload("team", "demo", "1.0.0"), true},
		"another's":         {push("other/app", "v1"), false},
		"a longer name":     {push("teams/app", "v1"), false},
		"without a project": {detect.Event{ID: "q", Type: detect.QuotaWarning, Upstream: "registry"}, false},
		"its replication":   {detect.Event{ID: "r", Type: detect.Replication, Replication: &detect.ReplicationRun{Destination: detect.Endpoint{Namespace: "team"}}}, true},
	} {
		planned := s.Plan(&tt.event)
		if fires := slices.ContainsFunc(planned, func(d store.Delivery) bool { return d.Webhook == "w" }); fires != tt.fires {
			t.Errorf("%s: %t", name, fires)
		}
		if v := s.Explain(tt.event)[0]; v.Fires != tt.fires || !tt.fires && v.Because != "match.projects" {
			t.Errorf("%s: %+v", name, v)
		}
	}
}

func TestNumbers(t *testing.T) {
	m := newMemory(t)
	s := m.replica("one")
	n := NewNumbers(s, zap.NewNop())
	hash := format.Number("project/team")
	if found, err := n.Find(t.Context(), "team"); err != nil || found != hash || n.Project("team") != hash {
		t.Errorf("%d %v", found, err)
	}
	if all, err := n.Projects(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("Project and Find have stored %v (%v)", all, err)
	}
	// Another name has the number already.
	taken := store.Row{Key: numberedKey(hash), Value: []byte("project/other")}
	if err := s.Update(t.Context(), nil, func(tx store.Tx) error { tx.Put(taken); return nil }); err != nil {
		t.Fatal(err)
	}
	if err := n.GiveProjects(t.Context(), "team", "a"); err != nil || n.Project("team") != hash+1 {
		t.Errorf("%d %v", n.Project("team"), err)
	}
	after := NewNumbers(m.replica("two"), zap.NewNop()) // a restart
	if err := after.GiveProjects(t.Context(), "team"); err != nil || after.Project("team") != hash+1 {
		t.Errorf("%d %v", after.Project("team"), err)
	}
	if project, err := after.ProjectOf(t.Context(), hash+1); err != nil || project != "team" {
		t.Errorf("%q %v", project, err)
	}
	if err := n.GiveWebhooks(t.Context(), "team"); err != nil || n.Webhook("team") == n.Project("team") || n.Webhook("team/ci#7") != 7 {
		t.Errorf("%d %v", n.Webhook("team"), err)
	}
	if project, err := n.ProjectOf(t.Context(), n.Webhook("team")); err != nil || project != "" {
		t.Errorf("a webhook's number is that of project %q (%v)", project, err)
	}
	webhooks := NewWebhooks(s)
	if err := s.Update(t.Context(), nil, func(tx store.Tx) error {
		tx.Put(store.Row{Key: numberedKey(1), Value: []byte("webhook/x")})
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if made := makeStored(t, webhooks, "team", "ci"); made.Number != 2 {
		t.Errorf("%+v", made)
	}
}

func TestNumbersOfSeenProjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore(t)
		n := NewNumbers(s, zap.NewNop())
		out := NewOutbox(s, OutboxOptions{Numbers: n})
		go n.Run(t.Context())
		if err := out.Commit(t.Context(), "x", commits(push("team/app", "1"), push("nginx", "1"))); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		if all, err := n.Projects(t.Context()); err != nil || !slices.Equal(slices.Sorted(maps.Keys(all)), []string{"library", "team"}) || all["team"] != n.Project("team") {
			t.Errorf("%v %v", all, err)
		}
	})
}
