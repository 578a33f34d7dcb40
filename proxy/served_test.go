package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// serving starts a server and returns its address. The server is closed when the test ends.
func serving(t *testing.T, o listen.Options) (*listen.Server, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := listen.New(o)
	done := make(chan error, 1)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("Serve returned %v", err)
		}
	})
	return s, l.Addr().String()
}

// exchangeRaw sends bytes and returns everything until the server ends the connection.
func exchangeRaw(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, request)
	b, err := io.ReadAll(c)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection stays open after %q", b)
	}
	return string(b)
}

// A client that comes through a load balancer with the PROXY protocol is no trusted proxy, whatever
// address the header has.
func TestProxyHeaderMakesNoTrustedProxy(t *testing.T) {
	for header, want := range map[string]string{
		"PROXY TCP4 10.0.0.9 5.6.7.8 1111 80\r\n":  "10.0.0.9",
		"PROXY TCP4 127.0.0.1 5.6.7.8 1111 80\r\n": "127.0.0.1",
		"PROXY UNKNOWN\r\n":                        "127.0.0.1",
	} {
		s := newStand(t, http.HandlerFunc(registry), func(o *Options) {
			o.TrustedProxies = loopback
			o.Identity.Header = "X-Forwarded-User"
		})
		_, address := serving(t, listen.Options{Handler: s.handler, ProxyProtocol: true, TrustedProxies: loopback, HeaderRead: patience})
		exchangeRaw(t, address, header+"GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n"+
			"X-Forwarded-User: root\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
		if got := s.tracker.lastEnded(1).Client; got.Operator != "" || got.Address != want {
			t.Errorf("%q: got the operator %q at %s, want none at %s", header, got.Operator, got.Address, want)
		}
		exchangeRaw(t, address, header+"GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n\r\n")
		if got := s.tracker.lastEnded(2).External.Host; got == "evil.example.com" {
			t.Errorf("%q: payloads name the upstream by the Host of somebody behind the load balancer", header)
		}
	}
}
