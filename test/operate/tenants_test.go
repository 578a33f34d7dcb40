package operate

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

func policyOf(name, address string) string {
	return fmt.Sprintf(`{"name":%q,"enabled":true,"event_types":["PUSH_ARTIFACT"],"targets":[{"type":"http","address":%q}]}`, name, address)
}

// The webhook of a limited account, whose host is a name of this machine, never reaches this
// machine or its network, except what egress.private lists: not at creation, test send or delivery,
// not after a reload, not after an administrator's edit.
func TestLimitedAccountsWebhook(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	config := harness.RegistryUpstream(registry.URL)
	d := newDesk(t, config)
	const policies = "/projects/team/webhook/policies"
	port := hooks.URL("")[strings.LastIndexByte(hooks.URL(""), ':')+1:]
	refused := []string{
		"http://127.0.0.1:" + port, "http://[::1]:" + port, "http://[::ffff:127.0.0.1]:" + port, "http://[64:ff9b::7f00:1]:" + port, "http://[2001:db8::5efe:7f00:1]:" + port,
		"http://127.1:" + port, "http://2130706433:" + port, "http://0x7f.0.0.1:" + port, "http://0.0.0.0:" + port, "http://10.0.0.1/", "http://192.168.1.1/", "http://[fd00::1]/",
		"http://169.254.169.254/", "http://[fd00:ec2::23]/", "http://100.64.0.1/",
	}
	for _, ip := range ownAddresses(t) {
		refused = append(refused, "http://"+net.JoinHostPort(ip, port))
	}
	for _, address := range refused {
		if got := d.ask("dev", "POST", policies, policyOf("x", address)); got.status != 400 || !strings.Contains(got.body, "url: ") {
			t.Errorf("webhook of a limited account to %s: got %d %s", address, got.status, got.body)
		}
	}
	d.want("dev", "POST", policies, policyOf("name", fmt.Sprintf("http://LOCALHOST:%s/name", port)), 201, "")
	tried := func(when string) {
		t.Helper()
		if out, err := d.Command("ping", "team/name"); err == nil || !strings.Contains(out+err.Error(), "denied") {
			t.Errorf("%s: a test send: %v %s", when, err, out)
		}
		before := len(harness.Deliveries(t, d.Buoy, "--webhook", "team/name"))
		harness.Push(t, d.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
		harness.Eventually(harness.Soon, func() bool {
			all := harness.Deliveries(t, d.Buoy, "--webhook", "team/name")
			return len(all) > before && all[len(all)-1].Attempts > 0
		})
		if n := len(hooks.Posts("/name")); n > 0 {
			t.Fatalf("%s: it got %d POSTs", when, n)
		}
	}
	tried("when it is new")
	id := harness.Deliveries(t, d.Buoy, "--webhook", "team/name")[0].ID
	for _, path := range []string{
		"/api/v1/webhooks/1", "/api/v1/deliveries", fmt.Sprintf("/api/v1/deliveries/%d", id), "/api/v2.0" + policies + "/1/executions",
		fmt.Sprintf("/api/v2.0%s/1/executions/%d/tasks", policies, id), fmt.Sprintf("/api/v2.0%s/1/executions/%d/tasks/%d/log", policies, id, id),
	} {
		got := d.ask("dev", "GET", fmt.Sprintf("http://127.0.0.1:%d%s", d.port, path), "")
		if got.status != 200 || strings.Contains(got.body, "127.0.0.1:"+port) || strings.Contains(got.body, "egress") {
			t.Errorf("%s: %d %s", path, got.status, got.body)
		}
	}
	if log := d.ask("ops", "GET", fmt.Sprintf("%s/1/executions/%d/tasks/%d/log", policies, id, id), ""); !strings.Contains(log.body, "denied by egress: 127.0.0.1") {
		t.Errorf("an administrator's log: %s", log.body)
	}
	d.want("ops", "PUT", policies+"/1", policyOf("name", fmt.Sprintf("http://LOCALHOST:%s/name", port)), 200, "")
	tried("after an administrator's edit")
	d.Reload(deskConfig(t, d.port, "# again\n"+config))
	d.WaitLog("configuration reloaded", harness.Soon)
	tried("after a reload")
	d.Restart()
	tried("after a restart")
	d.Reload(deskConfig(t, d.port, "egress: {private: [127.0.0.0/8, \"::1\"]}\n"+config))
	harness.Eventually(harness.Soon, func() bool { return strings.Count(d.Logs(), "configuration reloaded") >= 2 })
	harness.Push(t, d.ProxyURL, "team/app", "v9", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/name", 5, harness.Soon) // with the four that were denied: their receiver works now

	// An administrator's webhook of the project may, until a limited account edits it.
	d.want("ops", "POST", policies, policyOf("ops", hooks.URL("/ops")), 201, "")
	d.Reload(deskConfig(t, d.port, config))
	harness.Eventually(harness.Soon, func() bool { return strings.Count(d.Logs(), "configuration reloaded") >= 3 })
	harness.Push(t, d.ProxyURL, "team/app", "v10", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/ops", 1, harness.Soon)
	if got := d.ask("dev", "PUT", policies+"/2", policyOf("ops", hooks.URL("/ops"))); got.status != 400 {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// ownAddresses returns the addresses of this machine's interfaces.
func ownAddresses(t testing.TB) (all []string) {
	t.Helper()
	found, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range found {
		if ip, ok := a.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			all = append(all, ip.IP.String())
		}
	}
	return all
}

// If a webhook in the file takes the name of another one, it gets the events. The deliveries of the
// other one are kept until the name is free again.
func TestFileTakesAName(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	config := harness.RegistryUpstream(registry.URL)
	d := newDesk(t, config)
	d.want("ops", "POST", "/projects/team/webhook/policies", policyOf("ci", hooks.URL("/api")), 201, "")
	d.Reload(deskConfig(t, d.port, config+fmt.Sprintf("webhooks:\n  - {name: team/ci, url: %q}\n", hooks.URL("/file"))))
	d.WaitLog("the configuration file has a webhook of its name", harness.Soon)
	if out, err := d.Command("status"); err == nil || !strings.Contains(out+err.Error(), "webhook team/ci#1, made by API, is off") {
		t.Errorf("status does not tell: %v %s", err, out)
	}
	harness.Push(t, d.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/file", 1, harness.Soon)
	if got := d.ask("ops", "POST", "/projects/team/webhook/policies", policyOf("ci", hooks.URL("/x"))); got.status != 409 {
		t.Errorf("got %d %s", got.status, got.body)
	}
	d.Reload(deskConfig(t, d.port, config))
	harness.Eventually(harness.Soon, func() bool { return strings.Count(d.Logs(), "configuration reloaded") >= 2 })
	harness.Push(t, d.ProxyURL, "team/app", "v2", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/api", 1, harness.Soon)
	if n := len(hooks.Posts("/file")); n != 1 {
		t.Errorf("the file's webhook got %d POSTs", n)
	}
}

// Two replicas share one PostgreSQL: a webhook that is made at one works at the other within a
// second, and has the same number.
func TestReplicasShareWebhooks(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	config := fmt.Sprintf("database: %q\n", harness.Postgres(t).Database(t, "bellbuoy")) + harness.RegistryUpstream(registry.URL)
	one, two := newDesk(t, config), newDesk(t, config)
	one.want("ops", "POST", "/projects/team/webhook/policies", policyOf("ci", hooks.URL("/one")), 201, "")
	if got := two.ask("ops", "POST", "/projects/team/webhook/policies", policyOf("ci", hooks.URL("/two"))); got.status != http.StatusConflict {
		t.Errorf("got %d %s", got.status, got.body)
	}
	known := func(d *desk, name string) bool {
		out, err := d.Command("status", "--json")
		return strings.Contains(out, name) || err != nil && strings.Contains(err.Error(), name)
	}
	if !harness.Eventually(harness.Soon, func() bool { return known(two, "team/ci#1") }) {
		t.Fatal("the other replica does not have the webhook")
	}
	harness.Push(t, two.ProxyURL, "team/app", "v1", harness.NewImage(harness.ImageOptions{}))
	hooks.WaitAt("/one", 1, harness.Soon)
	a, b := one.ask("ops", "GET", "/projects/team/webhook/policies/1", ""), two.ask("ops", "GET", "/projects/team/webhook/policies/1", "")
	if a.body != b.body || a.status != 200 {
		t.Errorf("the replicas show different webhooks:\n%s\n%s", a.body, b.body)
	}
	two.want("ops", "DELETE", "/projects/team/webhook/policies/1", "", 200, "")
	if !harness.Eventually(harness.Soon, func() bool { return !known(one, "team/ci#1") }) {
		t.Error("the other replica still has the webhook")
	}
}
