package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

// desk implements the interfaces of the API, with one webhook of team in the store and one in the
// file.
type desk struct {
	deliveries []store.Delivery
	changed    []manage.PolicyChange
}

func (d *desk) Policies(_ context.Context, by access.Principal, project string) (found []manage.Policy, err error) {
	def := manage.Definition{Enabled: true, Format: "harbor", Events: []string{"PUSH_ARTIFACT"}}
	for _, w := range []manage.Webhook{
		{Number: 1, Key: "team/ci#1", Name: "ci", Projects: []string{"team"}, Definition: def, Complete: def},
		{Number: 77, Key: "file", Name: "file", Projects: []string{"team", "ops"}, Source: "bellbuoy.yaml:3", Definition: def, Complete: def},
		{Number: 78, Key: "all", Name: "all", Source: "bellbuoy.yaml:4", Definition: def, Complete: def},
	} {
		if (len(w.Projects) == 0 || slices.Contains(w.Projects, project)) && by.MayAll(w.Projects) {
			found = append(found, manage.Policy{Webhook: w, Address: "https://e.example.com/", Enabled: true})
		}
	}
	return found, nil
}

func (d *desk) MakePolicy(_ context.Context, _ access.Principal, _ string, c manage.PolicyChange) (int64, error) {
	d.changed = append(d.changed, c)
	return 2, nil
}

func (d *desk) ChangePolicy(_ context.Context, _ access.Principal, _ int64, c manage.PolicyChange) error {
	d.changed = append(d.changed, c)
	return nil
}

func (d *desk) Remove(context.Context, access.Principal, int64) error { return nil }

func (d *desk) Projects(context.Context) ([]Project, error) {
	return []Project{{1, "team", false}, {2, "ops", true}}, nil
}

func (d *desk) Project(_ context.Context, name string) (Project, error) {
	return Project{int64(len(name)), name, false}, nil
}

func (d *desk) Numbered(_ context.Context, number int64) (Project, error) {
	if number == 1 {
		return Project{1, "team", false}, nil
	}
	return Project{}, fmt.Errorf("%w: project %d not found", manage.ErrNotFound, number)
}

func (d *desk) Deliveries(_ context.Context, _ access.Principal, q store.DeliveryQuery) (found []store.Delivery, err error) {
	for _, one := range d.deliveries {
		if len(q.IDs) == 0 && one.Webhook == q.Webhook || slices.Contains(q.IDs, one.ID) {
			found = append(found, one)
		}
	}
	return found, nil
}

func (d *desk) Attempts(context.Context, access.Principal, int64) ([]store.Attempt, error) {
	return nil, nil
}

func (d *desk) Type(context.Context, string) (string, error) { return "PUSH_ARTIFACT", nil }

func (d *desk) LastFired(context.Context, string) (map[string]time.Time, error) { return nil, nil }
func (d *desk) Version() string                                                 { return "1" }
func (d *desk) ExternalURL() string                                             { return "" }
func (d *desk) Healthy() error                                                  { return nil }

func (d *desk) handler() http.Handler {
	return (&Harbor{Webhooks: d, Projects: d, History: d, System: d, Log: zap.NewNop()}).Handler()
}

func ask(h http.Handler, who access.Principal, method, path, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, access.WithPrincipal(httptest.NewRequest(method, HarborPath+path, strings.NewReader(body)), who))
	return w
}

var ops, dev = access.Principal{Name: "ops", Administrator: true}, access.Principal{Name: "dev", Projects: []string{"te?m"}}

// TestNoAccount: every route refuses a request without an account in its context.
func TestNoAccount(t *testing.T) {
	h := (&desk{}).handler()
	for _, r := range Routes() {
		path := strings.NewReplacer("{project}", "team", "{policy}", "1", "{execution}", "1", "{task}", "1").Replace(r.Path)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(r.Method, HarborPath+path, nil))
		if w.Code != 401 {
			t.Errorf("%s %s: %d", r.Method, r.Path, w.Code)
		}
	}
}

// TestWebhooksOfTheFile: a limited account does not see a webhook of the file that also belongs to
// another project or names none.
func TestWebhooksOfTheFile(t *testing.T) {
	h := (&desk{}).handler()
	for _, tt := range []struct {
		who  access.Principal
		path string
		want string
	}{
		{ops, "/projects/team/webhook/policies", "1 77 78"}, {dev, "/projects/team/webhook/policies", "1"},
		{ops, "/projects/ops/webhook/policies", "77 78"}, {ops, "/projects/new/webhook/policies", "78"},
		{ops, "/projects/team/webhook/policies?page=2&page_size=2", "78"},
	} {
		w := ask(h, tt.who, "GET", tt.path, "")
		var all []policyJSON
		if err := json.Unmarshal(w.Body.Bytes(), &all); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range all {
			got = append(got, fmt.Sprint(p.ID))
		}
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s %s: %v, want %s", tt.who.Name, tt.path, got, tt.want)
		}
	}
	if w := ask(h, dev, "GET", "/projects/team/webhook/policies/77", ""); w.Code != 404 {
		t.Errorf("by its number: %d", w.Code)
	}
}

// TestExecutionsOfOthers: the delivery of another webhook is not found.
func TestExecutionsOfOthers(t *testing.T) {
	d := &desk{deliveries: []store.Delivery{{ID: 5, Webhook: "team/ci#1"}, {ID: 6, Webhook: "other/ci#2"}}}
	for path, want := range map[string]int{"5/tasks": 200, "6/tasks": 404, "5/tasks/5/log": 200, "5/tasks/6/log": 404, "6/tasks/6/log": 404, "6/tasks/5/log": 404, "x/tasks": 422} {
		if w := ask(d.handler(), dev, "GET", "/projects/team/webhook/policies/1/executions/"+path, ""); w.Code != want {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
}

func TestPagesLink(t *testing.T) {
	d := &desk{}
	for i := range 25 {
		d.deliveries = append(d.deliveries, store.Delivery{ID: int64(i + 1), Webhook: "team/ci#1", State: store.State(i % 4)})
	}
	w := ask(d.handler(), ops, "GET", "/projects/team/webhook/policies/1/executions?page=2&page_size=10&sort=", "")
	const list = "</api/v2.0/projects/team/webhook/policies/1/executions?page="
	if want := list + `1&page_size=10&sort=>; rel="prev" , ` + list + `3&page_size=10&sort=>; rel="next"`; w.Header().Get("Link") != want || w.Header().Get("X-Total-Count") != "25" {
		t.Errorf("%v", w.Header())
	}
	if w := ask(d.handler(), ops, "GET", "/projects/team/webhook/policies/1/executions?q=status%3DStopped&page_size=0", ""); w.Header().Get("X-Total-Count") != "6" || strings.Count(w.Body.String(), `"Stopped"`) != 6 {
		t.Errorf("%v %s", w.Header(), w.Body)
	}
}

// FuzzPolicy checks that an accepted policy has one target and known events, and is shown as it was
// sent.
func FuzzPolicy(f *testing.F) {
	f.Add(`{"name":"a","enabled":true,"event_types":["PUSH_ARTIFACT","TAG_RETENTION"],"targets":[{"type":"http","address":"e.example.com","payload_format:omitempty":"CloudEvents"}]}`)
	f.Add(`{"update_time":"0001-01-01T00:00:00Z","event_types":["TAG_RETENTION"],"targets":[{"type":"slack","address":"https://e"}],"id":0}`)
	f.Add(`{"targets":[null]}`)
	f.Fuzz(func(t *testing.T, body string) {
		d := &desk{}
		w := ask(d.handler(), ops, "PUT", "/projects/team/webhook/policies/1", body)
		switch w.Code {
		case 400:
			return
		case 200:
		default:
			t.Fatalf("%q: %d %s", body, w.Code, w.Body)
		}
		c := d.changed[0]
		for _, e := range c.Events {
			if !slices.Contains(EventTypes(), e) || slices.Contains(neverOccur, e) {
				t.Errorf("%q: event %q", body, e)
			}
		}
		def := manage.Definition{Format: c.Format, Events: c.Events}
		shown := shownPolicy(manage.Policy{Webhook: manage.Webhook{Complete: def}, Address: c.Address, AuthHeader: c.AuthHeader, Enabled: c.Enabled, Told: c.Told}, Project{})
		if len(shown.Targets) != 1 || withScheme(shown.Targets[0].Address) != c.Address || shown.Targets[0].AuthHeader != c.AuthHeader || len(shown.Events) == 0 {
			t.Errorf("%q: %+v shown as %+v", body, c, shown)
		}
	})
}

// FuzzQuery checks that no path or query causes a 500, or shows a limited account a webhook of
// another one.
func FuzzQuery(f *testing.F) {
	f.Add("/projects", "name=team&page=0&page_size=0&q=&sort=")
	f.Add("/projects/team/webhook/policies", "q=name%3D~c,id%3D1&sort=-name&page=99999&page_size=100")
	f.Add("/projects/1/webhook/jobs", "policy_id=1&status=Success")
	f.Add("/projects/team/webhook/policies/1/executions", "q=status%3DError&page=2")
	f.Fuzz(func(t *testing.T, path, query string) {
		if !strings.HasPrefix(path, "/") {
			return
		}
		d := &desk{deliveries: []store.Delivery{{ID: 5, Webhook: "team/ci#1"}}}
		r := httptest.NewRequest("GET", HarborPath+"/", nil)
		r.URL = &url.URL{Path: HarborPath + path, RawQuery: query}
		w := httptest.NewRecorder()
		d.handler().ServeHTTP(w, access.WithPrincipal(r, dev))
		if w.Code >= 500 || strings.Contains(w.Body.String(), `"ops"`) {
			t.Errorf("%s?%s: %d %s", path, query, w.Code, w.Body)
		}
	})
}
