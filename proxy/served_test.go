package proxy

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
	"github.com/bellbuoy/bellbuoy/test/authority"
)

// serving starts a server and returns its address. It is shut down, at once, when the test ends.
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
			t.Errorf("Serve: %v", err)
		}
	})
	return s, l.Addr().String()
}

// exchangeRaw sends bytes and returns all that comes back until the server ends the connection.
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

// Whoever comes through a load balancer with the PROXY protocol is no trusted proxy, wherever
// the header says that he is.
func TestProxyHeaderTrustsNobody(t *testing.T) {
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
			t.Errorf("%q: operator %q at %s, want nobody at %s", header, got.Operator, got.Address, want)
		}
		exchangeRaw(t, address, header+"GET /v2/a/manifests/v1 HTTP/1.1\r\nHost: evil.example.com\r\nConnection: close\r\n\r\n")
		if got := s.tracker.lastEnded(2).External.Host; got == "evil.example.com" {
			t.Errorf("%q: payloads name the upstream by the Host of somebody behind the load balancer", header)
		}
	}
}

// A crowd that downloads over TLS, at any pace, gets every byte: fast ones with large buffers, all with small ones and whenever there is room.
func TestCrowdOverTLS(t *testing.T) {
	content := make([]byte, 3<<20)
	_, _ = rand.Read(content)
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content)
	}), nil)
	trusted, client := certificates(t)
	_, address := serving(t, listen.Options{Handler: s.handler, TLS: trusted, HeaderRead: patience})
	var crowd sync.WaitGroup
	for i := range 3 * longMany {
		transport := client.Clone()
		transport.ForceAttemptHTTP2, transport.DisableKeepAlives = i%2 == 0, true
		crowd.Go(func() {
			res, err := (&http.Client{Transport: transport}).Get("https://" + address + "/v2/a/blobs/sha256:" + strings.Repeat("ab", 32))
			if err != nil {
				t.Error(err)
				return
			}
			defer res.Body.Close()
			if i%3 == 0 {
				time.Sleep(time.Duration(i) * time.Millisecond) // until all that can be is on its way
			}
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, content) {
				t.Errorf("%d bytes of %d, %v", len(got), len(content), err)
			}
		})
	}
	crowd.Wait()
	if n := longCopies.Load(); n != 0 {
		t.Errorf("%d transfers are still counted", n)
	}
	if n := buffers.Bulk.Lent() + buffers.Long.Lent(); n != 0 {
		t.Errorf("%d buffers are still lent", n)
	}
}

// certificates are a server's, and the transport of a client that trusts them.
func certificates(t *testing.T) (*listen.Certificates, *http.Transport) {
	t.Helper()
	a := authority.New(t)
	a.Issue("server")
	c, err := listen.LoadCertificates(a.File("server.pem"), a.File("server.key"), "")
	if err != nil {
		t.Fatal(err)
	}
	return c, &http.Transport{TLSClientConfig: a.Trusting("")}
}
