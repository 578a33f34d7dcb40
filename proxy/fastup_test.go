package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
	"github.com/bellbuoy/bellbuoy/proxy/carry"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// taker is an upstream that accepts uploads. For /odd it sends given bytes when it has read so much
// of the body; for other paths it answers with what has arrived.
type taker struct {
	address string
	conns   atomic.Int32
	closed  chan net.Addr // the proxy's end of a connection that was closed after an odd answer
	all     atomic.Bool   // the whole last body arrived, although it was answered before

	mu      sync.Mutex
	answer  []byte
	after   int64  // bytes of the body before the answer; negative: all
	close   bool   // closes the connection after the answer, even if more of the body follows
	seen    string // the last request for /odd that was read to its end
	waiting bool   // a handler waits for an odd answer
}

func newTaker(t testing.TB) *taker {
	k := &taker{closed: make(chan net.Addr, 1)}
	k.address = serveRaw(t, func(c net.Conn) { k.conns.Add(1); k.serve(c) })
	return k
}

func (k *taker) serve(c net.Conn) {
	defer c.Close()
	br := bufio.NewReader(c)
	for {
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		if !strings.HasSuffix(r.URL.Path, "/odd") {
			told := told(r)
			fmt.Fprintf(c, "HTTP/1.1 202 Accepted\r\nContent-Length: %d\r\n\r\n%s", len(told), told)
			continue
		}
		if !k.odd(c, r) {
			c.Close()
			k.closed <- c.RemoteAddr()
			return
		}
		if !k.goesOn(c, br) {
			return
		}
	}
}

// goesOn reports, after an odd answer, whether another request follows. The proxy waits in vain for
// the rest of half an answer; meanwhile the connection is closed. After a complete answer it may
// keep the connection, and closing that might cost the next request.
func (k *taker) goesOn(c net.Conn, br *bufio.Reader) bool {
	for {
		_ = c.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
		_, err := br.Peek(1)
		if err == nil {
			return c.SetReadDeadline(time.Time{}) == nil
		}
		if !carry.TimedOut(err) || k.closeAwaited(c) {
			return false
		}
	}
}

// closeAwaited closes a connection for whose answer a handler waits, and reports whether there is
// one.
func (k *taker) closeAwaited(c net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.waiting {
		c.Close()
	}
	return k.waiting
}

// odd sends the odd answer, and reports whether the connection continues.
func (k *taker) odd(c net.Conn, r *http.Request) bool {
	k.mu.Lock()
	answer, after, end := k.answer, k.after, k.close
	k.mu.Unlock()
	if after < 0 {
		seen := told(r)
		k.mu.Lock()
		k.seen = seen
		k.mu.Unlock()
	} else {
		_, _ = io.CopyN(io.Discard, r.Body, after)
	}
	_, _ = c.Write(answer)
	if end {
		return false
	}
	_, err := io.Copy(io.Discard, r.Body)
	k.all.Store(err == nil)
	return true
}

// told describes a request by what must be the same with both carriers.
func told(r *http.Request) string {
	sum := sha256.New()
	n, err := io.Copy(sum, r.Body)
	r.Header.Del("X-Request-Id")
	return fmt.Sprintf("%s %s %s %v length %d %v: %d %x %v, then %v", r.Method, r.RequestURI, r.Host, r.Header, r.ContentLength, r.TransferEncoding, n, sum.Sum(nil), err, r.Trailer)
}

// unsized hides the length of a reader.
type unsized struct{ io.Reader }

// give passes a piece of a blob or a manifest directly to a handler.
func (k *taker) give(h *Handler, path string, body []byte, chunked bool) outcome {
	r := httptest.NewRequest(methodOf(path), path, bytes.NewReader(body))
	if chunked {
		r = httptest.NewRequest(methodOf(path), path, unsized{bytes.NewReader(body)})
	}
	r.Header.Set("Content-Type", "application/octet-stream")
	odd := strings.HasSuffix(path, "/odd")
	k.mu.Lock()
	k.waiting = odd
	k.mu.Unlock()
	got := handle(h, r)
	k.mu.Lock()
	k.waiting = false
	end := k.close && odd
	k.mu.Unlock()
	if end {
		awaitClosed(h, <-k.closed)
	}
	return got
}

// awaitClosed waits until the proxy sees that the upstream has closed a connection: it could not
// send the next upload twice.
func awaitClosed(h *Handler, address net.Addr) {
	fast := h.now.Load().routes[0].carriers.Fast
	if fast == nil {
		return
	}
	for fast.Idle(address) {
		time.Sleep(time.Millisecond)
	}
}

const (
	session   = "/v2/a/blobs/uploads/"
	manifests = "/v2/a/manifests/"
)

func methodOf(path string) string {
	if strings.HasPrefix(path, manifests) {
		return "PUT"
	}
	return "PATCH"
}

// compareUploads makes an upload with and without the fast path. Then it makes another one, whose
// answer must not be the rest of the odd one.
func compareUploads(t *testing.T, k *taker, fast, plain *Handler, place string, body []byte, chunked bool, answer []byte, end bool) {
	t.Helper()
	k.mu.Lock()
	k.answer, k.after, k.close = answer, -1, end
	k.mu.Unlock()
	plain.now.Load().retire()
	got := k.give(fast, place+"odd", body, chunked)
	took := k.seen
	want := k.give(plain, place+"odd", body, chunked)
	if took != k.seen {
		t.Errorf("the upstream gets\nfast  %s\nplain %s", took, k.seen)
	}
	if !got.equal(want) {
		t.Errorf("%s: %d bytes, chunked=%v, close=%v, %.200q:\nfast  %.300s\nplain %.300s", place, len(body), chunked, end, answer, got, want)
	}
	for i := range 2 {
		path := place + strconv.Itoa(i)
		if got := k.give(fast, path, body, chunked); got.status != 202 || !strings.HasPrefix(got.body, methodOf(path)+" "+path) || !strings.Contains(got.body, fmt.Sprintf("%x <nil>", sha256.Sum256(body))) {
			t.Errorf("chunked=%v, close=%v, %.200q: the answer after it is %.200s", chunked, end, answer, got)
		}
	}
}

func TestUploadsByFastPathEqualReverseProxy(t *testing.T) {
	k := newTaker(t)
	fast, plain := pair(t, k.address)
	for i, answer := range oddAnswers {
		body := bytes.Repeat([]byte{byte(i)}, 1+i*17_001)
		for _, chunked := range []bool{true, false} {
			for _, end := range []bool{true, false} {
				compareUploads(t, k, fast, plain, session, body, chunked, []byte(answer), end)
				compareUploads(t, k, fast, plain, manifests, body, chunked, []byte(answer), end)
			}
		}
	}
}

func FuzzUploadsByFastPathEqualReverseProxy(f *testing.F) {
	for _, answer := range oddAnswers {
		f.Add([]byte(answer), []byte("a body"), true, false)
	}
	k := newTaker(f)
	fast, plain := pair(f, k.address)
	f.Fuzz(func(t *testing.T, answer, body []byte, chunked, end bool) {
		if len(body) == 0 && !chunked {
			t.Skip("no upload")
		}
		for _, place := range []string{session, manifests} {
			compareUploads(t, k, fast, plain, place, body, chunked, answer, end)
		}
	})
}

// An answer that comes before the end of the body reaches the client, even if the upstream closes
// its connection at once.
func TestEarlyAnswersToUploads(t *testing.T) {
	k := newTaker(t)
	fast, _ := pair(t, k.address)
	body := make([]byte, 32<<20) // more than the sockets hold
	for _, chunked := range []bool{true, false} {
		for _, end := range []bool{true, false} {
			for _, after := range []int64{0, 1, 100_000, 31 << 20} {
				k.mu.Lock()
				k.answer, k.after, k.close = []byte("HTTP/1.1 413 Too Much\r\nContent-Length: 4\r\n\r\nfull"), after, end
				k.mu.Unlock()
				for range 5 {
					k.all.Store(false)
					got := k.give(fast, session+"odd", body, chunked)
					if got.status != 413 || got.body != "full" || got.cut {
						t.Fatalf("chunked=%v, close=%v, after %d: got %s", chunked, end, after, got)
					}
					if after < 1<<20 && got.header.Get("Connection") != "close" && (end || !k.hasAll()) {
						t.Errorf("close=%v, after %d: the rest of the body would be read as a request: %v", end, after, got.header)
					}
				}
			}
		}
	}
	if got := k.give(fast, session+"x", body, false); got.status != 202 {
		t.Errorf("after all that: %s", got)
	}
}

// hasAll reports whether the whole body arrived after an odd answer: on a busy machine the client
// may have sent it before it sees the answer.
func (k *taker) hasAll() bool {
	for until := time.Now().Add(patience); !k.all.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			return false
		}
	}
	return true
}

func TestUploadsReuseConnections(t *testing.T) {
	k := newTaker(t)
	fast, _ := pair(t, k.address)
	for i := range 10 {
		k.give(fast, session+"x", []byte("body"), i%2 == 0)
		k.give(fast, manifests+"x", []byte("body"), false)
	}
	if n := k.conns.Load(); n != 1 {
		t.Errorf("%d connections for twenty uploads", n)
	}
}

// frontOf starts a server in front of a handler, because real uploads come through its connections.
func frontOf(t *testing.T, h http.Handler) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := listen.New(listen.Options{Handler: h})
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(over)
	})
	return l.Addr().String()
}

// inChunks writes a body in chunks of changing length.
func inChunks(w io.Writer, body []byte, lengths ...int) {
	for i := 0; len(body) > 0; i++ {
		n := min(len(body), lengths[i%len(lengths)])
		fmt.Fprintf(w, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	_, _ = io.WriteString(w, "0\r\n\r\n")
}

// Chunked bodies with chunks of any length arrive completely, and so do the requests that follow
// directly.
func TestUploadsInChunks(t *testing.T) {
	k := newTaker(t)
	fast, _ := pair(t, k.address)
	address := frontOf(t, fast)
	body := make([]byte, 3<<20)
	for i := range body {
		body[i] = byte(i * i >> 7)
	}
	sum := fmt.Sprintf("%d %x <nil>", len(body), sha256.Sum256(body))
	for _, lengths := range [][]int{{1000}, {4096}, {32 << 10}, {1 << 20}, {7, 5000, 70_000, 1, 300_000}} {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		const times = 3
		go func() {
			w := bufio.NewWriterSize(c, 50_000)
			for range times {
				_, _ = io.WriteString(w, "PATCH "+session+"x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
				inChunks(w, body, lengths...)
			}
			_ = w.Flush()
		}()
		br := bufio.NewReader(c)
		for range times {
			res, err := http.ReadResponse(br, nil)
			if err != nil {
				t.Fatalf("%v: got %v", lengths, err)
			}
			got, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != 202 || !strings.Contains(string(got), sum) || !strings.Contains(string(got), "length -1 [chunked]") {
				t.Fatalf("%v: got %d %.300s", lengths, res.StatusCode, got)
			}
		}
	}
	for until := time.Now().Add(patience); buffers.Ahead.Lent() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(until) {
			t.Fatalf("%d buffers are still lent", buffers.Ahead.Lent())
		}
	}
}

// A body that breaks off or is malformed never looks complete to the upstream.
func TestBrokenUploads(t *testing.T) {
	for _, tc := range []struct {
		request string
		want    string // "": the client has disconnected
	}{
		{"Content-Length: 100000\r\n\r\nthe beginning", ""},
		{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", ""},
		{"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", ""},
		{"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", "HTTP/1.1 400 "},
		{"Transfer-Encoding: chunked\r\n\r\n5\r\nhelloworld\r\n0\r\n\r\n", "HTTP/1.1 400 "},
	} {
		ended := make(chan error, 1)
		address := serveRaw(t, func(c net.Conn) {
			r, err := http.ReadRequest(bufio.NewReader(c))
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			ended <- err
		})
		fast, _ := pair(t, address)
		c, err := net.Dial("tcp", frontOf(t, fast))
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(c, "PATCH "+session+"x HTTP/1.1\r\nHost: h\r\n"+tc.request)
		if tc.want == "" {
			time.Sleep(20 * time.Millisecond) // so that the upload is in flight
			c.Close()
		} else if line, _ := bufio.NewReader(c).ReadString('\n'); !strings.HasPrefix(line, tc.want) {
			t.Errorf("%q: got %q", tc.request, line)
		}
		if err := <-ended; err == nil {
			t.Errorf("%q: complete to the upstream", tc.request)
		}
		c.Close()
	}
}
