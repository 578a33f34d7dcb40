package operate

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// `bellbuoy console` prints an address that logs in once, even if users are configured. The login
// session survives a restart.
func TestConsoleCommand(t *testing.T) {
	t.Parallel()
	d := newDesk(t, "upstreams: [{type: registry, url: http://127.0.0.1:1}]\n")
	out, err := d.Command("console")
	address := strings.TrimSuffix(out, "\n")
	if u, parseErr := url.Parse(address); err != nil || parseErr != nil || u.Host != fmt.Sprintf("127.0.0.1:%d", d.port) {
		t.Fatalf("bellbuoy console: got %q, %v", out, err)
	}
	jar, _ := cookiejar.New(nil)
	browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	get := func(address string) int {
		t.Helper()
		answer, err := browser.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		return answer.StatusCode
	}
	if got := get(address); got != http.StatusSeeOther {
		t.Errorf("the address: %d", got)
	}
	profiles := fmt.Sprintf("http://127.0.0.1:%d/debug/pprof/cmdline", d.port)
	if got := get(profiles); got != http.StatusOK {
		t.Errorf("an administrator's page: %d", got)
	}
	d.Restart()
	if got := get(profiles); got != http.StatusOK {
		t.Errorf("an administrator's page after a restart: %d", got)
	}
	browser.Jar = nil
	if got := get(address); got != http.StatusUnauthorized {
		t.Errorf("the address again: %d", got)
	}
	if logs := d.Logs(); !strings.Contains(logs, "address of the console made by command") || strings.Contains(logs, strings.SplitAfter(address, "ticket=")[1]) {
		t.Error("the log lacks the address, or contains the ticket")
	}
}

// session logs in with an address of `bellbuoy console` and returns the cookie.
func (d *desk) session() string {
	d.t.Helper()
	address, err := d.Command("console")
	if err != nil {
		d.t.Fatal(err)
	}
	answer := d.ask("", "GET", strings.TrimSpace(address), "")
	cookie, _, _ := strings.Cut(answer.header.Get("Set-Cookie"), ";")
	if answer.status != http.StatusSeeOther || cookie == "" {
		d.t.Fatalf("login by ticket: got %d %v", answer.status, answer.header)
	}
	return cookie
}

func TestConsoleCommandWithoutConsole(t *testing.T) {
	t.Parallel()
	d := harness.Bellbuoy(t, "upstreams: [{type: registry, url: http://127.0.0.1:1}]\nadmin: {listen: ''}\n")
	if out, err := d.Command("console"); err == nil || !strings.Contains(out+err.Error(), `admin.listen is ""`) {
		t.Errorf("bellbuoy console: got %q, %v", out, err)
	}
}

// The admin address uses new certificates after a reload: of changed files, and of other files.
func TestAdminCertificates(t *testing.T) {
	t.Parallel()
	port := harness.FreePort(t)
	first, second, third := authority.New(t), authority.New(t), authority.New(t)
	pair, other := first.Issue("localhost"), third.Issue("localhost")
	config := func(p authority.Pair) string {
		return fmt.Sprintf("upstreams: [{type: registry, url: http://127.0.0.1:1}]\nadmin: {listen: '127.0.0.1:%d', tls: {cert_file: %s, key_file: %s}}\n", port, p.Cert, p.Key)
	}
	d := harness.Bellbuoy(t, config(pair))
	by := func(a *authority.Authority) bool {
		c, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port), a.Trusting(""))
		if err == nil {
			c.Close()
		}
		return err == nil
	}
	if !by(first) || by(second) {
		t.Fatal("the first certificate is not used")
	}
	renewed := second.Issue("localhost")
	for from, to := range map[string]string{renewed.Cert: pair.Cert, renewed.Key: pair.Key} {
		if err := os.Rename(from, to); err != nil {
			t.Fatal(err)
		}
	}
	harness.Eventually(harness.Soon, func() bool { return by(second) })
	if by(first) || !by(second) {
		t.Error("the renewed certificate is not used")
	}
	d.Reload(config(other))
	d.WaitLog("configuration reloaded", harness.Soon)
	harness.Eventually(harness.Soon, func() bool { return by(third) })
	if !by(third) {
		t.Error("the certificate of another file is not used")
	}
}
