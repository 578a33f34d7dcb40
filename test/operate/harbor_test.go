package operate

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// desk is a bellbuoy whose webhooks are managed by Harbor's API, with the accounts ops (no limits),
// dev (team and x-*) and guest (other), and a token of each of the first two.
type desk struct {
	*harness.Buoy
	t    testing.TB
	port int
	api  string
}

const (
	opsToken = "ops-0123456789abcdef"
	devToken = "dev-0123456789abcdef"
)

func deskConfig(t testing.TB, port int, more string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`admin:
  listen: "127.0.0.1:%d"
  users:
    - {name: ops, password_hash: %q}
    - {name: dev, password_hash: %q, projects: [team, "x-*"]}
    - {name: guest, password_hash: %q, projects: [other]}
  tokens:
    - {name: ops-ci, token: %s}
    - {name: dev-ci, token: %s, projects: [team]}
trusted_proxies: [127.0.0.1]
projects: [{match: public, visibility: public}, {match: "z-*"}]
`, port, hash, hash, hash, opsToken, devToken) + more
}

func newDesk(t testing.TB, more string) *desk {
	t.Helper()
	port := harness.FreePort(t)
	d := &desk{t: t, port: port, api: fmt.Sprintf("http://127.0.0.1:%d/api/v2.0", port)}
	d.Buoy = harness.Bellbuoy(t, deskConfig(t, port, more))
	return d
}

// apiAnswer is an answer of the API.
type apiAnswer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request as an account; header is name, value, …
func (d *desk) ask(account, method, path, body string, header ...string) apiAnswer {
	d.t.Helper()
	resp := d.send(account, method, path, body, header...)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		d.t.Fatal(err)
	}
	return apiAnswer{resp.StatusCode, resp.Header, strings.TrimSpace(string(data))}
}

// send sends a request as an account and returns the answer, whose body is still to be read. path
// is a path of the API, or a URL.
func (d *desk) send(account, method, path, body string, header ...string) *http.Response {
	d.t.Helper()
	target := d.api + path
	if strings.HasPrefix(path, "http") {
		target = path
	}
	req, err := http.NewRequestWithContext(d.t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		d.t.Fatal(err)
	}
	switch {
	case strings.HasPrefix(account, "Bearer "):
		req.Header.Set("Authorization", account)
	case account != "":
		req.SetBasicAuth(account, "secret")
	}
	for i := 0; i+1 < len(header); i += 2 {
		if req.Header.Set(header[i], header[i+1]); header[i] == "Host" {
			req.Host = header[i+1]
		}
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		d.t.Fatal(err)
	}
	return resp
}

// want sends a request and compares status and body. In the body, times are written TIME, and ids
// the ones of the pattern.
func (d *desk) want(account, method, path, body string, status int, want string, header ...string) apiAnswer {
	d.t.Helper()
	got := d.ask(account, method, path, body, header...)
	if plain := anyTime.ReplaceAllString(got.body, `"TIME"`); got.status != status || plain != want {
		d.t.Errorf("%s %s as %q: %d\n got %s\nwant %d\n     %s", method, path, account, got.status, plain, status, want)
	}
	return got
}

var anyTime = regexp.MustCompile(`"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z"`)

func (d *desk) list(account, path string) (all []map[string]any) {
	d.t.Helper()
	got := d.ask(account, "GET", path, "")
	if err := json.Unmarshal([]byte(got.body), &all); got.status != 200 || err != nil {
		d.t.Fatalf("GET %s: got %d %s", path, got.status, got.body)
	}
	return all
}

// The requests of terraform-provider-harbor, as it sends them, from the creation of a webhook to
// its end.
func TestRequestsOfTerraformHarborProvider(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	config := harness.RegistryUpstream(registry.URL) + fmt.Sprintf("webhooks:\n  - {name: all, url: %q}\n  - {name: mine, url: %q, auth_header: hidden, match: {projects: [team]}}\n", hooks.URL("/all"), hooks.URL("/mine"))
	d := newDesk(t, config)
	terraform := []string{"Content-Type", "application/json"}

	// data "harbor_project": a project to which nothing was pushed.
	got := d.ask("ops", "GET", "/projects?name=team", "", terraform...)
	var projects []struct {
		ID       int64             `json:"project_id"`
		Name     string            `json:"name"`
		Metadata map[string]string `json:"metadata"`
	}
	if err := json.Unmarshal([]byte(got.body), &projects); err != nil || len(projects) != 1 || projects[0].Name != "team" || projects[0].ID < 1 || projects[0].Metadata["public"] != "false" {
		t.Fatalf("list of projects: got %+v %s", projects, got.body)
	}
	project := fmt.Sprintf("/projects/%d", projects[0].ID)
	d.want("ops", "GET", project+"/scanner", "", 404, `{"errors":[{"code":"NOT_FOUND","message":"the project has no scanner"}]}`, terraform...)

	body := func(name, address, auth string) string {
		return `{"update_time":"0001-01-01T00:00:00Z","description":"","creator":"","creation_time":"0001-01-01T00:00:00Z","enabled":true,"targets":[{"type":"http","auth_header":"` + auth +
			`","skip_cert_verify":true,"address":"` + address + `","payload_format:omitempty":""}],"event_types":["PUSH_ARTIFACT","SCANNING_STOPPED","TAG_RETENTION"],"project_id":0,"id":0,"name":"` + name + `"}`
	}
	policy := func(auth string) string {
		return `{"id":1,"name":"tf","project_id":` + fmt.Sprint(projects[0].ID) + `,"targets":[{"type":"http","address":"` + hooks.URL("/tf/") + `","auth_header":"` + auth +
			`","skip_cert_verify":true,"payload_format":"Default"}],"event_types":["PUSH_ARTIFACT","SCANNING_STOPPED","TAG_RETENTION"],"creator":"ops","creation_time":"TIME","update_time":"TIME","enabled":true}`
	}
	created := d.want("ops", "POST", project+"/webhook/policies", body("tf", hooks.URL("/tf/"), "Bearer x"), 201, "", terraform...)
	at := project + "/webhook/policies/1"
	if location := created.header.Get("Location"); location != "/api/v2.0"+at {
		t.Fatalf("got the Location %q", location)
	}
	d.want("ops", "GET", at, "", 200, policy("Bearer x"), terraform...)
	harness.Push(t, d.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	harness.Push(t, d.ProxyURL, "other/app", "v1", harness.NewImage(harness.ImageOptions{}))
	if p := hooks.WaitAt("/tf/", 1, harness.Soon)[0]; p.Header.Get("Authorization") != "Bearer x" || p.Text("type") != "PUSH_ARTIFACT" {
		t.Errorf("got the post %s %s", p.Header, p.Body)
	}

	d.want("ops", "PUT", at, body("tf", hooks.URL("/tf/"), "Bearer y"), 200, "", terraform...)
	d.want("ops", "GET", at, "", 200, policy("Bearer y"), terraform...)
	d.Restart()
	d.want("ops", "GET", at, "", 200, policy("Bearer y"), terraform...) // import, after a restart
	d.Reload(deskConfig(t, d.port, strings.Replace(config, "webhooks:", "# changed\nwebhooks:", 1)))
	d.WaitLog("configuration reloaded", harness.Soon)
	harness.Push(t, d.ProxyURL, "team/app", "v2", harness.NewImage(harness.ImageOptions{}))
	if p := hooks.WaitAt("/tf/", 2, harness.Soon)[1]; p.Header.Get("Authorization") != "Bearer y" {
		t.Errorf("after restart and reload: %s", p.Header)
	}
	hooks.WaitAt("/all", 3, harness.Soon)
	if n := len(hooks.Posts("/tf/")); n != 2 {
		t.Errorf("the webhook of team got %d POSTs, of another project too", n)
	}

	// When a webhook is destroyed, its pending deliveries are kept as dead letters, and no
	// later webhook of the name gets them.
	hooks.Statuses("/tf/", 500, 500, 500, 500, 500, 500, 500, 500)
	harness.Push(t, d.ProxyURL, "team/app", "v3", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/tf/", 3, harness.Soon)
	d.want("ops", "DELETE", at, "", 200, "", terraform...)
	d.want("ops", "GET", at, "", 404, `{"errors":[{"code":"NOT_FOUND","message":"webhook policy 1 not found"}]}`, terraform...)
	dead := func() []harness.Delivery {
		return harness.Deliveries(t, d.Buoy, "--webhook", "team/tf#1", "--state", "dead")
	}
	harness.Eventually(harness.Soon, func() bool { return len(dead()) > 0 })
	if got := dead(); len(got) != 1 || got[0].Reason != "deleted" {
		t.Errorf("got the deliveries %+v", got)
	}
	again := d.want("ops", "POST", project+"/webhook/policies", body("tf", hooks.URL("/again"), ""), 201, "", terraform...)
	if location := again.header.Get("Location"); !strings.HasSuffix(location, "/policies/2") {
		t.Errorf("a number is given twice: %s", location)
	}
	harness.Push(t, d.ProxyURL, "team/app", "v4", harness.NewImage(harness.ImageOptions{}))
	if p := hooks.WaitAt("/again", 1, harness.Soon); len(p) != 1 || !strings.Contains(string(p[0].Body), "v4") {
		t.Errorf("got the post %s", p[0].Body)
	}

	// Webhooks of the file are listed and cannot be changed.
	var file string
	for _, p := range d.list("dev", project+"/webhook/policies") {
		if p["name"] == "mine" {
			file = fmt.Sprintf("%s/webhook/policies/%.0f", project, p["id"])
		}
		if p["name"] == "all" {
			t.Error("dev sees a webhook of all projects")
		}
	}
	for _, method := range []string{"PUT", "DELETE"} {
		if got := d.ask("ops", method, file, body("mine", hooks.URL("/x"), "")); got.status != 403 || !strings.Contains(got.body, "bellbuoy.yaml:") || !strings.Contains(got.body, `"code":"FORBIDDEN"`) {
			t.Errorf("%s of a webhook of the file: got %d %s", method, got.status, got.body)
		}
	}
	if got := d.ask("ops", "GET", file, ""); strings.Contains(got.body, "hidden") {
		t.Errorf("a secret of the file: %s", got.body)
	}
	if n := len(d.list("ops", project+"/webhook/policies")); n != 3 {
		t.Errorf("ops sees %d webhooks of team", n)
	}
}

// The requests of harbor-cli, and requests that belong to them.
func TestRequestsOfHarborCLI(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	d := newDesk(t, harness.RegistryUpstream(registry.URL))
	user := d.ask("dev", "GET", "/users/current", "")
	if !regexp.MustCompile(`^\{"user_id":\d+,"username":"dev","realname":"dev","sysadmin_flag":false,"admin_role_in_auth":false\}$`).MatchString(user.body) {
		t.Errorf("current user: got %s", user.body)
	}
	d.want("dev", "GET", "/ping", "", 200, "Pong")
	body := func(name, more string) string {
		return `{"creation_time":"0001-01-01T00:00:00.000Z","enabled":true,"event_types":["PUSH_ARTIFACT","DELETE_ARTIFACT"]` + name + `,"targets":[{"address":"` + hooks.URL("/cli") + `"` + more + `,"payload_format":"Default","type":"http"}],"update_time":"0001-01-01T00:00:00.000Z"}`
	}
	// dev is a limited account: the receiver, on loopback, is never called.
	d.want("dev", "POST", "/projects/team/webhook/policies", body(`,"name":"hook1"`, ""), 400,
		`{"errors":[{"code":"BAD_REQUEST","message":"url: `+manage.NotAllowed+`"}]}`)
	d.want("ops", "POST", "/projects/team/webhook/policies", body(`,"name":"hook1"`, `,"auth_header":"Bearer t"`), 201, "")
	d.want("ops", "POST", "/projects/team/webhook/policies", body(`,"name":"hook1"`, ""), 409,
		`{"errors":[{"code":"CONFLICT","message":"the project has a webhook of that name"}]}`)
	d.want("ops", "POST", "/projects/x-1/webhook/policies", body(`,"name":"hook1"`, ""), 201, "")
	harness.Push(t, d.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/cli", 1, harness.Soon)
	team := d.list("ops", "/projects?name=team&page=0&page_size=0&q=&sort=")[0]["project_id"]
	shown := fmt.Sprintf(`[{"id":1,"name":"hook1","project_id":%.0f,"targets":[{"type":"http","address":"%s","auth_header":"Bearer t","payload_format":"Default"}],"event_types":["PUSH_ARTIFACT","DELETE_ARTIFACT"],"creator":"ops","creation_time":"TIME","update_time":"TIME","enabled":true}]`, team, hooks.URL("/cli"))
	got := d.want("dev", "GET", "/projects/team/webhook/policies", "", 200, shown)
	if got.header.Get("X-Total-Count") != "1" || got.header.Get("Content-Type") != "application/json; charset=utf-8" || got.header.Get("X-Request-Id") == "" {
		t.Errorf("got the header %v", got.header)
	}
	// Executions, tasks, log, jobs and last triggers of the delivery.
	harness.Eventually(harness.Soon, func() bool { return harness.FirstDelivery(t, d.Buoy, "team/hook1").State == "delivered" })
	execution := d.list("dev", "/projects/team/webhook/policies/1/executions?q=status%3DSuccess")[0]
	id := fmt.Sprintf("%.0f", execution["id"])
	extra := execution["extra_attrs"].(map[string]any)
	if execution["status"] != "Success" || execution["vendor_type"] != "WEBHOOK" || execution["vendor_id"] != 1.0 || extra["event_type"] != "PUSH_ARTIFACT" || !strings.Contains(extra["payload"].(string), `"operator"`) {
		t.Errorf("got the execution %v", execution)
	}
	if task := d.list("dev", "/projects/team/webhook/policies/1/executions/"+id+"/tasks")[0]; task["execution_id"] != execution["id"] || task["run_count"] != 1.0 {
		t.Errorf("got the task %v", task)
	}
	log := d.ask("dev", "GET", "/projects/team/webhook/policies/1/executions/"+id+"/tasks/"+id+"/log", "")
	if log.status != 200 || !strings.HasPrefix(log.header.Get("Content-Type"), "text/plain") || !strings.Contains(log.body, "response code 200") {
		t.Errorf("got the log %+v", log)
	}
	if job := d.list("dev", "/projects/team/webhook/jobs?policy_id=1&status=Success&status=Error")[0]; job["event_type"] != "PUSH_ARTIFACT" || job["notify_type"] != "http" {
		t.Errorf("got the job %v", job)
	}
	d.want("dev", "GET", "/projects/team/webhook/jobs", "", 422, `{"errors":[{"code":"UNPROCESSABLE_ENTITY","message":"policy_id in query is required, and a number"}]}`)
	d.want("dev", "GET", "/projects/team/webhook/lasttrigger", "", 200,
		`[{"policy_name":"hook1","event_type":"PUSH_ARTIFACT","enabled":true,"creation_time":"TIME","last_trigger_time":"TIME"},{"policy_name":"hook1","event_type":"DELETE_ARTIFACT","enabled":true,"creation_time":"TIME","last_trigger_time":"0001-01-01T00:00:00.000Z"}]`)
	// An edit without a name keeps the name, one without auth_header removes that; an edit by a
	// limited account limits the webhook.
	d.want("ops", "PUT", "/projects/team/webhook/policies/1", body("", ""), 200, "")
	if p := d.list("ops", "/projects/team/webhook/policies?q=name%3D~HOOK")[0]; p["name"] != "hook1" || strings.Contains(fmt.Sprint(p), "Bearer") {
		t.Errorf("got the policy %v", p)
	}
	d.want("dev", "DELETE", "/projects/team/webhook/policies/1", "", 200, "")
	d.want("dev", "GET", "/projects/team/webhook/policies", "", 200, "[]")
	if !strings.Contains(d.Logs(), `"webhook deleted"`) || !strings.Contains(d.Logs(), `"account":"dev"`) {
		t.Error("the log lacks the account that deleted a webhook")
	}
}

func TestHarborAPIRefusesInvalidRequests(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "upstreams: [{type: registry, url: http://127.0.0.1:1}]\n")
	target := func(t string) string { return `{"name":"a","event_types":["PUSH_ARTIFACT"],"targets":[` + t + `]}` }
	for body, want := range map[string]string{
		``:   "not a policy in JSON",
		`[]`: "not a policy in JSON",
		`{"name":"a","targets":[{"type":"http","address":"https://e.example.com"}]}`:                                                                "empty event type",
		`{"name":"a","event_types":["PUSH"],"targets":[]}`:                                                                                          "unsupported event type PUSH",
		`{"name":"a","event_types":["PUSH_ARTIFACT"],"targets":[]}`:                                                                                 "one target here, not 0",
		`{"event_types":["PUSH_ARTIFACT"],"targets":[{"type":"http","address":"x"}]}`:                                                               "name is missing",
		target(`{"type":"http","address":"https://a.example.com"},{"type":"http","address":"https://b.example.com"}`):                               "one target here, not 2",
		target(`{"type":"mail","address":"https://e.example.com"}`):                                                                                 "unsupported target type mail",
		target(`{"type":"slack","address":"https://e.example.com","payload_format":"Default"}`):                                                     "payload_format is not for",
		target(`{"type":"http","address":"https://e.example.com","payload_format":"nonsense"}`):                                                     "format: ",
		target(`{"type":"http","address":""}`):                                                                                                      "url: is missing",
		target(`{"type":"http","address":"ftp://e.example.com"}`):                                                                                   "url: ",
		target(`{"type":"http","address":"https://${HOME}.example.com"}`):                                                                           "${…} is for the configuration file only",
		target(`{"type":"http","address":"https://e.example.com","auth_header":"a\nb"}`):                                                            "auth_header: ",
		target(`{"type":"http","address":"http://169.254.169.254/"}`):                                                                               "denied by egress",
		`{"name":"` + strings.Repeat("n", 200) + `","event_types":["PUSH_ARTIFACT"],"targets":[{"type":"http","address":"https://e.example.com"}]}`: "name: is longer",
		`{"description":"` + strings.Repeat("n", 300<<10) + `"}`:                                                                                    "too large",
	} {
		if got := d.ask("ops", "POST", "/projects/team/webhook/policies", body); got.status != 400 || !strings.Contains(got.body, want) {
			t.Errorf("creating %.200s: got %d %s, want %q", body, got.status, got.body, want)
		}
	}
	good := `{"name":"a","event_types":["PUSH_ARTIFACT"],"enabled":true,"targets":[{"type":"http","address":"https://e.example.com","skip_cert_verify":true}]}`
	if got := d.ask("dev", "POST", "/projects/team/webhook/policies", good); got.status != 400 || !strings.Contains(got.body, "skip_cert_verify") {
		t.Errorf("skip_cert_verify of a limited account: %d %s", got.status, got.body)
	}
	for path, want := range map[string]int{"?page_size=101": 422, "?page=x": 422, "?q=colour%3Dred": 400, "?sort=colour": 400, "?page_size=0&page=0&sort=-name": 200, "/x": 422, "/99": 404} {
		if got := d.ask("ops", "GET", "/projects/team/webhook/policies"+path, ""); got.status != want {
			t.Errorf("GET %s: got %d %s", path, got.status, got.body)
		}
	}
	if n := len(d.list("ops", "/projects/team/webhook/policies")); n != 0 {
		t.Errorf("%d webhooks were made", n)
	}
}

// Which accounts may use which endpoint. An endpoint without a row fails.
func TestAccessToHarborAPI(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "upstreams: [{type: registry, url: http://127.0.0.1:1}]\n")
	d.want("ops", "POST", "/projects/team/webhook/policies", `{"name":"a","event_types":["PUSH_ARTIFACT"],"enabled":true,"targets":[{"type":"http","address":"https://e.example.com"}]}`, 201, "")
	const policies = "/projects/{project}/webhook/policies"
	// The answers to those who are allowed, ops and dev alike. Reads of what does not exist are
	// 404, such writes 400.
	allowed := map[string]int{
		"GET /ping": 200, "GET /users/current": 200, "GET /systeminfo": 200, "GET /health": 200, "GET /projects": 200,
		"GET /projects/{project}": 200, "GET /projects/{project}/scanner": 404,
		"GET " + policies: 200, "POST " + policies: 400, "GET " + policies + "/{policy}": 200, "PUT " + policies + "/{policy}": 400,
		"DELETE " + policies + "/{policy}": 200, "GET " + policies + "/{policy}/executions": 200,
		"GET " + policies + "/{policy}/executions/{execution}/tasks": 404, "GET " + policies + "/{policy}/executions/{execution}/tasks/{task}/log": 404,
		"GET /projects/{project}/webhook/events": 200, "GET /projects/{project}/webhook/lasttrigger": 200, "GET /projects/{project}/webhook/jobs": 422,
	}
	routes := api.Routes()
	slices.SortStableFunc(routes, func(a, b api.Route) int { return strings.Compare(b.Method, a.Method) }) // DELETE comes last
	path := strings.NewReplacer("{project}", "team", "{policy}", "1", "{execution}", "1", "{task}", "1")
	for i, r := range routes {
		want, ok := allowed[r.Method+" "+r.Path]
		if !ok {
			t.Errorf("%s %s is in no row", r.Method, r.Path)
			continue
		}
		ofProject := strings.Contains(r.Path, "{project}")
		if r.Method == "DELETE" {
			ofProject = true
		}
		other := want
		if ofProject {
			other = 404
		}
		stranger := fmt.Sprintf("198.51.100.%d", i) // failed logins of one address are limited
		for _, who := range []struct {
			name, account string
			header        []string
			want          int
		}{
			{"nobody", "", nil, 401},
			{"a wrong token", "Bearer wrong", []string{"X-Forwarded-For", stranger}, 401},
			{"a wrong user", "nobody", []string{"X-Forwarded-For", stranger}, 401},
			{"another site", "ops", []string{"Origin", "https://evil.example.com"}, 403},
			{"a foreign Host", "ops", []string{"Host", "evil.example.com"}, 403},
			{"a form of another site", "", []string{"Origin", "null", "Content-Type", "application/x-www-form-urlencoded"}, 403},
			{"an account of another project", "guest", nil, other},
			{"an administrator", "ops", nil, want},
			{"a limited account", "dev", nil, want},
			{"an administrator's token", "Bearer " + opsToken, nil, want},
			{"a limited token", "Bearer " + devToken, nil, want},
		} {
			expect := who.want
			if r.Method == "DELETE" && (who.name == "a limited account" || strings.Contains(who.name, "token") && who.want == want) {
				expect = 404 // the administrator has deleted it
			}
			if got := d.ask(who.account, r.Method, path.Replace(r.Path), "", who.header...); got.status != expect || got.status >= 400 && !strings.HasPrefix(got.body, `{"errors":[{"code":"`) {
				t.Errorf("%s %s by %s: %d %s, want %d", r.Method, r.Path, who.name, got.status, got.body, expect)
			}
		}
	}
	for account, want := range map[string]int{"": 401, "dev": 403, "ops": 200} {
		if got := d.ask(account, "GET", fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/cmdline", d.port), ""); got.status != want {
			t.Errorf("profiles by %q: %d", account, got.status)
		}
	}
	for account, want := range map[string]string{"dev": "team", "guest": "other"} {
		if all := d.list(account, "/projects"); len(all) != 1 || all[0]["name"] != want {
			t.Errorf("%s lists %v", account, all)
		}
	}
	if all := d.list("dev", "/projects?name=x-new"); len(all) != 1 || all[0]["name"] != "x-new" {
		t.Errorf("a project that dev may manage is not there: %v", all)
	}
	if all := d.list("dev", "/projects?name=other"); len(all) != 0 {
		t.Errorf("dev sees %v", all)
	}
}
