package webhook

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/resolver"
)

var quiet = log.New(io.Discard, "", 0)

// TestMain removes the proxy settings of the environment.
func TestMain(m *testing.M) {
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy", "REQUEST_METHOD"} {
		os.Unsetenv(name)
	}
	os.Exit(m.Run())
}

// forwardProxy records the requests that it gets, and tunnels all of them to its backend.
type forwardProxy struct {
	*httptest.Server
	requests []string // method, target, Proxy-Authorization
}

func newForwardProxy(t *testing.T, backend string, refuse int) *forwardProxy {
	p := &forwardProxy{}
	p.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.requests = append(p.requests, r.Method+" "+r.RequestURI+" "+r.Header.Get("Proxy-Authorization"))
		switch {
		case refuse != 0:
			w.WriteHeader(refuse)
		case r.Method == http.MethodConnect:
			tunnel(t, w, backend)
		}
	}))
	t.Cleanup(p.Close)
	return p
}

func tunnel(t *testing.T, w http.ResponseWriter, backend string) {
	there, err := net.Dial("tcp", backend)
	if err != nil {
		t.Error(err)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(there, here); there.Close() }()
	go func() { _, _ = io.Copy(here, there); here.Close() }()
}

func (p *forwardProxy) url() string {
	return strings.Replace(p.URL, "http://", "http://user:proxypass@", 1)
}

func TestPostThroughAProxy(t *testing.T) {
	backend := tlsServer(t, authority.New(t), "hooks.internal", nil, func(http.ResponseWriter, *http.Request) {})
	for target, want := range map[string]string{
		"http://hooks.example/a":  "POST http://hooks.example/a Basic dXNlcjpwcm94eXBhc3M=",
		"https://hooks.example/a": "CONNECT hooks.example:443 Basic dXNlcjpwcm94eXBhc3M=",
	} {
		p := newForwardProxy(t, backend.Listener.Addr().String(), 0)
		c := clientFor(t, target, func(o *Options) {
			o.Proxy = p.url()
			o.TLS.InsecureSkipVerify = true
			o.Guard = NewGuard(GuardOptions{Resolver: resolver.Of("203.0.113.7")})
		})
		if r := c.Post(t.Context(), message()); r.Outcome != Delivered {
			t.Errorf("%s: %+v", target, r)
		}
		if len(p.requests) != 1 || p.requests[0] != want {
			t.Errorf("%s: proxy got %q", target, p.requests)
		}
	}
}

func TestTargetBehindAProxyIsGuarded(t *testing.T) {
	p := newForwardProxy(t, "", 0)
	for target, answer := range map[string]string{
		"http://169.254.169.254/latest": "", "http://[::ffff:169.254.169.254]/": "", "http://metadata.example/": "169.254.169.254", "http://10.0.0.9/": "",
	} {
		c := clientFor(t, target, func(o *Options) {
			o.Proxy = p.url()
			o.Guard = NewGuard(GuardOptions{Deny: prefixes("10.0.0.0/8"), Resolver: resolver.Of(answer)})
		})
		if r := c.Post(t.Context(), message()); r.Reason != ReasonDenied {
			t.Errorf("%s: %+v", target, r)
		}
	}
	if len(p.requests) != 0 {
		t.Errorf("the proxy got %q", p.requests)
	}
}

func TestProxyItselfIsGuarded(t *testing.T) {
	p := newForwardProxy(t, "", 0)
	public := resolver.Of("203.0.113.7")
	post := func(fromEnvironment bool, guard *Guard) Result {
		o := func(o *Options) { o.Guard = guard }
		if fromEnvironment {
			t.Setenv("HTTP_PROXY", p.url())
			return clientFor(t, "http://hooks.example/", o).Post(t.Context(), message())
		}
		t.Setenv("HTTP_PROXY", "")
		return clientFor(t, "http://hooks.example/", o, func(o *Options) { o.Proxy = p.url() }).Post(t.Context(), message())
	}
	denied := NewGuard(GuardOptions{Deny: prefixes("127.0.0.0/8"), Resolver: public})
	open := NewGuard(GuardOptions{Resolver: public})
	for name, test := range map[string]struct {
		environment bool
		guard       *Guard
		want        Reason
	}{
		"webhook's proxy, denied":              {false, denied, ReasonDenied},
		"environment's proxy, denied":          {true, denied, ReasonDenied},
		"webhook's proxy, open":                {false, open, ReasonNone},
		"environment's proxy, open":            {true, open, ReasonNone},
		"proxy of a limited account's webhook": {false, open.Restricted(), ReasonDenied},
		"environment's proxy, restricted":      {true, open.Restricted(), ReasonDenied}, // http: it would resolve the name itself
	} {
		if r := post(test.environment, test.guard); r.Reason != test.want {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

// TestProxyGetsCheckedAddress: the proxy gets the address that was checked, because the name may
// resolve to another one later.
func TestProxyGetsCheckedAddress(t *testing.T) {
	ca, file := authority.New(t), filepath.Join(t.TempDir(), "ca.pem")
	ca.Write(file)
	var host string
	backend := tlsServer(t, ca, "hooks.example", nil, func(_ http.ResponseWriter, r *http.Request) { host = r.Host })
	p := newForwardProxy(t, backend.Listener.Addr().String(), 0)
	t.Setenv("HTTPS_PROXY", p.url())
	for address, want := range map[string]Reason{"203.0.113.7": ReasonNone, "10.1.2.3": ReasonDenied} {
		p.requests, host = nil, ""
		c := clientFor(t, "https://hooks.example/a", func(o *Options) {
			o.TLS.CAFile = file
			o.Guard = NewGuard(GuardOptions{Resolver: resolver.Of(address)}).Restricted()
		})
		if r := c.Post(t.Context(), message()); r.Reason != want {
			t.Errorf("%s: %+v", address, r)
		}
		switch {
		case want == ReasonDenied && len(p.requests) > 0:
			t.Errorf("%s: the proxy got %q", address, p.requests)
		case want == ReasonNone && (host != "hooks.example" || !strings.HasPrefix(p.requests[0], "CONNECT 203.0.113.7:443 ")):
			t.Errorf("%s: Host %q, the proxy got %q", address, host, p.requests)
		}
	}
}

func TestNoProxyOfTheEnvironment(t *testing.T) {
	p := newForwardProxy(t, "", 0)
	t.Setenv("HTTP_PROXY", p.url())
	t.Setenv("NO_PROXY", "direct.example")
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	_, port, _ := net.SplitHostPort(server.Listener.Addr().String())
	c := clientFor(t, "http://direct.example:"+port, func(o *Options) { o.Guard = NewGuard(GuardOptions{Resolver: resolver.Of("127.0.0.1")}) })
	if r := c.Post(t.Context(), message()); r.Outcome != Delivered || len(p.requests) != 0 {
		t.Errorf("%+v, proxy got %q", r, p.requests)
	}
}

func TestRefusingProxy(t *testing.T) {
	p := newForwardProxy(t, "", http.StatusProxyAuthRequired)
	c := clientFor(t, "https://203.0.113.7/", func(o *Options) { o.Proxy = p.url() })
	r := c.Post(t.Context(), message())
	if r.Outcome != Retry || r.Reason != ReasonOther || r.Err != "proxy answered 407 Proxy Authentication Required" {
		t.Errorf("%+v", r)
	}
}

func TestUnknownName(t *testing.T) {
	resolver := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no DNS here") }}
	c := clientFor(t, "http://unknown.example/", func(o *Options) { o.Guard = NewGuard(GuardOptions{Resolver: resolver}) })
	if r := c.Post(t.Context(), message()); r.Outcome != Retry || r.Reason != ReasonDNS {
		t.Errorf("%+v", r)
	}
}
