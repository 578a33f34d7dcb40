package notify

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// chat returns a webhook that groups events into messages of plain text.
func chat(t *testing.T, s Poster) Webhook {
	t.Helper()
	f, err := format.New("template", "chat", format.Options{ContentType: "text/plain", Template: `{{range .events}}{{index .tags 0}} {{end}}+{{.more}}`})
	if err != nil {
		t.Fatal(err)
	}
	return to("chat", s, func(w *Webhook) { w.Format, w.Group = f, Group{Wait: 30 * time.Second, Most: 20} })
}

func tags(from, to int) string {
	var out strings.Builder
	for i := from; i < to; i++ {
		fmt.Fprintf(&out, "t%d ", i)
	}
	return out.String()
}

func TestGroup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := newRig(t, newStore(t), chat(t, s))
		defer r.stop()
		begun := time.Now()
		for i := range 40 {
			r.commit(push("team/app", fmt.Sprint("t", i)))
			time.Sleep(100 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		got := s.all()
		if len(got) != 2 || got[0].body != tags(0, 1)+"+0" || got[1].body != tags(1, 21)+"+19" || strings.Contains(r.states(), "pending") {
			t.Fatalf("%+v %s", got, r.states())
		}
		if first, second := got[0].at.Sub(begun), got[1].at.Sub(begun); first > 0 || second != 30*time.Second {
			t.Errorf("sent after %v and %v", first, second)
		}
		r.commit(push("team/app", "later")) // long after: at once, alone
		synctest.Wait()
		if got := s.all(); len(got) != 3 || got[2].body != "later +0" || got[2].id == got[1].id {
			t.Errorf("%+v", got)
		}
	})
}

func TestGroupKeepsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		kept := newStore(t)
		r := newRig(t, kept, chat(t, s))
		r.commit(push("team/app", "t0"))
		synctest.Wait()
		s.set(fails(503, webhook.Retry, 0))
		for i := range 5 {
			r.commit(push("team/app", fmt.Sprint("t", i+1)))
		}
		time.Sleep(31 * time.Second)
		if got := s.all(); len(got) != 2 || got[1].body != tags(1, 6)+"+0" {
			t.Fatalf("%+v", got)
		}
		l := r.dispatcher.laneOf("chat")
		l.mu.Lock()
		failures := l.circuit.failures
		l.mu.Unlock()
		if failures != 1 {
			t.Error("a message of five events counts as more than one failure")
		}
		r.stop() // the five are pending, and durable
		s.set(nil)
		r = newRig(t, kept, chat(t, s))
		defer r.stop()
		time.Sleep(time.Minute)
		got := s.all()
		if last := got[len(got)-1]; len(got) != 3 || last.body != tags(1, 6)+"+0" || last.id != got[1].id || strings.Contains(r.states(), "pending") {
			t.Errorf("%+v %s", got, r.states())
		}
	})
}

func TestGroupWithoutUnrenderable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := newRig(t, newStore(t), chat(t, s))
		defer r.stop()
		r.commit(push("team/app", "t0"))
		synctest.Wait()
		r.commit(push("team/app", "t1"), push("team/app"), push("team/app", "t2")) // the template asks for a tag
		time.Sleep(time.Minute)
		if got := s.all(); len(got) != 2 || got[1].body != "t1 t2 +0" || r.states() != "delivered delivered dead delivered" {
			t.Errorf("%+v %s", got, r.states())
		}
	})
}

func TestGroupOfManyIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := newRig(t, newStore(t), chat(t, s))
		defer r.stop()
		r.commit(push("team/app", "first"))
		synctest.Wait()
		for i := range 700 {
			r.commit(push("team/app", fmt.Sprint("t", i)))
		}
		time.Sleep(5 * time.Minute)
		got := s.all()
		if len(got) != 3 || got[1].body != tags(0, 20)+"+480" || got[2].body != tags(500, 520)+"+180" {
			t.Errorf("%d messages: %+v", len(got), got)
		}
	})
}

type posterFunc func(webhook.Message) webhook.Result

func (f posterFunc) Post(_ context.Context, m webhook.Message) webhook.Result { return f(m) }

func TestPlaceholderTagSendsOnePostPerTag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var values []string
		post := posterFunc(func(m webhook.Message) webhook.Result {
			mu.Lock()
			defer mu.Unlock()
			values = append(values, m.ID[len(m.ID)-2:]+" "+m.Values["tag"]+" "+m.Values["repository"])
			if len(values) == 1 {
				return webhook.Result{Status: 503, Outcome: webhook.Retry}
			}
			return ok200()
		})
		r := newRig(t, newStore(t), to("w", post, func(w *Webhook) { w.Placeholders, w.Concurrency = []string{"tag", "repository"}, 1 }))
		defer r.stop()
		r.commit(push("team/app", "a", "b"))
		time.Sleep(time.Minute)
		mu.Lock()
		defer mu.Unlock()
		if got := strings.Join(values, ", "); got != "_1 a team/app, _2 b team/app, _1 a team/app" {
			t.Error(got)
		}
		if e := push("team/app", "x"); format.Values(e, 0)["type"] != string(detect.PushArtifact) {
			t.Error(format.Values(e, 0))
		}
	})
}
