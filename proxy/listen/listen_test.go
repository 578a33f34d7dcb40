package listen

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bellbuoy/bellbuoy/test/authority"
)

func TestProxyProtocol(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
	v2 := func(fixed string, rest string) string {
		return string(proxyV2) + fixed + string([]byte{byte(len(rest) >> 8), byte(len(rest))}) + rest
	}
	core, logs := observer.New(zap.WarnLevel)
	_, address := serving(t, Options{Handler: names, Log: zap.New(core), ProxyProtocol: true, TrustedProxies: loopback, HeaderRead: time.Second})
	for _, c := range []struct{ name, header, want string }{
		{"v1", "PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n", "1.2.3.4:1111"},
		{"v1, IPv6", "PROXY TCP6 2001:db8::1 ::1 1111 80\r\n", "[2001:db8::1]:1111"},
		{"v1, unknown", "PROXY UNKNOWN\r\n", "127.0.0.1:"},
		{"v2", v2("\x21\x11", "\x01\x02\x03\x04\x05\x06\x07\x08\x04\x57\x00\x50\x03\x00\x00"), "1.2.3.4:1111"},
		{"v2, IPv6", v2("\x21\x21", "\x20\x01\x0d\xb8"+strings.Repeat("\x00", 11)+"\x01"+strings.Repeat("\x00", 16)+"\x04\x57\x00\x50"), "[2001:db8::1]:1111"},
		{"v2, local", v2("\x20\x00", ""), "127.0.0.1:"},
		{"v2, a Unix socket", v2("\x21\x31", strings.Repeat("x", 216)), "127.0.0.1:"},
		{"none", "", ""},
		{"v1, too long", "PROXY TCP4 " + strings.Repeat("1", 200) + "\r\n", ""},
		{"v1, no address", "PROXY TCP4 x y 1 2\r\n", ""},
		{"v1, two fields", "PROXY TCP4 1.2.3.4\r\n", ""},
		{"v1, bad port", "PROXY TCP4 1.2.3.4 5.6.7.8 99999 1\r\n", ""},
		{"v2, cut short", v2("\x21\x11", "\x01"), ""},
		{"v2, version 3", v2("\x31\x11", strings.Repeat("x", 12)), ""},
		{"v2, never ends", string(proxyV2) + "\x21\x11\x00\xff", ""},
	} {
		got := exchangeRaw(t, address, c.header+get)
		if c.want == "" && got != "" || !strings.Contains(got, c.want) {
			t.Errorf("%s: got %q", c.name, got)
		}
	}
	if warned := logs.All(); len(warned) != 1 || !strings.Contains(warned[0].Message, "PROXY header") {
		t.Errorf("warned of connections without a good header: %v", warned)
	}
	_, strange := serving(t, Options{Handler: names, ProxyProtocol: true})
	if got := exchangeRaw(t, strange, "PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n"+get); !strings.HasPrefix(got, "HTTP/1.1 400") {
		t.Errorf("PROXY header of a client that is not trusted: got %q", got)
	}
	if got := exchangeRaw(t, strange, get); !strings.Contains(got, "127.0.0.1:") {
		t.Errorf("client that is not trusted, without a PROXY header: got %q", got)
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 1.2.3.4 5.6.7.8 1111 80\r\n"))
	f.Add(append(append([]byte{}, proxyV2...), 0x21, 0x11, 0, 12, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		got, err := proxyHeader(r)
		if err != nil {
			return
		}
		header := b[:len(b)-r.Len()] // exactly the bytes that were read, and each is needed
		if again, err := proxyHeader(bytes.NewReader(header)); err != nil || again != got {
			t.Errorf("%q: got %v, %v", header, again, err)
		}
		if _, err := proxyHeader(bytes.NewReader(header[:len(header)-1])); err == nil {
			t.Errorf("%q: a byte too much was read", header)
		}
	})
}

// called returns an edit that gives a certificate another common name.
func called(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.Subject.CommonName = name }
}

// trusting returns a client that trusts an authority, with the client certificate of a name if it
// is not "".
func trusting(a *authority.Authority, name string) *http.Client {
	return &http.Client{Transport: &http.Transport{ForceAttemptHTTP2: true, DisableKeepAlives: true, TLSClientConfig: a.Trusting(name)}}
}

func TestTLS(t *testing.T) {
	a := authority.New(t)
	a.Issue("server", called("one"))
	certificates, err := LoadCertificates(a.File("server.pem"), a.File("server.key"), "")
	if err != nil {
		t.Fatal(err)
	}
	_, address := serving(t, Options{Handler: names, TLS: certificates})
	serverName := func() string {
		res, err := trusting(a, "").Get("https://" + address)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if b, _ := io.ReadAll(res.Body); !strings.HasSuffix(string(b), "HTTP/2.0") {
			t.Errorf("got the body %q", b)
		}
		return res.TLS.PeerCertificates[0].Subject.CommonName
	}
	if got := serverName(); got != "one" {
		t.Errorf("got %q", got)
	}
	a.Issue("server", called("two"))
	if err := certificates.Reload(); err != nil {
		t.Fatal(err)
	}
	if got := serverName(); got != "two" {
		t.Errorf("got %q", got)
	}
	a.Issue("server", called("three"))
	_ = certificates.current(time.Now().Add(time.Minute))
	if got := serverName(); got != "three" {
		t.Errorf("a changed file is not noticed: got %q", got)
	}
	if err := os.WriteFile(a.File("server.pem"), []byte("garbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if certificates.Reload() == nil || certificates.Err() == nil {
		t.Error("garbage was accepted")
	}
	if got := serverName(); got != "three" {
		t.Errorf("a broken file took the old one away: got %q", got)
	}
}

func TestClientCertificates(t *testing.T) {
	a := authority.New(t)
	a.Issue("server", called("one"))
	certificates, err := LoadCertificates(a.File("server.pem"), a.File("server.key"), a.File("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	var name string
	core, logs := observer.New(zap.WarnLevel)
	_, address := serving(t, Options{TLS: certificates, Log: zap.New(core), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { name = r.TLS.VerifiedChains[0][0].Subject.CommonName })})
	if _, err := trusting(a, "").Get("https://" + address); err == nil {
		t.Error("no certificate was needed")
	}
	eve := trusting(a, "")
	eve.Transport.(*http.Transport).TLSClientConfig.Certificates = []tls.Certificate{authority.New(t).Issue("eve").Certificate}
	if _, err := eve.Get("https://" + address); err == nil {
		t.Error("any certificate was good")
	}
	a.Issue("ann")
	res, err := trusting(a, "ann").Get("https://" + address)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if name != "ann" {
		t.Errorf("got %q", name)
	}
	if warned := logs.All(); len(warned) != 1 || !strings.Contains(warned[0].Message, "clients need a certificate") {
		t.Errorf("warned of two clients without a good certificate: %v", warned)
	}
	if _, err := LoadCertificates(a.File("server.pem"), a.File("server.key"), a.File("server.key")); err == nil {
		t.Error("a file without CA was accepted")
	}
}

func TestServerLimits(t *testing.T) {
	_, hasty := serving(t, Options{Handler: names, HeaderRead: 100 * time.Millisecond, Idle: patience})
	if got := exchangeRaw(t, hasty, "GET / HTTP/1.1\r\nHost"); strings.Contains(got, "200") {
		t.Errorf("half a header: %q", got)
	}
	_, address := serving(t, Options{Handler: names, HeaderRead: patience, Idle: 100 * time.Millisecond, HeaderSize: 8 << 10, Connections: 2})
	if got := exchangeRaw(t, address, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.Contains(got, "200 OK") {
		t.Errorf("an idle connection: %q", got)
	}
	if got := exchangeRaw(t, address, "GET / HTTP/1.1\r\nHost: h\r\nX: "+strings.Repeat("x", 20<<10)+"\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 431") {
		t.Errorf("a long header: %q", got)
	}
}

func TestConnectionLimit(t *testing.T) {
	_, address := serving(t, Options{Handler: names, Connections: 1})
	dial := func() net.Conn {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		return c
	}
	first := dial()
	if _, err := http.ReadResponse(bufio.NewReader(first), nil); err != nil {
		t.Fatal(err)
	}
	second := dial()
	defer second.Close()
	_ = second.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := second.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a second connection was served: %v", err)
	}
	first.Close()
	_ = second.SetReadDeadline(time.Now().Add(patience))
	if _, err := second.Read(make([]byte, 1)); err != nil {
		t.Errorf("the second connection was never served: %v", err)
	}
}

func TestReconfigureServer(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s, address := serving(t, Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			close(entered)
			<-release
		}
		_, _ = io.WriteString(w, "old")
	})})
	kept, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer kept.Close()
	_, _ = io.WriteString(kept, "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n")
	<-entered
	s.Configure(Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "new") })})
	if got := exchangeRaw(t, address, "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"); !strings.HasSuffix(got, "new") {
		t.Errorf("got %q", got)
	}
	close(release)
	br := bufio.NewReader(kept)
	for range 2 {
		res, err := http.ReadResponse(br, nil)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(res.Body); string(b) != "old" {
			t.Errorf("the connection that stayed open: got %q", b)
		}
		_, _ = io.WriteString(kept, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	}
	kept.Close()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		n := len(s.all)
		s.mu.Unlock()
		if n == 1 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the old server is never forgotten")
		}
	}
}

func TestShutdownWaits(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-release
		_, _ = io.WriteString(w, "done")
	})})
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	got := make(chan string)
	go func() { got <- exchangeRaw(t, l.Addr().String(), "GET / HTTP/1.1\r\nHost: h\r\n\r\n") }()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Errorf("Serve returned %v", err)
	}
	if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
		t.Error("still accepting")
	}
	close(release)
	if answer := <-got; !strings.HasSuffix(answer, "done") {
		t.Errorf("got %q", answer)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
