package listen

import (
	"bufio"
	"context"
	"crypto/tls"
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

// certificates returns a server's certificates, and the authority that issued them.
func certificates(t *testing.T) (*Certificates, *authority.Authority) {
	t.Helper()
	a := authority.New(t)
	a.Issue("server")
	c, err := LoadCertificates(a.File("server.pem"), a.File("server.key"), "")
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

// accepted waits until a server has accepted a connection from the kernel.
func accepted(s *Server) {
	for {
		s.open.mu.Lock()
		count := s.open.count
		s.open.mu.Unlock()
		if count > 1 { // the connection that it waits for counts too
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// A connection that was accepted is served, even if its handshake begins after the stop of the
// server.
func TestHandshakeWhileStopping(t *testing.T) {
	trusted, a := certificates(t)
	s, address := serving(t, Options{Handler: names, TLS: trusted, HeaderRead: patience})
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted(s)
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.Background()) }()
	<-s.open.done().Done()
	_ = c.SetDeadline(time.Now().Add(patience))
	config := trusting(a, "").Transport.(*http.Transport).TLSClientConfig
	config.ServerName = "127.0.0.1"
	secured := tls.Client(c, config)
	_, _ = io.WriteString(secured, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(secured), nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// A silent client does not delay a stop beyond its context.
func TestSilentClientDoesNotDelayAStop(t *testing.T) {
	trusted, _ := certificates(t)
	s, address := serving(t, Options{Handler: names, TLS: trusted}) // the client may be silent for ever
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	accepted(s)
	ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
	defer cancel()
	_ = s.Shutdown(ctx)
	_ = c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Read(make([]byte, 1)); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection stays open")
	}
}

// A plain request to a TLS server gets an answer that says so, as from net/http.
func TestPlainRequestToTLS(t *testing.T) {
	trusted, _ := certificates(t)
	_, address := serving(t, Options{Handler: names, TLS: trusted, HeaderRead: patience})
	if got := exchangeRaw(t, address, "GET / HTTP/1.1\r\nHost: h\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.0 400 ") {
		t.Errorf("got the answer %q", got)
	}
}

// A TLS greeting to a server without TLS is answered at once, with the text by which clients
// recognize that, and nothing is logged above debug level.
func TestTLSGreetingToPlainServer(t *testing.T) {
	core, logged := observer.New(zap.InfoLevel)
	_, address := serving(t, Options{Handler: names, HeaderRead: time.Hour, Log: zap.New(core)})
	const hello = "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03" // has no line end
	if got := exchangeRaw(t, address, hello); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("got the answer %q", got)
	}
	_, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	var header tls.RecordHeaderError
	if !errors.As(err, &header) || string(header.RecordHeader[:]) != "HTTP/" {
		t.Errorf("a client with TLS: %v", err)
	}
	if got := exchangeRaw(t, address, "POST / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Length: 2\r\n\r\n\x16\x03"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
		t.Errorf("a body that begins like TLS: %q", got)
	}
	if n := logged.Len(); n != 0 {
		t.Errorf("%d lines were logged: %v", n, logged.All())
	}
}
