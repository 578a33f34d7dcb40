package manage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func TestDeliveriesInScope(t *testing.T) {
	h := newHistory(t)
	everything := h.everyDelivery(t, ops, DeliveryQuery{})
	if want := pushes + pushes/3 + pushes/3 + 2*pushes/3; len(everything) != want {
		t.Fatalf("%d deliveries, want %d", len(everything), want)
	}
	for _, who := range inScope {
		var want []int64
		for _, d := range everything {
			sees := slices.Contains(who.webhooks, d.Webhook.Key)
			if sees {
				want = append(want, d.ID)
			}
			_, err := h.Delivery(ctx, who.by, d.ID)
			if sees != (err == nil) || !sees && !errors.Is(err, ErrNotFound) {
				t.Errorf("delivery of %s by %s: %v", d.Webhook.Key, who.by.Name, err)
			}
			n, err := h.Redeliver(ctx, who.by, DeliveryQuery{IDs: []int64{d.ID}})
			if (n == 1) != sees || err != nil {
				t.Errorf("redelivering one of %s by %s: %d, %v", d.Webhook.Key, who.by.Name, n, err)
			}
		}
		for _, limit := range []int{1, 7, 0} {
			var got []int64
			for _, d := range h.everyDelivery(t, who.by, DeliveryQuery{Limit: limit}) {
				got = append(got, d.ID)
			}
			if !slices.Equal(got, want) {
				t.Errorf("deliveries of %s by %d: %v, want %v", who.by.Name, limit, got, want)
			}
		}
		if n, err := h.Count(ctx, who.by, DeliveryQuery{}); n != len(want) || err != nil {
			t.Errorf("%s counts %d, %v; want %d", who.by.Name, n, err, len(want))
		}
		if n, err := h.Redeliver(ctx, who.by, DeliveryQuery{States: []string{"pending"}}); n != len(want) || err != nil {
			t.Errorf("%s redelivers %d, %v; want %d", who.by.Name, n, err, len(want))
		}
		for key := range hookOf {
			sees := slices.Contains(who.webhooks, key)
			number := h.Numbers.Webhook(key)
			for method, err := range map[string]error{
				"Deliveries by key":    second(h.Deliveries(ctx, who.by, DeliveryQuery{WebhookKey: key})),
				"Deliveries by number": second(h.Deliveries(ctx, who.by, DeliveryQuery{Webhook: number})),
				"Count":                second(h.Count(ctx, who.by, DeliveryQuery{WebhookKey: key})),
				"Redeliverable":        second(h.Redeliverable(ctx, who.by, DeliveryQuery{Webhook: number})),
				"Redeliver":            second(h.Redeliver(ctx, who.by, DeliveryQuery{WebhookKey: key})),
				"Replay":               second(h.Replay(ctx, who.by, number, time.Now(), true)),
				"ReplayNamed":          second(h.ReplayNamed(ctx, who.by, key, time.Now(), true)),
			} {
				if sees != (err == nil) || !sees && !errors.Is(err, ErrNotFound) {
					t.Errorf("%s of %s by %s: %v", method, key, who.by.Name, err)
				}
			}
		}
	}
}

func TestDeliveryFilters(t *testing.T) {
	h := newHistory(t)
	everything := h.everyDelivery(t, ops, DeliveryQuery{})
	for name, tc := range map[string]struct {
		q    DeliveryQuery
		want func(Delivery) bool
	}{
		"a project":       {DeliveryQuery{Project: "library"}, func(d Delivery) bool { return strings.HasPrefix(d.Repository, "library/") }},
		"a repository":    {DeliveryQuery{Repository: "team/app0"}, func(d Delivery) bool { return d.Repository == "team/app0" }},
		"no repository":   {DeliveryQuery{Repository: "team"}, func(Delivery) bool { return false }},
		"both":            {DeliveryQuery{Project: "ops", Repository: "team/app0"}, func(Delivery) bool { return false }},
		"an event":        {DeliveryQuery{Event: h.events[0].ID}, func(d Delivery) bool { return d.EventID == h.events[0].ID }},
		"a type":          {DeliveryQuery{Types: []string{"DELETE_ARTIFACT"}}, func(Delivery) bool { return false }},
		"pending of team": {DeliveryQuery{States: []string{"pending", "dead"}, WebhookKey: "team-ci"}, func(d Delivery) bool { return d.Webhook.Key == "team-ci" }},
		"dead":            {DeliveryQuery{States: []string{"dead"}}, func(Delivery) bool { return false }},
	} {
		var want, got []int64
		for _, d := range everything {
			if tc.want(d) {
				want = append(want, d.ID)
			}
		}
		tc.q.Limit = 2
		for _, d := range h.everyDelivery(t, ops, tc.q) {
			got = append(got, d.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
		if n, err := h.Count(ctx, ops, tc.q); n != len(want) || err != nil {
			t.Errorf("%s: counted %d, %v; want %d", name, n, err, len(want))
		}
	}
}

// TestDeliveryDetail: a rendered delivery shows its request without secrets.
func TestDeliveryDetail(t *testing.T) {
	h := newHistory(t)
	one := h.everyDelivery(t, team, DeliveryQuery{})[0]
	lanes, err := h.store.Lease(ctx, []string{"team-ci"}, time.Minute, 0)
	if err != nil || len(lanes) != 1 {
		t.Fatal(lanes, err)
	}
	err = h.store.Finish(ctx, []store.Outcome{{DeliveryID: one.ID, Webhook: "team-ci", Epoch: lanes[0].Epoch, State: store.Dead, Status: 500, Reason: "5xx", Burnt: true,
		Payload: &store.Payload{ContentType: "application/json", Body: []byte("{}")}, Attempt: &store.Attempt{DeliveryID: one.ID, At: time.Now(), Status: 500, Response: []byte("no")}}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := h.Delivery(ctx, team, one.ID)
	if err != nil || got.State != "dead" || got.Request == nil || got.Request.Body != "{}" || len(got.Log) != 1 || got.Log[0].Response != "no" || got.Waits != "" {
		t.Errorf("%+v %v", got, err)
	}
	if shown := fmt.Sprint(got.Request, got.Request.Header); strings.Contains(shown, "s3cret") {
		t.Errorf("a secret is shown: %s", shown)
	}
	if n, err := h.Redeliverable(ctx, team, DeliveryQuery{WebhookKey: "team-ci"}); n != 1 || err != nil {
		t.Errorf("%d are redeliverable, %v", n, err)
	}
	if n, err := h.Redeliver(ctx, team, DeliveryQuery{WebhookKey: "team-ci"}); n != 1 || err != nil {
		t.Errorf("%d redelivered, %v", n, err)
	}
}

// FuzzQueries: no query of a limited account returns anything outside its scope.
func FuzzQueries(f *testing.F) {
	h := newHistory(f)
	f.Add("PUSH_ARTIFACT", "team", "team/**", "v*", "pending", "all", "", int64(3), 2)
	f.Add("", "ops", "ops/app1", "", "", "ops-ci", "AAAA", int64(0), 0)
	f.Add("*", "library", "library/app0", "[", "dead", "team/ci", "x", int64(-1), -1)
	f.Fuzz(func(t *testing.T, kind, project, repository, tag, state, key, cursor string, number int64, limit int) {
		one := func(s string) []string {
			if s == "" {
				return nil
			}
			return []string{s}
		}
		events, err := h.Events(ctx, team, EventQuery{Types: one(kind), Project: project, Repositories: one(repository), Tags: one(tag), Cursor: cursor, Limit: limit})
		known(t, err)
		known(t, h.CheckFollow(ctx, team, EventQuery{Project: project, After: cursor}))
		for _, e := range events.Events {
			if notify.ProjectOf(&e) != "team" {
				t.Errorf("team sees %s", e.Repository)
			}
		}
		q := DeliveryQuery{Types: one(kind), Project: project, Repository: repository, States: one(state), WebhookKey: key, Webhook: number, Event: tag, Cursor: cursor, Limit: limit}
		if number > 100 {
			q.IDs = []int64{number % 50}
		}
		found, err := h.Deliveries(ctx, team, q)
		known(t, err)
		for _, d := range found.Deliveries {
			if d.Webhook.Key != "team-ci" {
				t.Errorf("team sees a delivery of %s", d.Webhook.Key)
			}
		}
		q.Cursor = ""
		n, err := h.Count(ctx, team, q)
		known(t, err)
		if n > pushes/3 {
			t.Errorf("team counts %d", n)
		}
	})
}

func known(t *testing.T, err error) {
	t.Helper()
	if _, invalid := errors.AsType[Problems](err); err != nil && !invalid && !errors.Is(err, ErrNotFound) {
		t.Error(err)
	}
}

// TestDeliveriesOfLeftOutWebhook: a webhook of the store is off after the file has taken its name.
// Its project still sees its deliveries.
func TestDeliveriesOfLeftOutWebhook(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	made := r.made(dev, "team", simple("ci", "https://ci.example.com/"))
	e := detect.Event{ID: "01a21fe2-db06-73dd-bfb2-8128bb9ca434", Type: detect.PushArtifact, At: time.Now(), Repository: "team/app", Tags: []string{"v1"}, Artifact: &detect.Artifact{}}
	if err := r.outbox.Commit(ctx, "", func(detect.View) (detect.Changes, error) { return detect.Changes{Events: []detect.Event{e}}, nil }); err != nil {
		t.Fatal(err)
	}
	r.use(noWebhooks + "webhooks: [{name: ci, url: 'https://file.example.com/', match: {projects: [other]}}, {name: team/ci, url: 'https://file.example.com/'}]\n")
	if r.Running.Set().Named(made.Key) != nil {
		t.Fatal("the webhook is still in use")
	}
	for name, q := range map[string]DeliveryQuery{"all": {}, "its number": {Webhook: made.Number}, "its key": {WebhookKey: made.Key}} {
		page, err := r.Deliveries(ctx, dev, q)
		if err != nil || len(page.Deliveries) != 1 || page.Deliveries[0].Webhook != (Ref{made.Number, made.Key, "ci", "team"}) || page.Deliveries[0].Waits != notify.WaitRemoved {
			t.Errorf("%s: %+v %v", name, page, err)
		}
		if page, err := r.Deliveries(ctx, guest, q); len(page.Deliveries) != 0 || name != "all" && !errors.Is(err, ErrNotFound) {
			t.Errorf("guest sees by %s: %+v %v", name, page, err)
		}
	}
}

func TestUnknownWebhookName(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	r.made(dev, "team", simple("ci", "https://ci.example.com/"))
	for who, want := range map[*access.Principal]string{
		&dev:   `not found: "x": no such webhook; there are team/ci#1`,
		&guest: `not found: "x": no such webhook`,
	} {
		if _, err := r.Deliveries(ctx, *who, DeliveryQuery{WebhookKey: "x"}); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", who.Name, err, want)
		}
	}
}

// TestEarlierDeliveriesOfTheFilesWebhook: a webhook of the file that a reload limits to a project
// keeps its earlier deliveries. Accounts of that project see and redeliver only those of the
// project's events.
func TestEarlierDeliveriesOfTheFilesWebhook(t *testing.T) {
	h := newHistory(t)
	others := h.everyDelivery(t, ops, DeliveryQuery{WebhookKey: "all"})
	if err := h.Running.Use(ctx, &Configuration{Enabled: true, Hooks: []*Hook{hookNamed(t, "all", []string{"team"})}}); err != nil {
		t.Fatal(err)
	}
	var stored []store.Delivery
	for _, one := range others {
		found, err := h.Dispatcher.Deliveries(ctx, store.DeliveryQuery{IDs: []int64{one.ID}})
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, found...)
		mine := strings.HasPrefix(one.Repository, "team/")
		if _, err := h.Delivery(ctx, team, one.ID); (err == nil) != mine {
			t.Errorf("delivery of %s: %v", one.Repository, err)
		}
		if n, err := h.Redeliver(ctx, team, DeliveryQuery{IDs: []int64{one.ID}}); (n == 1) != mine || err != nil {
			t.Errorf("redelivering one of %s: %d %v", one.Repository, n, err)
		}
	}
	for who, want := range map[*access.Principal]int{&team: pushes / 3, &ops: pushes} {
		if n := len(h.everyDelivery(t, *who, DeliveryQuery{WebhookKey: "all"})); n != want {
			t.Errorf("%s sees %d, want %d", who.Name, n, want)
		}
		if n, err := h.Count(ctx, *who, DeliveryQuery{WebhookKey: "all"}); n != want || err != nil {
			t.Errorf("%s counts %d, want %d: %v", who.Name, n, want, err)
		}
		if n, err := h.Redeliver(ctx, *who, DeliveryQuery{WebhookKey: "all", States: []string{"pending"}}); n != want || err != nil {
			t.Errorf("%s redelivers %d, want %d: %v", who.Name, n, want, err)
		}
		if scoped, err := h.InScope(ctx, *who, stored); len(scoped) != want || err != nil {
			t.Errorf("%s has %d in scope, want %d: %v", who.Name, len(scoped), want, err)
		}
	}
}
