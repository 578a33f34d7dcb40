package console

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

var (
	ops   = access.Principal{Name: "ops", Administrator: true}
	maria = access.Principal{Name: "maria", Projects: []string{"platform"}}
)

// get returns the status and the page of a GET.
func get(t *testing.T, c *Console, by access.Principal, path string) (int, string) {
	t.Helper()
	return do(t, c, by, httptest.NewRequest("GET", path, nil))
}

// post returns the status, and the page or the address that is redirected to.
func post(t *testing.T, c *Console, by access.Principal, path string, form url.Values) (int, string) {
	t.Helper()
	r := httptest.NewRequest("POST", path, strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return do(t, c, by, r)
}

func do(t *testing.T, c *Console, by access.Principal, r *http.Request) (int, string) {
	t.Helper()
	w := httptest.NewRecorder()
	c.Handler().ServeHTTP(w, access.WithPrincipal(r, by))
	if to := w.Header().Get("Location"); to != "" {
		return w.Code, to
	}
	if w.Header().Get("Content-Security-Policy") == "" {
		t.Errorf("%s %s: no Content-Security-Policy", r.Method, r.URL)
	}
	return w.Code, w.Body.String()
}

// requireText fails if a page lacks one of the texts.
func requireText(t *testing.T, page string, texts ...string) {
	t.Helper()
	for _, text := range texts {
		if !strings.Contains(page, text) {
			t.Errorf("the page has no %q:\n%.3000s", text, page)
		}
	}
}

func TestTheWebhooksHaveTheColumnsOfTheContract(t *testing.T) {
	_, page := get(t, newConsole(sample()), ops, "/webhooks")
	for _, column := range []string{"Name", "Status", "Notify type", "Payload format", "Endpoint URL", "Event types", "Success 24 h", "Pending", "Dead", "Last delivery", "Source"} {
		if !strings.Contains(page, ">"+column+"</th>") {
			t.Errorf("there is no column %s", column)
		}
	}
	requireText(t, page, "+ NEW WEBHOOK", "<summary>ACTION</summary>", `aria-label="release-channel"`, `aria-label="Triggers of release-channel"`,
		`<a class="name" href="/webhooks/3">release-channel</a>`, "bellbuoy.yaml:22", "87.1 %", "Circuit open")
}

// Two projects may have webhooks of one name. Their boxes, arrows and links then have the project
// in their names.
func TestWebhooksOfOneNameAreToldApart(t *testing.T) {
	d := sample()
	d.webhooks[4].Name = "security"
	_, page := get(t, newConsole(d), ops, "/webhooks")
	for _, label := range []string{"platform/security", "web/security"} {
		requireText(t, page, ` aria-label="`+label+`">`, `aria-label="Triggers of `+label+`"`, ` aria-label="`+label+`">security</a>`)
	}
	if strings.Contains(page, `aria-label="security"`) || strings.Contains(page, `aria-label="platform/release-channel"`) {
		t.Error("a name is not as short as it can be, or not unique")
	}
}

// A limited account gets the same answer for what is another's as for what does not exist, and no
// button for what it may not do.
func TestALimitedAccountSeesItsProjectsOnly(t *testing.T) {
	c := newConsole(sample())
	for _, path := range []string{"/webhooks/1", "/webhooks/5", "/webhooks/5/edit", "/webhooks/5/triggers", "/webhooks/5/yaml", "/webhooks/99", "/deliveries/9037", "/deliveries/1"} {
		if status, page := get(t, c, maria, path); status != 404 || strings.Contains(page, "old-ci") {
			t.Errorf("GET %s: %d", path, status)
		}
	}
	for path, form := range map[string]url.Values{
		"/webhooks/action":       {"do": {"delete"}, "webhook": {"5"}, "confirmed": {"yes"}},
		"/webhooks/action?":      {"do": {"delete"}, "webhook": {"5"}},
		"/webhooks/action?a":     {"do": {"enable"}, "webhook": {"5"}},
		"/webhooks/action?b":     {"do": {"disable"}, "webhook": {"1"}},
		"/webhooks/5/test":       {},
		"/webhooks/5/replay":     {"since": {"1h"}},
		"/webhooks/5/replay?a":   {"since": {"1h"}, "confirmed": {"yes"}},
		"/webhooks/5/takeover":   {},
		"/webhooks/5/edit":       {"do": {"save"}, "name": {"x"}},
		"/deliveries/redeliver":  {"do": {"one"}, "delivery": {"9037"}},
		"/deliveries/redeliver?": {"do": {"ticked"}, "delivery": {"9037"}, "confirmed": {"yes"}},
	} {
		if status, page := post(t, c, maria, path, form); status != 404 || strings.Contains(page, "old-ci") {
			t.Errorf("POST %s %v: %d", path, form, status)
		}
	}
	if status, _ := post(t, c, maria, "/webhooks/3/takeover", nil); status != 403 {
		t.Errorf("taking over one's own: %d", status)
	}
	if did := c.Webhooks.(*desk).did; len(did) != 1 {
		t.Errorf("did %q", did)
	}
	_, page := get(t, c, maria, "/webhooks/3")
	if strings.Contains(page, "Take over") {
		t.Error("there is a button to take over")
	}
	_, page = get(t, c, maria, "/webhooks")
	if strings.Contains(page, "old-ci") || strings.Contains(page, "audit") {
		t.Error("the list shows webhooks of others")
	}
}

func TestWithoutAnAccountThereIsNothing(t *testing.T) {
	c := newConsole(sample())
	for _, path := range []string{"/webhooks", "/webhooks/1", "/deliveries", "/nothing"} {
		if status, page := get(t, c, access.Principal{}, path); status != 401 || strings.Contains(page, "<nav") {
			t.Errorf("%s: %d", path, status)
		}
	}
}

func TestLogin(t *testing.T) {
	c := newConsole(sample())
	status, page := get(t, c, access.Principal{}, "/login?next=/deliveries")
	if status != 200 {
		t.Errorf("status %d", status)
	}
	requireText(t, page, `<label for="user">User</label>`, `<label for="password">Password</label>`, ">Log in</button>", `name="next" value="/deliveries"`)
	if status, to := post(t, c, access.Principal{}, "/login", url.Values{"user": {"ops"}, "password": {"secret"}, "next": {"/deliveries"}}); status != 303 || to != "/deliveries" {
		t.Errorf("right: %d %s", status, to)
	}
	status, page = post(t, c, access.Principal{}, "/login", url.Values{"user": {"ops"}, "password": {"wrong"}})
	if status != 401 || strings.Contains(page, "wrong\"") {
		t.Errorf("wrong: %d", status)
	}
	requireText(t, page, "The user or the password is wrong.", `value="ops"`)
}

func TestDeleteAsksFirst(t *testing.T) {
	c := newConsole(sample())
	d := c.Webhooks.(*desk)
	status, page := post(t, c, ops, "/webhooks/action", url.Values{"do": {"delete"}, "webhook": {"3", "4"}, "back": {"project=platform"}})
	if status != 200 || len(d.did) != 0 {
		t.Fatalf("%d, did %q", status, d.did)
	}
	requireText(t, page, "Delete 2 webhooks?", "platform/release-channel", ">Delete</button>", `name="webhook" value="4"`)
	status, to := post(t, c, ops, "/webhooks/action", url.Values{"do": {"delete"}, "webhook": {"3", "4"}, "confirmed": {"yes"}, "back": {"project=platform"}})
	if status != 303 || to != "/webhooks?done=deleted&n=2&project=platform" || len(d.did) != 2 {
		t.Errorf("%d %s, did %q", status, to, d.did)
	}
	if status, page := post(t, c, ops, "/webhooks/action", url.Values{"do": {"delete"}, "webhook": {"1"}}); status != 400 || !strings.Contains(page, "bellbuoy.yaml:14") {
		t.Errorf("one of the file: %d", status)
	}
}

func TestRedeliverSaysHowMany(t *testing.T) {
	c := newConsole(sample())
	d := c.Webhooks.(*desk)
	_, page := post(t, c, ops, "/deliveries/redeliver", url.Values{"do": {"matching"}, "back": {"state=dead"}})
	dead := len(d.matching(ops, manage.DeliveryQuery{States: []string{"dead"}}))
	requireText(t, page, ">Redeliver "+itoa(dead)+"</button>", "State: Dead")
	if status, to := post(t, c, ops, "/deliveries/redeliver", url.Values{"do": {"matching"}, "back": {"state=dead"}, "confirmed": {"yes"}}); status != 303 || to != "/deliveries?done=redelivered&n="+itoa(dead)+"&state=dead" {
		t.Errorf("%d %s", status, to)
	}
	_, page = post(t, c, ops, "/deliveries/redeliver", url.Values{"do": {"ticked"}, "delivery": {"9041", "9040"}})
	requireText(t, page, ">Redeliver 2</button>")
	if status, to := post(t, c, ops, "/deliveries/redeliver", url.Values{"do": {"one"}, "delivery": {"9041"}}); status != 303 || to != "/deliveries/9041?done=redelivered&n=1" {
		t.Errorf("one: %d %s", status, to)
	}
}

func itoa(n int) string { return grouped(n) }

// A filter that cannot be read is a problem beside its field, and the field keeps what was written.
func TestFiltersSayWhatIsWrong(t *testing.T) {
	c := newConsole(sample())
	status, page := get(t, c, ops, "/deliveries?from=yesterday&webhook=nobody")
	if status != 422 {
		t.Errorf("status %d", status)
	}
	requireText(t, page, `value="yesterday"`, `id="e-from"`, "No webhook has this name.", `aria-invalid="true"`)
	_, page = get(t, c, ops, "/deliveries?webhook=platform/security&state=pending&from=2h")
	if strings.Contains(page, "release-channel") {
		t.Error("the filter lets another webhook through")
	}
}

func TestANoticeHasOnlyWordsOfTheProgram(t *testing.T) {
	c := newConsole(sample())
	_, page := get(t, c, ops, "/webhooks?done=deleted&n=3")
	requireText(t, page, "3 webhooks are deleted.")
	_, page = get(t, c, ops, "/webhooks?done=Call+0900+now&n=Call+0900+now")
	if strings.Contains(page, `role="status">Call`) {
		t.Error("a link puts words into the page")
	}
}

func TestStaticFilesAreKeptByBrowsers(t *testing.T) {
	c := newConsole(sample())
	for _, name := range []string{"style.css", "live.js", "icon.svg"} {
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, httptest.NewRequest("GET", asset(name), nil))
		if w.Code != 200 || !strings.Contains(w.Header().Get("Cache-Control"), "immutable") || w.Header().Get("Content-Type") == "" {
			t.Errorf("%s: %d %v", name, w.Code, w.Header())
		}
	}
	for _, path := range []string{"/static/", "/static/../console.go", "/static/x.css"} {
		w := httptest.NewRecorder()
		c.Handler().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		if w.Code == 200 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
}
