package api

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// v1Desk implements V1Webhooks and V1Trials with one webhook of each of many projects.
type v1Desk struct {
	V1Webhooks
	version int64
	got     []manage.Definition
}

func (d *v1Desk) Webhooks(_ context.Context, by access.Principal) (all []manage.Webhook, err error) {
	for i := range 120 {
		if project := fmt.Sprintf("team-%03d", i); by.May(project) {
			all = append(all, manage.Webhook{Number: int64(i + 1), Key: fmt.Sprintf("%s/ci#%d", project, i+1), Name: "ci", Project: project, Projects: []string{project}})
		}
	}
	return all, nil
}

func (d *v1Desk) Make(_ context.Context, _ access.Principal, project string, def manage.Definition) (manage.Webhook, error) {
	d.got = append(d.got, def)
	return manage.Webhook{Number: 1, Name: def.Name, Project: project, Version: 1}, nil
}

func (d *v1Desk) Change(_ context.Context, _ access.Principal, number, version int64, def manage.Definition) (manage.Webhook, error) {
	if version != 0 && version != d.version {
		return manage.Webhook{}, fmt.Errorf("%w: webhook ci has version %d", manage.ErrChanged, d.version)
	}
	return d.Make(context.Background(), access.Principal{}, "team", def)
}

func (d *v1Desk) Test(context.Context, access.Principal, int64, string) (manage.Sent, error) {
	return manage.Sent{}, manage.Problems{{Field: "url", Message: "denied"}}
}

func (d *v1Desk) TestDefinition(_ context.Context, _ access.Principal, _ string, _ int64, def manage.Definition, _ string) (manage.Sent, error) {
	d.got = append(d.got, def)
	return manage.Sent{OK: true}, nil
}

func (d *v1Desk) Preview(_ context.Context, _ access.Principal, _ string, _ int64, def manage.Definition, _ string) (manage.Body, error) {
	d.got = append(d.got, def)
	return manage.Body{}, nil
}

func (d *v1Desk) Matching(_ context.Context, _ access.Principal, _ string, _ int64, def manage.Definition, since time.Time) (manage.Matched, error) {
	d.got = append(d.got, def)
	return manage.Matched{Complete: !since.IsZero()}, nil
}

func newWebhooksV1() (*v1Desk, http.Handler) {
	d, v := &v1Desk{version: 3}, newV1()
	v.Webhooks, v.Trials = d, d
	return d, v.Handler()
}

// TestPagesOfWebhooks: each webhook is on exactly one page.
func TestPagesOfWebhooks(t *testing.T) {
	_, h := newWebhooksV1()
	seen, pages := map[float64]bool{}, 0
	for cursor := ""; ; pages++ {
		page := decoded(t, askV1(h, administrator, "GET", "/webhooks?limit=50&cursor="+cursor, ""))
		for _, w := range page["items"].([]any) {
			number := w.(map[string]any)["number"].(float64)
			if seen[number] {
				t.Errorf("%v is on two pages", number)
			}
			seen[number] = true
		}
		next, more := page["next"].(string)
		if !more {
			break
		}
		cursor = next
	}
	if len(seen) != 120 || pages != 2 {
		t.Errorf("%d webhooks, %d further pages", len(seen), pages)
	}
	for query, want := range map[string]int{"?project=team-007": 1, "?name=CI": 50, "?named=team-009/ci": 1, "?named=team-009/ci%2310": 1, "?named=none": 0} {
		if page := decoded(t, askV1(h, administrator, "GET", "/webhooks"+query, "")); len(page["items"].([]any)) != want {
			t.Errorf("%s: %v", query, len(page["items"].([]any)))
		}
	}
	if w := askV1(h, administrator, "GET", "/webhooks?cursor=!", ""); w.Code != 422 {
		t.Errorf("a foreign cursor: %d %s", w.Code, w.Body)
	}
}

func TestDefinitionsOfV1(t *testing.T) {
	d, h := newWebhooksV1()
	if w := askV1(h, limited, "POST", "/webhooks", `{"project":"team","definition":{"name":"ci","url":"https://e.example.com"}}`); w.Code != 201 || w.Header().Get("ETag") != `"1"` || !d.got[0].Enabled {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	if askV1(h, limited, "PUT", "/webhooks/1", `{"name":"ci","url":"https://e.example.com","enabled":false}`); d.got[1].Enabled {
		t.Error("enabled: false is enabled")
	}
	for match, want := range map[string]int{"": 200, "*": 200, `"3"`: 200, "3": 200, `"2"`: 412, "x": 412} {
		r := askV1With(h, limited, "PUT", "/webhooks/1", `{"name":"ci","url":"https://e.example.com"}`, "If-Match", match)
		if r.Code != want {
			t.Errorf("If-Match %s: %d %s", match, r.Code, r.Body)
		}
	}
	if w := askV1(h, limited, "POST", "/webhooks", `{"project":"team","definition":{"name":"ci","urll":"hidden-value"}}`); w.Code != 422 || strings.Contains(w.Body.String(), "hidden-value") || !strings.Contains(w.Body.String(), "urll") {
		t.Errorf("an unknown key: %d %s", w.Code, w.Body)
	}
	if w := askV1(h, limited, "POST", "/webhooks/1/test", ""); w.Code != 422 || !strings.Contains(w.Body.String(), `"location":"url"`) {
		t.Errorf("a problem: %d %s", w.Code, w.Body)
	}
	if w := askV1(h, limited, "POST", "/webhooks/1/take-over", ""); w.Code != 403 {
		t.Errorf("take over: %d", w.Code)
	}
}

// FuzzV1Bodies checks that no body of an endpoint about webhooks causes a 500, and that an error
// does not repeat a secret.
func FuzzV1Bodies(f *testing.F) {
	f.Add(uint8(0), `{"project":"team","definition":{"name":"ci","url":"https://e.example.com","auth_header":"SECRET","match":{"tagged":true}}}`)
	f.Add(uint8(1), `{"name":"ci","url":"https://SECRET","headers":{"A":1},"retry":"SECRET"}`)
	f.Add(uint8(2), `{"project":"team","number":-1,"definition":null,"type":"SECRET"}`)
	f.Add(uint8(3), `[{"project":`)
	routes := []string{"POST /webhooks", "PUT /webhooks/1", "POST /webhooks/test", "POST /webhooks/preview", "POST /webhooks/matching"}
	d, h := newWebhooksV1()
	f.Fuzz(func(t *testing.T, which uint8, body string) {
		d.got = nil
		method, path, _ := strings.Cut(routes[int(which)%len(routes)], " ")
		w := askV1(h, limited, method, path, body)
		if w.Code >= 500 || w.Code >= 400 && strings.Contains(w.Body.String(), "SECRET") && !strings.Contains(body, `SECRET":`) {
			t.Errorf("%s %s %q: %d %s", method, path, body, w.Code, w.Body)
		}
	})
}

func askV1With(h http.Handler, who access.Principal, method, path, body, header, value string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, V1Path+path, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	if value != "" {
		r.Header.Set(header, value)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, access.WithPrincipal(r, who))
	return w
}

func decoded(t *testing.T, w *httptest.ResponseRecorder) (answer map[string]any) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return answer
}
