package notify

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// waitOf returns what a delivery waits for, and for how long.
func (r *rig) waitOf(id int) string {
	r.t.Helper()
	waits, err := r.dispatcher.Waits(r.t.Context())
	if err != nil {
		r.t.Fatal(err)
	}
	w := waits(r.delivery(id))
	if w.Until.IsZero() {
		return w.For
	}
	if !w.Until.After(time.Now()) {
		r.t.Errorf("delivery %d waits for %s until %v, which is past", id, w.For, w.Until)
	}
	return fmt.Sprint(w.For, " until later")
}

func TestWaits(t *testing.T) {
	silent := func(ctx context.Context, _ webhook.Message) webhook.Result {
		<-ctx.Done()
		return webhook.Result{Outcome: webhook.Retry}
	}
	for name, tc := range map[string]struct {
		answer func(context.Context, webhook.Message) webhook.Result
		with   func(*Webhook)
		do     func(*rig)
		pushes int
		want   string // of the last delivery
	}{
		"an open circuit":         {answer: fails(500, webhook.Retry, 0), pushes: 20, want: WaitCircuit + " until later"},
		"a Retry-After":           {answer: fails(429, webhook.Retry, time.Hour), pushes: 20, want: WaitAsked + " until later"},
		"its own retry":           {answer: fails(500, webhook.Retry, 0), pushes: 1, want: WaitRetry + " until later"},
		"a rate limit":            {with: func(w *Webhook) { w.RateLimit = 0.001 }, pushes: 3, want: WaitRate},
		"an answer":               {answer: silent, pushes: 1, want: WaitAnswer},
		"others":                  {answer: silent, pushes: 3, want: WaitTurn},
		"the order of its tag":    {answer: silent, with: func(w *Webhook) { w.Concurrency = 8 }, pushes: -2, want: WaitOrder},
		"a command":               {answer: fails(500, webhook.Retry, 0), pushes: 1, do: func(r *rig) { _ = r.dispatcher.Disable(r.t.Context(), "w") }, want: WaitDisabled},
		"a 410":                   {answer: fails(410, webhook.Gone, 0), pushes: 2, want: WaitGone},
		"removed from the file":   {answer: fails(500, webhook.Retry, 0), pushes: 1, do: func(r *rig) { r.configure() }, want: WaitRemoved},
		"not enabled in the file": {answer: fails(500, webhook.Retry, 0), pushes: 1, do: func(r *rig) { r.configure(to("w", &sink{}, func(w *Webhook) { w.Enabled = false })) }, want: WaitNotEnabled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &sink{answer: tc.answer}
				with := tc.with
				if with == nil {
					with = func(w *Webhook) { w.Concurrency = 1 }
				}
				r := newRig(t, newStore(t), to("w", s, with))
				defer r.stop()
				last := tc.pushes
				for i := range max(tc.pushes, -tc.pushes) {
					repository := fmt.Sprint("team/app", i)
					if tc.pushes < 0 {
						repository, last = "team/app", -tc.pushes
					}
					r.commit(push(repository, "v1"))
				}
				synctest.Wait()
				if tc.do != nil {
					tc.do(r)
					synctest.Wait()
				}
				if got := r.waitOf(last); got != tc.want {
					t.Errorf("got %q, want %q", got, tc.want)
				}
			})
		})
	}
}
