package faults

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// secrets has all secrets of an operator or a client, by their purpose. Each text is unique.
var secrets = map[string]string{
	"upstream password":     "s3cr3t-Upstream-Passw0rd",
	"webhook path":          "s3cr3t-path-T0000-B1111",
	"webhook query":         "s3cr3t-query-5f4dcc3b",
	"webhook user":          "s3cr3t-hook-user",
	"webhook password":      "s3cr3t-hook-passw0rd",
	"webhook header":        "s3cr3t-header-value",
	"authorization header":  "s3cr3t-auth-header",
	"signing secret":        base64.StdEncoding.EncodeToString([]byte("s3cr3t-signing-key-of-32-bytes!!")),
	"signature secret":      "s3cr3t-hmac-key",
	"proxy password":        "s3cr3t-proxy-passw0rd",
	"redirect target":       "s3cr3t-redirect-target",
	"admin token":           "s3cr3t-admin-token-0123456789abcdef",
	"client password":       "s3cr3t-client-passw0rd",
	"client token":          "s3cr3t-client-token",
	"client cookie":         "s3cr3t-client-cookie",
	"database password":     "s3cr3t-database-passw0rd",
	"environment":           "s3cr3t-from-the-environment",
	"registry's own answer": "s3cr3t-set-cookie",
}

// disguises are the forms in which a secret may be written.
func disguises(secret string) []string {
	raw := []byte(secret)
	if plain, err := base64.StdEncoding.DecodeString(secret); err == nil && len(plain) > 16 {
		raw = plain
	}
	return []string{secret, string(raw), url.QueryEscape(secret), hex.EncodeToString(raw), base64.StdEncoding.EncodeToString(raw), base64.RawURLEncoding.EncodeToString(raw)}
}

// leaks returns the secrets in a text.
func leaks(text string) (found []string) {
	for what, secret := range secrets {
		for _, d := range disguises(secret) {
			if i := strings.Index(text, d); i >= 0 {
				found = append(found, fmt.Sprintf("%s: …%s…", what, text[max(0, i-120):min(len(text), i+len(d)+60)]))
				break
			}
		}
	}
	for _, basic := range []string{"webhook user:" + "webhook password", "client:client password", "bellbuoy:upstream password"} {
		user, password, _ := strings.Cut(basic, ":")
		if s, ok := secrets[user]; ok {
			user = s
		}
		if strings.Contains(text, base64.StdEncoding.EncodeToString([]byte(user+":"+secrets[password]))) {
			found = append(found, basic+" as Basic credentials")
		}
	}
	return found
}

func TestLeaksAreFound(t *testing.T) {
	for what, secret := range secrets {
		for _, d := range disguises(secret) {
			if len(leaks("a "+d+" b")) == 0 {
				t.Errorf("%s as %q is not found", what, d)
			}
		}
	}
	if len(leaks("s3cr3t")) > 0 {
		t.Error("found a secret in a text without one")
	}
}

// No log line, error, metric or answer of admin.sock contains a secret, even if everything fails.
func TestNoOutputContainsSecrets(t *testing.T) {
	short(t)
	t.Parallel()
	shelf := newShelf()
	up := newGateway(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session="+secrets["registry's own answer"])
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("Www-Authenticate", `Basic realm="registry"`)
			registrySays(w, http.StatusUnauthorized, "UNAUTHORIZED")
			return
		}
		shelf.ServeHTTP(w, r)
	}))
	hooks := harness.NewReceiver(t)
	hooks.Answer("/echo/"+secrets["webhook path"], echo)
	hooks.Answer("/redirect", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://127.0.0.1:1/"+secrets["redirect target"], http.StatusFound)
	})
	hooks.Statuses("/gone/"+secrets["webhook path"], 410)
	hooks.Statuses("/never/"+secrets["webhook path"], 422)
	hooks.Hang("/hang/" + secrets["webhook path"])
	launch := harness.Hosts(t, "127.0.0.1 localhost\n169.254.169.254 denied.test\n") // nil: the name does not resolve, which fails too
	buoy := harness.BellbuoyWith(t, harness.BuoyOptions{Launch: launch, Env: []string{"HOOK_SECRET=" + secrets["environment"]}}, leakyConfig(t, up.URL, hooks))

	x := &trial{t: t, up: up, shelf: shelf, hooks: hooks, buoy: buoy}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("client:"+secrets["client password"]))
	for i, authorization := range []string{basic, "Bearer " + secrets["client token"], "Bearer " + jwt(), "Strange " + secrets["client token"], ""} {
		d := x.push(fmt.Sprint("v", i), "one")
		if i == 2 {
			up.next(lost)
		}
		for _, method := range []string{http.MethodPut, http.MethodHead, http.MethodGet, http.MethodDelete} {
			ask(t, buoy.ProxyURL+"/v2/team/app/manifests/"+d.reference, method, authorization, d.body)
		}
	}
	up.kill()
	ask(t, buoy.ProxyURL+"/v2/team/app/manifests/v1", http.MethodPut, basic, x.push("v1", "two").body)
	up.Start()
	x.until("every webhook has been tried", func() bool { return tried(buoy) })
	time.Sleep(500 * time.Millisecond)

	said := map[string]string{"log": buoy.Logs(), "metrics": buoy.Metrics()}
	for _, path := range []string{"/healthz", "/readyz"} {
		said[path] = ask(t, buoy.HealthURL+path, http.MethodGet, "", nil)
	}
	tellAll(t, buoy, said)
	buoy.Reload(leakyConfig(t, up.URL, hooks) + "nonsense: [" + secrets["webhook header"] + "\n")
	buoy.WaitLog("(?i)reload", patience)
	buoy.Stop()
	said["log at the end"] = buoy.Logs()
	for where, text := range said {
		if text == "" {
			t.Errorf("%s is empty", where)
		}
		for _, leak := range leaks(text) {
			t.Errorf("%s shows the %s", where, leak)
		}
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusInternalServerError)
	fmt.Fprintf(w, "you sent %s\n", r.URL)
	r.Header.Write(w)
}

// jwt returns an unsigned token with a name.
func jwt() string {
	part := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	return part(`{"alg":"none"}`) + "." + part(`{"sub":"somebody"}`) + "." + secrets["client token"]
}

func ask(t *testing.T, target, method, authorization string, body []byte) string {
	t.Helper()
	req, err := http.NewRequest(method, target, strings.NewReader(string(body)))
	if err != nil {
		t.Fatal(err)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	req.Header.Set("Cookie", "session="+secrets["client cookie"])
	req.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	resp, err := quick.Do(req)
	if err != nil {
		return err.Error()
	}
	defer resp.Body.Close()
	return readAll(resp)
}

// leakyConfig has webhooks that fail in every way, all with secrets in all places.
func leakyConfig(t *testing.T, upstream string, hooks *harness.Receiver) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(secrets["authorization header"]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	with := func(base, path string) string {
		u, err := url.Parse(base)
		if err != nil {
			t.Fatal(err)
		}
		u.User, u.Path = url.UserPassword(secrets["webhook user"], secrets["webhook password"]), path+"/"+secrets["webhook path"]
		u.RawQuery = "token=" + secrets["webhook query"]
		return u.String()
	}
	here := hooks.URL("")
	targets := []struct{ name, url, more string }{
		{"works", with(here, "/works"), ""},
		{"echo", with(here, "/echo"), ""},
		{"redirect", here + "/redirect", ""},
		{"gone", with(here, "/gone"), ""},
		{"never", with(here, "/never"), ""},
		{"hang", with(here, "/hang"), ", timeout: 300ms"},
		{"refused", with("http://127.0.0.1:1", ""), ""},
		{"nowhere", with("http://no-such-host.invalid", ""), ""},
		{"tls", with(strings.Replace(here, "http:", "https:", 1), ""), ""},
		{"denied", with("http://denied.test", ""), ""},
		{"proxied", with("http://example.invalid", ""), fmt.Sprintf(", proxy: %q", "http://proxy:"+secrets["proxy password"]+"@127.0.0.1:1")},
	}
	var b strings.Builder
	fmt.Fprintf(&b, "log: {level: debug, access: true}\nlimits: {write_timeout: 3s}\n")
	fmt.Fprintf(&b, "admin: {listen: \"127.0.0.1:0\", tokens: [{name: ci, token: %q}]}\n", secrets["admin token"])
	fmt.Fprintf(&b, "upstreams: [{type: registry, url: %q, credentials: {username: bellbuoy, password: %q}}]\nwebhooks:\n", upstream, secrets["upstream password"])
	for _, to := range targets {
		fmt.Fprintf(&b, `  - {name: %s, url: %q, events: ["*"], auth_header: "Bearer ${file:%s}", headers: {X-Key: %q, X-Env: "${HOOK_SECRET}"}, `+
			`signing_secrets: ["whsec_%s"], signatures: [{header: X-Hub-Signature-256, algorithm: sha256, prefix: "sha256=", encoding: hex, secret: %q}], `+
			"retry: [0s, 100ms, 100ms]%s}\n",
			to.name, to.url, file, secrets["webhook header"], secrets["signing secret"], secrets["signature secret"], to.more)
	}
	return b.String()
}

// tried reports whether each webhook has made its attempts.
func tried(b *harness.Buoy) bool {
	text, err := metrics(b)
	if err != nil {
		return false
	}
	for _, name := range []string{"works", "echo", "redirect", "never", "hang", "refused", "nowhere", "tls", "denied", "proxied"} {
		if !strings.Contains(text, `bellbuoy_delivery_duration_seconds_count{webhook="`+name+`"}`) && !strings.Contains(text, `bellbuoy_deliveries_total{outcome="dead",webhook="`+name+`"}`) {
			return false
		}
	}
	return true
}

// tellAll collects the output of all commands and all answers of the socket, by name.
func tellAll(t *testing.T, b *harness.Buoy, said map[string]string) {
	t.Helper()
	commands := [][]string{
		{"events"}, {"events", "--json", "-n", "1000"}, {"deliveries", "-n", "1000"}, {"deliveries", "--json", "-n", "1000"}, {"deliveries", "--state", "dead"},
		{"check"}, {"index"}, {"index", "--heads"}, {"explain", "PUT", b.ProxyURL + "/v2/team/app/manifests/v1"}, {"enable", "gone"}, {"disable", "works"},
		{"redeliver", "--webhook", "never", "--since", "1h", "--state", "dead"}, {"deliveries", "99999"}, {"enable", "nobody"},
	}
	for _, name := range []string{"works", "echo", "redirect", "never", "hang", "refused", "nowhere", "tls", "denied", "proxied", "gone"} {
		commands = append(commands, []string{"ping", name})
	}
	for _, id := range deliveryIDs(t, b) {
		commands = append(commands, []string{"deliveries", fmt.Sprint(id), "--json"}, []string{"deliveries", fmt.Sprint(id)})
	}
	for _, args := range commands {
		out, err := b.Command(args...)
		if err != nil {
			out += err.Error()
		}
		said["bellbuoy "+strings.Join(args, " ")] = out + " "
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", filepath.Join(b.DataDir, "admin.sock"))
	}}}
	for _, path := range []string{"/api/v1/deliveries?limit=500", "/api/v1/events?limit=500", "/nothing"} {
		resp, err := client.Get("http://admin" + path)
		if err != nil {
			t.Errorf("admin.sock: %v", err)
			continue
		}
		body, _ := io.ReadAll(resp.Body) // as far as it arrived
		resp.Body.Close()
		said["admin.sock "+path] = string(body)
	}
}

// deliveryIDs returns the id of one delivery of each webhook.
func deliveryIDs(t *testing.T, b *harness.Buoy) (ids []int64) {
	t.Helper()
	out, err := b.Command("deliveries", "--json", "-n", "1000")
	if err != nil {
		t.Errorf("bellbuoy deliveries: %v", err)
	}
	seen := map[string]bool{}
	for line := range strings.Lines(out) {
		var d struct {
			ID      int64
			Webhook string
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil {
			t.Errorf("decoding a delivery: %v: %s", err, line)
		}
		if !seen[d.Webhook] {
			seen[d.Webhook] = true
			ids = append(ids, d.ID)
		}
	}
	return ids
}

// The error about an invalid secret in a configuration does not contain the secret.
func TestConfigErrorsContainNoSecrets(t *testing.T) {
	short(t)
	t.Parallel()
	good := "upstreams: [{type: registry, url: http://127.0.0.1:5000}]\n"
	for name, yaml := range map[string]string{
		"an invalid url":            good + fmt.Sprintf("webhooks: [{name: a, url: \"http://u:%s@host:port/%s\"}]", secrets["webhook password"], secrets["webhook path"]),
		"an invalid scheme":         good + fmt.Sprintf("webhooks: [{name: a, url: \"ftp://u:%s@host/%s?%s\"}]", secrets["webhook password"], secrets["webhook path"], secrets["webhook query"]),
		"a signing secret":          good + fmt.Sprintf("webhooks: [{name: a, url: \"http://host/\", signing_secrets: [%q]}]", secrets["signature secret"]),
		"a header":                  good + fmt.Sprintf("webhooks: [{name: a, url: \"http://host/\", headers: {X-Key: \"%s\\n\"}}]", secrets["webhook header"]),
		"an authorization":          good + fmt.Sprintf("webhooks: [{name: a, url: \"http://host/\", auth_header: \"%s\\n\"}]", secrets["authorization header"]),
		"a list for a secret":       good + fmt.Sprintf("webhooks: [{name: a, url: \"http://host/\", auth_header: [%s]}]", secrets["authorization header"]),
		"a key of the wrong type":   good + fmt.Sprintf("webhooks: [{name: a, url: \"http://host/\", signatures: [{header: X, secret: {a: %s}}]}]", secrets["signature secret"]),
		"a proxy":                   good + fmt.Sprintf("webhooks: [{name: a, url: \"http://host/\", proxy: \"gopher://u:%s@h\"}]", secrets["proxy password"]),
		"an upstream with a user":   fmt.Sprintf("upstreams: [{type: registry, url: \"http://bellbuoy:%s@127.0.0.1:5000/path\"}]", secrets["upstream password"]),
		"an invalid database":       good + fmt.Sprintf("database: \"mysql://bellbuoy:%s@127.0.0.1/x\"", secrets["database password"]),
		"a database that is down":   good + fmt.Sprintf("database: \"postgres://bellbuoy:%s@127.0.0.1:1/x?sslmode=disable&connect_timeout=2\"", secrets["database password"]),
		"a database's bad url":      good + fmt.Sprintf("database: \"postgres://bellbuoy:%s@127.0.0.1:bad/x\"", secrets["database password"]),
		"a database's bad setting":  good + fmt.Sprintf("database: \"postgres://bellbuoy:%s@127.0.0.1:1/x?sslmode=%s\"", secrets["database password"], "odd"),
		"a secret twice":            good + fmt.Sprintf("webhooks: [{name: a, url: \"http://host/\", auth_header: %s, auth_header: %s}]", secrets["authorization header"], secrets["authorization header"]),
		"an admin token":            good + fmt.Sprintf("admin: {listen: \"0.0.0.0:0\", tokens: [{name: a, token: [%s]}]}", secrets["admin token"]),
		"a syntax error by a token": good + fmt.Sprintf("admin: {listen: \"127.0.0.1:0\", tokens: [{name: a, token: \"%s}]}", secrets["admin token"]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := harness.BellbuoyWith(t, harness.BuoyOptions{NoWait: true}, yaml)
			select {
			case <-b.Exited():
			case <-time.After(patience):
				t.Error("it runs")
			}
			out, err := b.Command("check")
			text := b.Logs() + out + fmt.Sprint(err)
			for _, leak := range leaks(text) {
				t.Errorf("shows the %s", leak)
			}
			if strings.TrimSpace(b.Logs()) == "" {
				t.Error("the error is empty")
			}
		})
	}
}
