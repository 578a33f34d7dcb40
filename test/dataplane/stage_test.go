package dataplane

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

const soon = time.Minute // much longer than anything takes, also on a busy machine

// nowhere is a webhook without a receiver, because this package does not test events.
const nowhere = "webhooks: [{name: none, url: \"http://127.0.0.1:9/\", enabled: false}]\n"

// front starts bellbuoy in front of an upstream; more are settings of the upstream, each with its
// comma.
func front(t *testing.T, upstream, config string, more ...string) *harness.Buoy {
	t.Helper()
	return harness.Bellbuoy(t, config+"upstreams: [{type: registry, url: "+upstream+strings.Join(more, "")+"}]\n"+nowhere)
}

// sound fails the test if bellbuoy panicked or logged an error.
func sound(t *testing.T, b *harness.Buoy) {
	t.Helper()
	if n := b.Metric("bellbuoy_panics_total"); n != 0 {
		t.Errorf("bellbuoy panicked %v times", n)
	}
	if strings.Contains(b.Logs(), `"level":"error"`) {
		t.Error("bellbuoy logged an error")
	}
}

// talk sends bytes on a new connection. It returns the answer when the other side closes the
// connection or a time is over.
func talk(t testing.TB, host, request string, within time.Duration) string {
	t.Helper()
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(within))
	go func() { _, _ = io.WriteString(c, request) }() // the other side may answer, and close, before everything is written
	b, _ := io.ReadAll(c)
	return string(b)
}

// overhear is talk on a connection that stays open. It returns when no bytes have come for a while.
func overhear(t testing.TB, host, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(soon))
	_, _ = io.WriteString(c, request)
	first := make([]byte, 1)
	if _, err := io.ReadFull(c, first); err != nil {
		t.Errorf("no answer: %v", err)
	}
	_ = c.SetDeadline(time.Now().Add(2 * time.Second))
	rest, _ := io.ReadAll(c)
	return string(first) + string(rest)
}

// answer is a response that was read to its end.
type answer struct {
	Status int
	Header http.Header
	Body   string
}

// answersIn reads the responses in b; methods are those of their requests.
func answersIn(t testing.TB, b string, methods ...string) (all []answer) {
	t.Helper()
	br := bufio.NewReader(strings.NewReader(b))
	for i := 0; ; {
		if _, err := br.Peek(1); err != nil {
			return all
		}
		method := http.MethodGet
		if i < len(methods) {
			method = methods[i]
		}
		res, err := http.ReadResponse(br, &http.Request{Method: method})
		if err != nil {
			t.Errorf("not an answer: %v in %q", err, b)
			return all
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Errorf("half an answer: %v in %q", err, b)
			return all
		}
		if res.StatusCode >= 200 {
			all = append(all, answer{res.StatusCode, res.Header, string(body)})
			i++
		}
	}
}

// must is send. It fails the test if the answer has another status.
func must(t testing.TB, c *http.Client, status int, method, url string, body io.Reader, header ...string) answer {
	t.Helper()
	a, err := send(c, method, url, body, header...)
	if err != nil {
		t.Fatal(err)
	}
	if a.Status != status {
		t.Fatalf("%s %s: got %d, want %d: %s", method, url, a.Status, status, a.Body)
	}
	return a
}

// send is harness.SendBy with the answer read to its end.
func send(c *http.Client, method, url string, body io.Reader, header ...string) (answer, error) {
	res, err := harness.SendBy(c, method, url, body, header...)
	if res == nil {
		return answer{}, err
	}
	return answer{res.StatusCode, res.Header, harness.BodyOf(res)}, err
}

// plain returns a client that follows no redirect and asks for no compression.
func plain(t testing.TB) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// overTLS is plain for an authority's servers: it speaks only one protocol, and has the client
// certificate of a name if that is not "".
func overTLS(t testing.TB, a *authority.Authority, http2 bool, name string) *http.Client {
	t.Helper()
	c := plain(t)
	transport := c.Transport.(*http.Transport)
	transport.TLSClientConfig = a.Trusting(name)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	return c
}
