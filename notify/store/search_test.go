package store_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// searchable has forty events of four types and five repositories, each with a delivery to two of
// six webhooks.
func searchable(t *testing.T, w *storetest.World) {
	t.Helper()
	types := []string{"PUSH", "PULL", "DELETE", "SCAN"}
	repositories := []string{"team/app", "team/web", "ops/tool", "nginx", "teammate/app"}
	for i := range 40 {
		w.Write(t, func(tx store.Tx) {
			e := store.Event{ID: fmt.Sprint("e", i), Type: types[i%4], At: time.Now(), Upstream: "up", Repository: repositories[i%5], Data: []byte("{}")}
			tx.Append(e, store.Delivery{Webhook: fmt.Sprint("hook", i%6)}, store.Delivery{Webhook: fmt.Sprint("hook", (i+1)%6)})
		})
	}
	w.FinishAllOf(t, "hook0", store.Dead)
	w.FinishAllOf(t, "hook1", store.Delivered)
}

// allFound walks all pages of a search.
func allFound(t *testing.T, w *storetest.World, q store.DeliverySearch) (ids []int64, looked int) {
	t.Helper()
	for range 1000 {
		page, err := w.SearchDeliveries(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range page.Deliveries {
			ids = append(ids, d.ID)
		}
		if !page.LookedTo.IsZero() {
			looked++
		}
		if page.Next == 0 {
			return ids, looked
		}
		q.BeforeID = page.Next
	}
	t.Fatalf("the pages of %+v do not end", q)
	return nil, 0
}

func TestSearchDeliveries(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		searchable(t, w)
		everything, err := w.Deliveries(ctx, store.DeliveryQuery{Limit: 1000})
		if err != nil || len(everything) != 80 {
			t.Fatal(len(everything), err)
		}
		events, err := w.Events(ctx, store.EventQuery{Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		of := map[string]store.Event{}
		for _, e := range events {
			of[e.ID] = e
		}
		dead := func(d store.Delivery) bool { return d.State == store.Dead }
		for name, tc := range map[string]struct {
			q    store.DeliverySearch
			want func(store.Delivery) bool
		}{
			"all":                {store.DeliverySearch{}, func(store.Delivery) bool { return true }},
			"no webhook":         {store.DeliverySearch{Webhooks: []string{}}, func(store.Delivery) bool { return false }},
			"webhooks":           {store.DeliverySearch{Webhooks: []string{"hook1", "hook4"}}, func(d store.Delivery) bool { return d.Webhook == "hook1" || d.Webhook == "hook4" }},
			"dead":               {store.DeliverySearch{States: []store.State{store.Dead}}, dead},
			"dead of others":     {store.DeliverySearch{States: []store.State{store.Dead}, Webhooks: []string{"hook2"}}, func(store.Delivery) bool { return false }},
			"dead and delivered": {store.DeliverySearch{States: []store.State{store.Dead, store.Delivered}}, func(d store.Delivery) bool { return dead(d) || d.State == store.Delivered }},
			"pending of a type":  {store.DeliverySearch{States: []store.State{store.Pending}, Types: []string{"PULL"}}, func(d store.Delivery) bool { return d.State == store.Pending && of[d.EventID].Type == "PULL" }},
			"a repository":       {store.DeliverySearch{Repositories: []string{"team/app", "none"}}, func(d store.Delivery) bool { return of[d.EventID].Repository == "team/app" }},
			"a project, or unknown": {store.DeliverySearch{Projects: []string{"team"}}, func(d store.Delivery) bool {
				r := of[d.EventID].Repository
				return strings.HasPrefix(r, "team/") || r == "nginx"
			}},
			"an event":      {store.DeliverySearch{EventID: "e7"}, func(d store.Delivery) bool { return d.EventID == "e7" }},
			"no such event": {store.DeliverySearch{EventID: "e70"}, func(store.Delivery) bool { return false }},
			"ids":           {store.DeliverySearch{IDs: []int64{everything[3].ID, everything[9].ID, everything[3].ID, 1 << 40}}, func(d store.Delivery) bool { return d.ID == everything[3].ID || d.ID == everything[9].ID }},
			"ids of a webhook": {store.DeliverySearch{IDs: []int64{everything[3].ID, everything[4].ID}, Webhooks: []string{everything[4].Webhook}},
				func(d store.Delivery) bool {
					return (d.ID == everything[3].ID || d.ID == everything[4].ID) && d.Webhook == everything[4].Webhook
				}},
			"since": {store.DeliverySearch{Since: everything[20].CreatedAt}, func(d store.Delivery) bool { return !d.CreatedAt.Before(everything[20].CreatedAt) }},
			"until": {store.DeliverySearch{Until: everything[20].CreatedAt}, func(d store.Delivery) bool { return d.CreatedAt.Before(everything[20].CreatedAt) }},
		} {
			var want []int64
			for _, d := range everything {
				if tc.want(d) {
					want = append(want, d.ID)
				}
			}
			for _, limit := range []int{1, 7, 100} {
				for _, most := range []int{1, 3, 1000} {
					q := tc.q
					q.Limit, q.Most = limit, most
					got, looked := allFound(t, w, q)
					if !slices.Equal(got, want) {
						t.Errorf("%s by %d of %d: got %v, want %v", name, limit, most, got, want)
					}
					if most == 1000 && looked > 0 {
						t.Errorf("%s: it says that it stopped, though it tested all", name)
					}
				}
			}
		}
	})
}

func TestSearchEvents(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		base := time.Now().Add(-24 * time.Hour).Truncate(time.Second)
		repositories := []string{"team/app", "ops/tool", "nginx"}
		// Those without deliveries are in packs.
		for i := range 60 {
			w.Write(t, func(tx store.Tx) {
				e := store.Event{ID: fmt.Sprintf("e%02d", i), Type: "PUSH", At: base.Add(time.Duration(i) * 20 * time.Minute), Repository: repositories[i%3], Data: []byte("{}")}
				if i%4 == 0 {
					e.Type, e.Transient = "PULL", true
					tx.Append(e)
					return
				}
				tx.Append(e, store.Delivery{Webhook: "hook"})
			})
		}
		everything, err := w.Events(ctx, store.EventQuery{Limit: 100})
		if err != nil || len(everything) != 60 {
			t.Fatal(len(everything), err)
		}
		from, to := base.Add(5*time.Hour), base.Add(9*time.Hour)
		for name, tc := range map[string]struct {
			q    store.EventSearch
			want func(store.Event) bool
		}{
			"all":          {store.EventSearch{}, func(store.Event) bool { return true }},
			"a type":       {store.EventSearch{Types: []string{"PULL"}}, func(e store.Event) bool { return e.Type == "PULL" }},
			"a repository": {store.EventSearch{Repositories: []string{"ops/tool"}}, func(e store.Event) bool { return e.Repository == "ops/tool" }},
			"a project":    {store.EventSearch{Projects: []string{"ops"}}, func(e store.Event) bool { return e.Repository != "team/app" }},
			"nothing":      {store.EventSearch{Types: []string{"NONE"}}, func(store.Event) bool { return false }},
			"since":        {store.EventSearch{Since: from}, func(e store.Event) bool { return !e.At.Before(from) }},
			"until":        {store.EventSearch{Until: to}, func(e store.Event) bool { return e.At.Before(to) }},
			"between":      {store.EventSearch{Since: from, Until: to}, func(e store.Event) bool { return !e.At.Before(from) && e.At.Before(to) }},
		} {
			var want []string
			for _, e := range everything {
				if tc.want(e) {
					want = append(want, e.ID)
				}
			}
			for _, limit := range []int{1, 7, 100} {
				for _, most := range []int{1, 5, 10000} {
					q := tc.q
					q.Limit, q.Most = limit, most
					var got []string
					for range 1000 {
						page, err := w.SearchEvents(ctx, q)
						if err != nil {
							t.Fatal(err)
						}
						for _, e := range page.Events {
							got = append(got, e.ID)
						}
						if q.Before = page.Next; q.Before == 0 {
							break
						}
						if most == 10000 && !page.LookedTo.IsZero() {
							t.Errorf("%s: it says that it stopped, though it tested all", name)
						}
					}
					if !slices.Equal(got, want) {
						t.Errorf("%s by %d of %d: got %v, want %v", name, limit, most, got, want)
					}
				}
			}
		}
		bySeq, err := w.Events(ctx, store.EventQuery{Seqs: []int64{everything[1].Seq, everything[2].Seq}})
		if err != nil || len(bySeq) != 2 || bySeq[0].ID != everything[1].ID {
			t.Errorf("by number: %v %v", bySeq, err)
		}
	})
}
