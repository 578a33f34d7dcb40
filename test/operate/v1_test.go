package operate

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// v1 sends a request to bellbuoy's own API and decodes the answer.
func (d *desk) v1(account, method, path, body string, status int, header ...string) (answer map[string]any, got apiAnswer) {
	d.t.Helper()
	if body != "" {
		header = append(header, "Content-Type", "application/json")
	}
	got = d.ask(account, method, fmt.Sprintf("http://127.0.0.1:%d%s%s", d.port, api.V1Path, path), body, header...)
	if got.status != status {
		d.t.Errorf("%s %s as %q: %d %s, want %d", method, path, account, got.status, got.body, status)
	}
	if got.status != http.StatusNoContent && !strings.HasSuffix(path, "yaml") {
		if err := json.Unmarshal([]byte(got.body), &answer); err != nil {
			d.t.Errorf("%s %s: %v: %s", method, path, err, got.body)
		}
	}
	return answer, got
}

// The life of a webhook in bellbuoy's own API, with all keys that an entry of the file can have,
// across a restart. Harbor's API and the commands show the same webhook.
func TestWebhooksOfV1(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	d := newDesk(t, harness.RegistryUpstream(registry.URL))
	definition := fmt.Sprintf(`{"name":"ci","url":%q,"format":"bellbuoy","match":{"tags":["v*"]},"auth_header":"Bearer hidden","headers":{"X-Key":"hidden"},"timeout":"5s","retry":["0s","1s"]}`, hooks.URL("/v1"))
	draft := `{"project":"team","definition":` + definition + `}`
	body, _ := d.v1("ops", "POST", "/webhooks/preview", draft, 200)
	if !strings.Contains(body["text"].(string), "PUSH_ARTIFACT") {
		t.Errorf("got the webhook %v", body)
	}
	if sent, _ := d.v1("ops", "POST", "/webhooks/test", draft, 200); sent["ok"] != true || sent["status"] != 200.0 {
		t.Errorf("test send: got %v", sent)
	}
	d.v1("dev", "POST", "/webhooks/test", draft, 422)
	if got := hooks.WaitAt("/v1", 1, harness.Soon); len(got) != 1 || got[0].Header.Get("X-Key") != "hidden" {
		t.Errorf("%d test sends", len(got))
	}
	made, got := d.v1("ops", "POST", "/webhooks", draft, 201)
	if got.header.Get("Location") != "/api/v1/webhooks/1" || made["number"] != 1.0 || got.header.Get("ETag") != `"1"` || made["maker"] != "ops" || strings.Contains(got.body, "hidden") {
		t.Errorf("got the webhook %s", got.body)
	}
	d.v1("ops", "POST", "/webhooks", draft, 409)
	harness.Push(t, d.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	harness.Push(t, d.ProxyURL, "team/app", "latest", harness.NewImage(harness.ImageOptions{}))
	if got := hooks.WaitAt("/v1", 2, harness.Soon); len(got) != 2 || !strings.Contains(string(got[1].Body), `"v1"`) {
		t.Errorf("got %d POSTs", len(got))
	}
	if matched, _ := d.v1("dev", "POST", "/webhooks/matching", `{"project":"team","number":1,"definition":{"name":"ci","url":"https://e.example.com","match":{"tags":["*"]}}}`, 200); matched["events"] != 2.0 || matched["complete"] != true {
		t.Errorf("match: got %v", matched)
	}
	// A webhook that is sent back as it was shown changes only its version.
	shown, err := json.Marshal(made["definition"])
	if err != nil {
		t.Fatal(err)
	}
	changed, _ := d.v1("ops", "PUT", "/webhooks/1", string(shown), 200, "If-Match", `"1"`)
	if changed["version"] != 2.0 || fmt.Sprint(changed["definition"]) != fmt.Sprint(made["definition"]) {
		t.Errorf("got the webhook %v", changed)
	}
	d.v1("ops", "PUT", "/webhooks/1", string(shown), 412, "If-Match", `"1"`)
	if refused, _ := d.v1("ops", "PUT", "/webhooks/1", strings.ReplaceAll(string(shown), hooks.URL("/v1"), hooks.URL("/other")), 422); !strings.Contains(fmt.Sprint(refused["errors"]), "auth_header") {
		t.Errorf("edit with an old version: got %v", refused)
	}
	d.Restart()
	if sent, _ := d.v1("ops", "POST", "/webhooks/1/test", "", 200); sent["ok"] != true {
		t.Errorf("after a restart: %v", sent)
	}
	// Harbor's API changes only the fields that it has.
	policy := fmt.Sprintf(`{"name":"ci","enabled":true,"event_types":["PUSH_ARTIFACT"],"targets":[{"type":"http","address":%q,"auth_header":"Bearer new","payload_format":"bellbuoy"}]}`, hooks.URL("/v1"))
	d.want("ops", "PUT", "/projects/team/webhook/policies/1", policy, 200, "")
	now, _ := d.v1("dev", "GET", "/webhooks/1", "", 200)
	if def := now["definition"].(map[string]any); fmt.Sprint(def["headers"]) != "map[X-Key:***]" || fmt.Sprint(def["match"]) != "map[tags:[v*]]" || fmt.Sprint(def["retry"]) != "[0s 1s]" || fmt.Sprint(def["events"]) != "[PUSH_ARTIFACT]" {
		t.Errorf("got the definition %v", def)
	}
	for _, command := range [][]string{{"ping", "team/ci"}, {"disable", "team/ci"}, {"enable", "team/ci#1"}} {
		if out, err := d.Command(command...); err != nil {
			t.Errorf("%v: got %s, %v", command, out, err)
		}
	}
	if text := d.ask("dev", "GET", fmt.Sprintf("http://127.0.0.1:%d/api/v1/webhooks/1/yaml", d.port), ""); !strings.Contains(text.body, "${TEAM_CI_AUTH_HEADER}") || strings.Contains(text.body, "Bearer") {
		t.Errorf("got the webhook %s", text.body)
	}
	for account, want := range map[string]string{"ops": "other private public public team private", "dev": "team private"} {
		var shown []string
		projects, _ := d.v1(account, "GET", "/projects", "", 200)
		for _, p := range projects["items"].([]any) {
			project := p.(map[string]any)
			shown = append(shown, project["name"].(string), project["visibility"].(string))
		}
		if strings.Join(shown, " ") != want {
			t.Errorf("%s lists %v", account, shown)
		}
	}
	for _, name := range []string{"b", "c"} {
		d.v1("dev", "POST", "/webhooks", `{"project":"team","definition":{"name":"`+name+`","url":"https://e.example.com/"}}`, 201)
	}
	var names []string
	for cursor := ""; ; {
		page, _ := d.v1("dev", "GET", "/webhooks?limit=1&cursor="+cursor, "", 200)
		for _, w := range page["items"].([]any) {
			names = append(names, w.(map[string]any)["name"].(string))
		}
		next, more := page["next"].(string)
		if !more {
			break
		}
		cursor = next
	}
	if fmt.Sprint(names) != "[b c ci]" {
		t.Errorf("got the pages %v", names)
	}
	d.v1("dev", "DELETE", "/webhooks/1", "", 204)
	d.v1("dev", "GET", "/webhooks/1", "", 404)
}

// Which accounts may use which endpoint. An endpoint without a row fails.
func TestAccessToV1API(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "upstreams: [{type: registry, url: http://127.0.0.1:1}]\n")
	d.v1("ops", "POST", "/webhooks", `{"project":"team","definition":{"name":"a","url":"https://e.example.com"}}`, 201)
	type row struct{ ops, dev, guest int }
	everybody := func(status int) row { return row{status, status, status} }
	ofTeam := func(status int) row { return row{status, status, 404} }
	rows := map[string]row{
		"GET /version": everybody(200), "GET /openapi.json": everybody(200), "GET /openapi.yaml": everybody(200),
		"GET /events": everybody(200), "GET /events/stream": everybody(200), "GET /events/{id}": everybody(404),
		"GET /events/{id}/body": everybody(404), "GET /events/{id}/explain": everybody(404),
		"GET /deliveries": everybody(200), "GET /deliveries/count": everybody(200), "GET /deliveries/{id}": everybody(404),
		"POST /deliveries/redeliver": everybody(400), "POST /replay": everybody(400),
		"GET /webhooks": everybody(200), "POST /webhooks": everybody(400), "POST /webhooks/signing-secret": everybody(200),
		"POST /webhooks/test": everybody(400), "POST /webhooks/preview": everybody(400), "POST /webhooks/matching": everybody(400),
		"GET /webhooks/{number}": ofTeam(200), "PUT /webhooks/{number}": everybody(400), "DELETE /webhooks/{number}": {204, 404, 404},
		"POST /webhooks/{number}/enable": ofTeam(204), "POST /webhooks/{number}/disable": ofTeam(204), "POST /webhooks/{number}/test": ofTeam(200),
		"POST /webhooks/{number}/take-over": {204, 403, 403}, "GET /webhooks/{number}/triggers": ofTeam(200), "GET /webhooks/{number}/yaml": ofTeam(200),
		"GET /projects": everybody(200), "GET /quotas": everybody(422), "GET /scans": everybody(200), "POST /scans": everybody(400),
		"GET /replications":  everybody(200),
		"GET /counts/events": everybody(200), "GET /counts/deliveries": everybody(200), "GET /counts/traffic": {200, 403, 403},
		"GET /waiting": {200, 403, 403}, "POST /console": {403, 403, 403}, // the console's address is for admin.sock only
		"GET /status": {200, 403, 403}, "POST /reload": {200, 403, 403}, "POST /backup": {200, 403, 403}, "POST /index": {422, 403, 403}, "GET /explain": {200, 403, 403},
	}
	cookie, own := d.session(), fmt.Sprintf("http://127.0.0.1:%d", d.port)
	operations := (&api.V1{Log: zap.NewNop()}).Endpoints()
	slices.SortStableFunc(operations, func(a, b api.V1Operation) int { return strings.Compare(b.Method, a.Method) }) // DELETE comes last
	for i, o := range operations {
		path := strings.TrimPrefix(o.Path, api.V1Path)
		want, ok := rows[o.Method+" "+path]
		if !ok {
			t.Errorf("%s %s is in no row", o.Method, path)
			continue
		}
		if o.Administrators && (want.dev != 403 || want.guest != 403) {
			t.Errorf("%s %s is for administrators", o.Method, path)
		}
		path = strings.NewReplacer("{number}", "1", "{id}", "1").Replace(path)
		path += map[string]string{"GET /events/1/body": "?format=harbor", "GET /explain": "?method=PUT&url=/v2/team/app/manifests/v1"}[o.Method+" "+path]
		stranger := fmt.Sprintf("198.51.100.%d", i) // failed logins of one address are limited
		bySession := 403                            // without the session's form token
		if o.Method == "GET" {
			bySession = want.ops
		}
		for _, who := range []struct {
			name, account string
			header        []string
			want          int
		}{
			{"nobody", "", nil, 401},
			{"a session", "", []string{"Cookie", cookie, "Origin", own}, bySession},
			{"a session's form without an Origin", "", []string{"Cookie", cookie, "X-Form-Token", "x"}, bySession},
			{"a session at a foreign Host", "", []string{"Cookie", cookie, "Host", "evil.example.com"}, 403},
			{"an ended session", "", []string{"Cookie", "bellbuoy=" + strings.Repeat("A", 43), "Origin", own}, 401},
			{"a wrong token", "Bearer wrong", []string{"X-Forwarded-For", stranger}, 401},
			{"a wrong user", "nobody", []string{"X-Forwarded-For", stranger}, 401},
			{"another site", "ops", []string{"Origin", "https://evil.example.com"}, 403},
			{"a foreign Host", "ops", []string{"Host", "evil.example.com"}, 403},
			{"a form of another site", "", []string{"Origin", "null", "Content-Type", "application/x-www-form-urlencoded"}, 403},
			{"an account of another project", "guest", nil, want.guest},
			{"an administrator", "ops", nil, want.ops},
			{"a limited account", "dev", nil, want.dev},
			{"an administrator's token", "Bearer " + opsToken, nil, want.ops},
			{"a limited token", "Bearer " + devToken, nil, want.dev},
		} {
			if o.Method == "DELETE" && who.name == "an administrator's token" {
				who.want = 404 // it is deleted
			}
			body := map[string]string{"/index": `{"upstream":"none"}`}[path]
			got := d.status(who.account, o.Method, api.V1Path+path, body, who.header...)
			if got != who.want {
				t.Errorf("%s %s by %s: %d, want %d", o.Method, path, who.name, got, who.want)
			}
		}
	}
	if page, _ := d.v1("guest", "GET", "/projects", "", 200); strings.Contains(fmt.Sprint(page), "team") {
		t.Errorf("guest sees %v", page)
	}
}

// status sends a request and returns the status, without waiting for the end of a stream.
func (d *desk) status(account, method, path, body string, header ...string) int {
	d.t.Helper()
	header = append([]string{"Content-Type", "application/json"}, header...)
	resp := d.send(account, method, fmt.Sprintf("http://127.0.0.1:%d%s", d.port, path), body, header...)
	defer resp.Body.Close()
	if !strings.HasSuffix(path, "/stream") {
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	return resp.StatusCode
}
