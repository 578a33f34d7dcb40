package notify

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// TestReplay: a webhook gets the matching events that were recorded before it existed, once, the
// oldest first. Other webhooks get nothing again.
func TestReplay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, late := &sink{}, &sink{}
		r := newRig(t, newStore(t), to("old", old))
		defer r.stop()
		r.commit(push("team/early", "v1"))
		time.Sleep(time.Hour)
		since := time.Now()
		for i := range 700 {
			r.commit(push(fmt.Sprint("team/app", i), "v1", "latest"))
			r.commit(push(fmt.Sprint("other/app", i), "v1"))
		}
		r.configure(to("old", old), to("late", late, func(w *Webhook) { w.Concurrency, w.Match.Projects = 1, []string{"team"} }),
			to("off", late, func(w *Webhook) { w.Enabled = false }))
		r.commit(push("team/new", "v1"))
		time.Sleep(time.Minute)
		before := old.count()

		got, err := r.dispatcher.Replay(t.Context(), "late", since, false)
		if err != nil || got != (Replayed{700, 1400}) || late.count() != 1 {
			t.Fatalf("counted %+v, %v; %d posts", got, err, late.count())
		}
		if got, err = r.dispatcher.Replay(t.Context(), "late", since, true); err != nil || got != (Replayed{700, 1400}) {
			t.Fatalf("%+v, %v", got, err)
		}
		time.Sleep(time.Minute)
		posts := late.all()
		if len(posts) != 1401 || old.count() != before {
			t.Fatalf("%d posts, and %d again to the other", len(posts), old.count()-before)
		}
		for i := 1; i < 1400; i++ {
			if eventNumber(t, posts[i+1].id) < eventNumber(t, posts[i].id) {
				t.Fatalf("%s after %s", posts[i+1].id, posts[i].id)
			}
		}
		if got, err = r.dispatcher.Replay(t.Context(), "late", since, true); err != nil || got != (Replayed{}) {
			t.Errorf("a second time: %+v, %v", got, err)
		}
		if _, err := r.dispatcher.Replay(t.Context(), "nobody", since, true); !errors.Is(err, ErrNoWebhook) {
			t.Error(err)
		}
		if _, err := r.dispatcher.Replay(t.Context(), "off", since, true); !errors.Is(err, ErrNotEnabled) {
			t.Error(err)
		}
	})
}

// TestReplayKeepsToTypes: events of types that the webhook does not want are not read.
func TestReplayKeepsToTypes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &sink{}
		r := newRig(t, newStore(t))
		defer r.stop()
		r.commit(push("team/app", "v1"), with(push("team/app", "v1"), func(e *detect.Event) { e.Type = detect.DeleteTag }))
		r.configure(to("w", s, func(w *Webhook) { w.Events = []string{"DELETE_TAG"} }))
		if got, err := r.dispatcher.Replay(t.Context(), "w", time.Time{}, true); err != nil || got != (Replayed{1, 1}) {
			t.Errorf("%+v, %v", got, err)
		}
	})
}
