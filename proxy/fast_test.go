package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
)

// scripted is an upstream that answers /odd with given bytes, and every other request with its
// path.
type scripted struct {
	address string
	mu      sync.Mutex
	answer  []byte
	close   bool // closes the connection after it
	conns   atomic.Int32
}

func newScripted(t testing.TB) *scripted {
	s := &scripted{}
	s.address = serveRaw(t, func(c net.Conn) { s.conns.Add(1); s.serve(c) })
	return s
}

func (s *scripted) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path != "/odd" {
			fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(r.RequestURI), r.RequestURI)
			continue
		}
		s.mu.Lock()
		answer, end := s.answer, s.close
		s.mu.Unlock()
		_, _ = c.Write(answer)
		if end {
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond)) // the proxy waits in vain for the rest of half an answer
		if _, err := br.Peek(1); err != nil {
			return
		}
		_ = c.SetReadDeadline(time.Time{})
	}
}

// outcome is the answer that a client gets.
type outcome struct {
	status int
	header http.Header
	body   string
	cut    bool
}

func (o outcome) String() string {
	return fmt.Sprintf("%d %v %q cut=%v", o.status, o.header, o.body, o.cut)
}

func (o outcome) equal(p outcome) bool {
	return o.status == p.status && o.body == p.body && o.cut == p.cut && maps.EqualFunc(o.header, p.header, func(a, b []string) bool { return strings.Join(a, "\x00") == strings.Join(b, "\x00") })
}

// quiet is a Tracker that does nothing.
type quiet struct{ Tracker }

func (quiet) Start(*detect.Operation) (_ track.Transfer)  { return }
func (quiet) Answered(*track.Transfer, *detect.Operation) {}
func (quiet) End(*track.Transfer, *detect.Operation)      {}
func (quiet) LeaveOpen(*track.Intent)                     {}
func (quiet) Acknowledged(*track.Intent)                  {}

func (quiet) Standing(_, _, _, _ string) (string, bool, bool) { return "", true, true }

func (quiet) Intend(context.Context, *detect.Operation) (*track.Intent, error) {
	return new(track.Intent), nil
}
func (quiet) Settle(context.Context, *track.Intent, *detect.Operation) error { return nil }
func (quiet) Drop(context.Context, *track.Intent) error                      { return nil }

// pair returns two equal handlers, one with the fast path and one without.
func pair(t testing.TB, address string) (fast, plain *Handler) {
	var made [2]*Handler
	for i := range made {
		h, err := New(Options{Upstreams: []Upstream{{Name: "u", Kind: detect.Registry, URL: &url.URL{Scheme: "http", Host: address}}}, Tracker: quiet{},
			Limits: Limits{UpstreamResponseHeader: patience, UpstreamConnect: patience, StalledBody: patience}})
		if err != nil {
			t.Fatal(err)
		}
		made[i] = h
	}
	made[1].now.Load().routes[0].carriers.Fast = nil
	return made[0], made[1]
}

// ask passes a request directly to a handler.
func ask(h *Handler, method, path string) outcome {
	return handle(h, httptest.NewRequest(method, path, nil))
}

func handle(h *Handler, r *http.Request) (o outcome) {
	w := httptest.NewRecorder()
	r = r.WithContext(context.WithValue(r.Context(), http.ServerContextKey, &http.Server{}))
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			o.cut = true
		}
		res := w.Result()
		o.status, o.header, o.body = res.StatusCode, res.Header, w.Body.String()
		if o.status == http.StatusBadGateway || o.status == http.StatusGatewayTimeout {
			o.body, o.header = "", nil
		}
		if o.cut {
			o.body = "" // buffers decide how much arrived before the cut
		}
		if o.header != nil && len(o.header["Content-Type"]) == 0 {
			o.header.Del("Content-Type")
		}
	}()
	h.ServeHTTP(w, r)
	return o
}

var oddAnswers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhelloHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-U: 1\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\nabc",
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 204 No Content\r\n\r\n",
	"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nEtag: x\r\n\r\n",
	"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-1/5\r\nContent-Length: 2\r\n\r\nhe",
	"HTTP/1.1 416 Range Not Satisfiable\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\nwhatever",
	"HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent Length: 2\r\n\r\nok",
	"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://s3.example.com/x\r\nContent-Length: 0\r\n\r\n",
	"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 20 Short\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 000 None\r\n\r\n",
	"HTTP/1.1 099 Odd\r\n\r\n",
	"ICY 200 OK\r\n\r\n",
	"\r\n\r\n",
	"",
	"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 20000) + "\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("y", 100000),
	"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("y", 100001),
}

// compare requests the odd answer with and without the fast path. Then it sends another request,
// whose answer must not be the rest of the odd one.
func compare(t *testing.T, s *scripted, fast, plain *Handler, method string, answer []byte, end bool) {
	t.Helper()
	s.mu.Lock()
	s.answer, s.close = answer, end
	s.mu.Unlock()
	plain.now.Load().retire() // http.Transport would mistake the late rest of an earlier answer for this one
	got, want := ask(fast, method, "/odd"), ask(plain, method, "/odd")
	if !got.equal(want) {
		t.Errorf("%s, close=%v, %.200q:\nfast  %.300s\nplain %.300s", method, end, answer, got, want)
	}
	for i := range 3 {
		path := "/next/" + strconv.Itoa(i)
		if got := ask(fast, "GET", path); got.status != 200 || got.body != path {
			t.Errorf("%s, close=%v, %.200q: the answer after it is %.200s", method, end, answer, got)
		}
	}
}

func TestFastPathEqualsReverseProxy(t *testing.T) {
	s := newScripted(t)
	fast, plain := pair(t, s.address)
	for _, answer := range oddAnswers {
		for _, method := range []string{"GET", "HEAD"} {
			for _, end := range []bool{true, false} {
				compare(t, s, fast, plain, method, []byte(answer), end)
			}
		}
	}
}

func FuzzFastPathEqualsReverseProxy(f *testing.F) {
	for _, answer := range oddAnswers {
		f.Add([]byte(answer), true, false)
	}
	s := newScripted(f)
	fast, plain := pair(f, s.address)
	f.Fuzz(func(t *testing.T, answer []byte, end, head bool) {
		method := "GET"
		if head {
			method = "HEAD"
		}
		compare(t, s, fast, plain, method, answer, end)
	})
}

func TestFastReusesConnections(t *testing.T) {
	s := newScripted(t)
	fast, _ := pair(t, s.address)
	for range 10 {
		ask(fast, "GET", "/x")
	}
	if n := s.conns.Load(); n != 1 {
		t.Errorf("%d connections for ten requests", n)
	}
}

func TestFastSurvivesStaleConnections(t *testing.T) {
	address := serveRaw(t, func(c net.Conn) {
		br := bufio.NewReader(c)
		if _, err := http.ReadRequest(br); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			_, _ = http.ReadRequest(br) // reads the second request and never answers it
		}
	})
	fast, _ := pair(t, address)
	for range 10 {
		if got := ask(fast, "GET", "/x"); got.body != "ok" {
			t.Fatalf("got %s", got)
		}
	}
}

func TestSplice(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	want := sha256.Sum256(body)
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(body))
	}), nil)
	path := "/v2/a/blobs/sha256:aa"
	for range 3 {
		res, got := s.do("GET", path, nil)
		if sha256.Sum256([]byte(got)) != want || res.ContentLength != int64(len(body)) {
			t.Fatal("the body was altered")
		}
	}
	if _, got := s.do("GET", path, nil, "Range", "bytes=100000-299999"); got != string(body[100000:300000]) {
		t.Error("the range was altered")
	}
	if op := s.tracker.lastEnded(4); !op.Complete || op.Status != 206 {
		t.Errorf("got the operation %+v", op)
	}
	if got := metric(t, s, "bellbuoy_response_bytes_total"); got != float64(3*len(body)+200000) {
		t.Errorf("%v bytes counted", got)
	}
}

func TestSpliceUpstreamDies(t *testing.T) {
	address := serveRaw(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
			_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"+strings.Repeat("x", 500000))
		}
	})
	s := newRawStand(t, address, nil)
	res, err := http.Get(s.front.URL + "/v2/a/blobs/sha256:aa")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if n, err := io.Copy(io.Discard, res.Body); err == nil {
		t.Errorf("a clean end after %d bytes", n)
	}
	if s.tracker.lastEnded(1).Complete {
		t.Error("counted as complete")
	}
}

func TestSpliceClientVanishes(t *testing.T) {
	gone := make(chan struct{})
	address := serveRaw(t, func(c net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
			return
		}
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
		piece := make([]byte, 1<<20)
		for {
			if _, err := c.Write(piece); err != nil {
				close(gone)
				return
			}
		}
	})
	s := newRawStand(t, address, nil)
	c := s.dial()
	_, _ = io.WriteString(c, "GET /v2/a/blobs/sha256:aa HTTP/1.1\r\nHost: h\r\n\r\n")
	_, _ = io.ReadFull(c, make([]byte, 1<<20))
	c.Close()
	<-gone
	if s.tracker.lastEnded(1).Complete {
		t.Error("counted as complete")
	}
}
