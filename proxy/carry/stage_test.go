package carry

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/listen"
	"github.com/bellbuoy/bellbuoy/test/authority"
)

const patience = time.Minute

// carrying returns a handler that carries every request, and observes nothing.
func carrying(c *Carriers) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &Exchange{In: r, Target: r.RequestURI, Header: Header{Host: r.Host}, Stalled: patience}
		x.Answer = NewResponseWriter(w, patience, new(atomic.Bool))
		x.Observer = indifferent{&x.Answer}
		defer x.Finish()
		c.For(x).Carry(x)
	})
}

// indifferent is an Observer that reads nothing, and answers failures with 502.
type indifferent struct{ answer *ResponseWriter }

func (indifferent) Answered(*http.Response) Reader { return nil }

func (o indifferent) Failed(err error) { http.Error(o.answer, err.Error(), http.StatusBadGateway) }

func parsed(t *testing.T, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// get returns the body of an answer, and the error with which it broke off.
func get(t *testing.T, url string) ([]byte, error) {
	t.Helper()
	res, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}

// serving starts a server and returns its address. The server is closed when the test ends.
func serving(t *testing.T, o listen.Options) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := listen.New(o)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
	})
	return l.Addr().String()
}

// certificates returns a server's certificates, and the transport of a client that trusts them.
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
