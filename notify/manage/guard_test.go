package manage

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
	"github.com/bellbuoy/bellbuoy/test/resolver"
)

// newTrap starts a receiver on all addresses of this machine and counts its connections and
// requests.
func newTrap(t *testing.T) (port string, arrived *atomic.Int32) {
	arrived = &atomic.Int32{}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived.Add(1) }))
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	s.Listener.Close()
	s.Listener = &countingListener{l, arrived}
	s.Start()
	t.Cleanup(s.Close)
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port, arrived
}

type countingListener struct {
	net.Listener
	accepted *atomic.Int32
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// ownAddress returns an address of this machine other than loopback, or "".
func ownAddress() string {
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	return ""
}

// TestLimitedWebhooksReachNothingPrivate: the webhook of a limited account never connects to this
// machine or to private, link-local or metadata addresses, however they are written. The test makes
// the webhook, tests it, and delivers, also after a reload and an administrator's edit.
func TestLimitedWebhooksReachNothingPrivate(t *testing.T) {
	port, arrived := newTrap(t)
	hosts := map[string]string{ // host → what its name resolves to
		"127.0.0.1": "", "localhost": "", "127.9.9.9": "", "[::1]": "", "[::ffff:127.0.0.1]": "", "[::127.0.0.1]": "",
		"10.0.0.1": "", "172.16.0.1": "", "192.168.0.1": "", "100.64.0.1": "", "[fd00::1]": "",
		"169.254.1.1": "", "[fe80::1]": "", "169.254.169.254": "", "[fd00:ec2::254]": "", "100.100.100.200": "",
		"[64:ff9b::127.0.0.1]": "", "[64:ff9b::10.0.0.1]": "", "[64:ff9b:1::a9fe:a9fe]": "", "[2002:7f00:1::]": "", "0.0.0.0": "", "[::]": "",
		"2130706433": "", "127.1": "", "0x7f.1": "", "loop.example": "127.0.0.1", "inside.example": "10.1.2.3", "metadata.example": "169.254.169.254",
		"localhost.": "127.0.0.1",
	}
	if own := ownAddress(); own != "" {
		hosts[own], hosts["own.example"] = "", own
	}
	for host, answer := range hosts {
		o := webhook.GuardOptions{}
		if answer != "" {
			o.Resolver = resolver.Of(answer)
		}
		r := newRig(t, noWebhooks, o)
		def := simple("ci", "http://"+host+":"+port+"/")
		_, err := r.Make(t.Context(), dev, "team", def)
		if err != nil && err.Error() != "url: "+NotAllowed && !strings.Contains(err.Error(), "has a host that is neither a name nor") {
			t.Errorf("%s: %v", host, err)
		}
		if err != nil {
			if sent, err := r.TestDefinition(t.Context(), dev, "team", 0, def, ""); err == nil {
				t.Errorf("%s: tested: %+v", host, sent)
			}
			continue
		}
		if answer == "" {
			t.Errorf("%s was accepted", host)
		}
		r.reachesNothing(t, host, def)
	}
	if n := arrived.Load(); n != 0 {
		t.Errorf("%d connections or requests arrived", n)
	}
}

// reachesNothing checks that the only webhook of a rig connects to nothing, however it sends.
func (r *rig) reachesNothing(t *testing.T, host string, def Definition) {
	t.Helper()
	w := must[[]Webhook](t)(r.Webhooks(background, ops))[0]
	denied := func(when string, by access.Principal, sent Sent, err error) {
		t.Helper()
		says := NotAllowed
		if by.Administrator {
			says = "denied by egress: "
		}
		if problems, refused := errors.AsType[Problems](err); refused && strings.HasPrefix(problems.Error(), "url: "+says) {
			return
		}
		exact := by.Administrator || sent.Error == NotAllowed
		if err != nil || sent.OK || !strings.Contains(sent.Error, says) || !exact {
			t.Errorf("%s: %s: %q %v", host, when, sent.Error, err)
		}
	}
	each := func(when string) {
		t.Helper()
		for _, by := range []string{"dev", "ops"} {
			who := dev
			if by == "ops" {
				who = ops
			}
			sent, err := r.Test(background, who, w.Number, "")
			denied(when+", test by "+by, who, sent, err)
			sent, err = r.TestDefinition(background, who, "team", w.Number, def, "")
			denied(when+", unsaved test by "+by, who, sent, err)
		}
		if h := r.Running.Set().Named(w.Key); h != nil { // the client of deliveries
			m := must[webhook.Message](t)(notify.Sample(h.Webhook, ""))
			if got := h.Client.Post(background, m); got.Reason != webhook.ReasonDenied {
				t.Errorf("%s: %s, delivered: %+v", host, when, got)
			}
		}
	}
	each("as made")
	r.use(noWebhooks)
	each("after a reload")
	def.Description = "edited"
	_, err := r.Change(background, ops, w.Number, 0, def)
	if _, refused := errors.AsType[Problems](err); err != nil && !refused {
		t.Error(err)
	}
	each("after an administrator's edit")
}

// TestLimitedAccountsLearnNoNames: a limited account cannot distinguish a name that does not
// resolve from the name of a private address.
func TestLimitedAccountsLearnNoNames(t *testing.T) {
	nothing := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no DNS") }}
	for _, resolver := range []*net.Resolver{nothing, resolver.Of("10.1.2.3")} {
		r := newRig(t, noWebhooks, webhook.GuardOptions{Resolver: resolver})
		w := r.made(dev, "team", simple("ci", "http://db.internal/"))
		if sent := must[Sent](t)(r.Test(background, dev, w.Number, "")); sent.Error != NotAllowed {
			t.Errorf("%q", sent.Error)
		}
		if log := r.log.text(); !strings.Contains(log, "db.internal") && !strings.Contains(log, "10.1.2.3") {
			t.Errorf("the log lacks the whole text: %s", log)
		}
	}
	for reason, text := range limitedTexts {
		if got := errorFor(dev, 0, string(reason), "dial tcp 10.1.2.3:80"); got != text || strings.Contains(got, "10.") {
			t.Errorf("%s: %q", reason, got)
		}
	}
	for text, want := range map[string]string{"answered 503 Service Unavailable": "answered 503 Service Unavailable", "dial tcp 10.1.2.3:80": "no answer to the last attempt"} {
		if got := lastErrorFor(dev, text); got != want {
			t.Errorf("%q: %q", text, got)
		}
	}
	if reasonFor(dev, "dns") != "denied" || reasonFor(ops, "dns") != "dns" || errorFor(ops, 0, "denied", "x") != "x" || errorFor(dev, 500, "status_5xx", "x") != "x" {
		t.Error("reasons")
	}
}

// TestRebindingNameIsDenied: a name may resolve to another address between the check and the dial.
func TestRebindingNameIsDenied(t *testing.T) {
	port, arrived := newTrap(t)
	r := newRig(t, noWebhooks, webhook.GuardOptions{Resolver: resolver.Of("203.0.113.7", "127.0.0.1")})
	if _, err := r.guard.Resolver.LookupNetIP(t.Context(), "ip", "rebind.example"); err != nil {
		t.Fatal(err) // the harmless answer is used up here
	}
	def := simple("ci", "http://rebind.example:"+port+"/")
	r.made(dev, "team", def)
	r.reachesNothing(t, "rebind.example", def)
	if arrived.Load() != 0 {
		t.Error("it arrived")
	}
}

// TestTakeOver: the limits end when an administrator takes the webhook over, and return with the
// next edit by a limited account. egress.private opens addresses for limited accounts.
func TestTakeOver(t *testing.T) {
	to := newReceiver(t)
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	r.guard.Private = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	r.use(noWebhooks)
	w := r.made(dev, "team", simple("ci", to.URL))
	if sent, err := r.Test(background, dev, w.Number, ""); err != nil || !sent.OK || sent.Response != "thanks" {
		t.Errorf("listed in egress.private: %+v %v", sent, err)
	}
	r.guard.Private = nil
	r.use(noWebhooks) // a reload closes it
	w = must[Webhook](t)(r.Webhook(background, ops, w.Number))
	if w.Health.State != StateOff || !strings.Contains(w.Health.Why, "denied by egress") {
		t.Errorf("%+v", w.Health)
	}
	before := to.count()
	if sent, err := r.Test(background, ops, w.Number, ""); err == nil || to.count() != before {
		t.Errorf("not taken over: %+v", sent)
	}
	if err := r.TakeOver(background, ops, w.Number); err != nil {
		t.Fatal(err)
	}
	if sent, err := r.Test(background, ops, w.Number, ""); err != nil || !sent.OK || to.count() != before+1 {
		t.Errorf("taken over: %+v %v", sent, err)
	}
	if now := must[Webhook](t)(r.Webhook(background, dev, w.Number)); now.Limited || now.Health.State != StateOK {
		t.Errorf("%+v", now)
	}
	// A test by the limited account is still denied.
	if sent, err := r.Test(background, dev, w.Number, ""); err == nil || to.count() != before+1 {
		t.Errorf("tested by dev: %+v", sent)
	}
	if _, err := r.Change(background, dev, w.Number, 0, w.Definition); fields(err) != "url" {
		t.Errorf("edited by dev: %v", err)
	}
	public := simple("ci", "https://e.example.com/")
	if now := must[Webhook](t)(r.Change(background, dev, w.Number, 0, public)); !now.Limited {
		t.Error("the edit of a limited account does not limit it")
	}
	if now := must[Webhook](t)(r.Change(background, ops, w.Number, 0, public)); !now.Limited {
		t.Error("the edit of an administrator lifts the limits")
	}
}

// TestLimitedWebhookBehindAProxy: the name of a limited webhook is checked here, and the proxy gets
// the address. Only https is allowed.
func TestLimitedWebhookBehindAProxy(t *testing.T) {
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.Method+" "+r.RequestURI)
		w.WriteHeader(http.StatusTeapot)
	}))
	defer proxy.Close()
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY"} {
		t.Setenv(name, proxy.URL)
	}
	for _, tc := range []struct{ url, answer, want, says, limited string }{
		{"https://public.example/", "203.0.113.7", "CONNECT 203.0.113.7:443", "proxy answered 418", "no answer"},
		{"https://inside.example/", "10.1.2.3", "", "denied by egress", NotAllowed},
		{"http://public.example/", "203.0.113.7", "", "https only", NotAllowed},
	} {
		asked = nil
		r := newRig(t, noWebhooks, webhook.GuardOptions{Resolver: resolver.Of(tc.answer)})
		w := r.made(dev, "team", simple("ci", tc.url))
		sent := must[Sent](t)(r.Test(background, dev, w.Number, ""))
		if strings.Join(asked, " ") != tc.want || sent.OK || sent.Error != tc.limited {
			t.Errorf("%s at %s: the proxy got %q: %q", tc.url, tc.answer, asked, sent.Error)
		}
		if sent := must[Sent](t)(r.Test(background, ops, w.Number, "")); sent.OK || !strings.Contains(sent.Error, tc.says) {
			t.Errorf("%s: an administrator is told %q", tc.url, sent.Error)
		}
	}
}
