package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// A body that stalls is cut, whichever side causes it and whichever carrier moves it.
func TestStalledBodies(t *testing.T) {
	const limit = 200 * time.Millisecond
	for _, c := range []struct {
		name   string
		length int
		sent   int // bytes from the upstream before it stops; all: the client stops instead
		fast   bool
	}{
		{"upstream, kernel", 1 << 20, 1 << 19, true},
		{"upstream, copied", 50_000, 20_000, true},
		{"upstream, plain", 1 << 20, 1 << 19, false},
		{"client, kernel", 64 << 20, 64 << 20, true},
		{"client, plain", 64 << 20, 64 << 20, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			address := serveRaw(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", c.length)
				_, _ = conn.Write(make([]byte, c.sent))
				_, _ = io.Copy(io.Discard, conn)
			})
			s := newRawStand(t, address, func(o *Options) { o.Limits.StalledBody = limit })
			if !c.fast {
				s.handler.now.Load().routes[0].carriers.Fast = nil
			}
			conn := s.dial()
			defer conn.Close()
			began := time.Now()
			_, _ = io.WriteString(conn, "GET /v2/a/blobs/sha256:aa HTTP/1.1\r\nHost: h\r\n\r\n")
			if op := s.tracker.lastEnded(1); op.Complete {
				t.Error("counted as complete")
			}
			if took := time.Since(began); took < limit {
				t.Errorf("cut after %v", took)
			}
		})
	}
}

// A body that moves slowly is not cut.
func TestSlowBodies(t *testing.T) {
	const limit, rest = 3 * time.Second, 400 * time.Millisecond // on a busy machine a rest may be several times as long
	for _, fast := range []bool{true, false} {
		t.Run(fmt.Sprint("fast ", fast), func(t *testing.T) {
			t.Parallel()
			address := serveRaw(t, func(conn net.Conn) {
				if _, err := http.ReadRequest(bufio.NewReader(conn)); err != nil {
					return
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
				for range 10 {
					_, _ = conn.Write(make([]byte, 10000))
					time.Sleep(rest)
				}
			})
			s := newRawStand(t, address, func(o *Options) { o.Limits.StalledBody = limit })
			if !fast {
				s.handler.now.Load().routes[0].carriers.Fast = nil
			}
			if _, body := s.do("GET", "/v2/a/blobs/sha256:aa", nil); len(body) != 100000 {
				t.Errorf("got %d bytes", len(body))
			}
		})
	}
}

func TestStalledUpload(t *testing.T) {
	const limit = 200 * time.Millisecond
	for _, path := range []string{"/v2/a/blobs/uploads/1", "/v2/a/manifests/v1"} {
		s := newStand(t, http.HandlerFunc(registry), func(o *Options) { o.Limits.StalledBody = limit })
		c := s.dial()
		defer c.Close()
		_, _ = io.WriteString(c, "PUT "+path+" HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nthe beginning")
		_ = c.SetReadDeadline(time.Now().Add(patience))
		b := make([]byte, 12)
		if _, err := io.ReadFull(c, b); err != nil || string(b) != "HTTP/1.1 408" {
			t.Errorf("%s: got %q, %v", path, b, err)
		}
	}
}

func TestUpstreamThatTakesNoUpload(t *testing.T) {
	stop := make(chan struct{})
	address := serveRaw(t, func(c net.Conn) { <-stop })
	defer close(stop)
	s := newRawStand(t, address, func(o *Options) { o.Limits.StalledBody = 200 * time.Millisecond })
	c := s.dial()
	defer c.Close()
	_, _ = io.WriteString(c, "PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n")
	go io.Copy(c, zeros{})
	if op := s.tracker.lastEnded(1); op.Status != 504 {
		t.Errorf("got the status %d", op.Status)
	}
}

// An upstream that reads all but the end of a body is not waited for longer: the client has nothing
// more to send, but bytes stall.
func TestUpstreamThatTakesNoEnd(t *testing.T) {
	stop := make(chan struct{})
	address := serveRaw(t, func(c net.Conn) { <-stop })
	t.Cleanup(func() { close(stop) })
	holds := socketsHold(t, address)
	for _, more := range []int{-64 << 10, 64 << 10, 128 << 10, 192 << 10, 256 << 10, 1 << 20} {
		t.Run(fmt.Sprint(more), func(t *testing.T) {
			t.Parallel()
			s := newRawStand(t, address, func(o *Options) {
				o.Limits.StalledBody, o.Limits.UpstreamResponseHeader = 500*time.Millisecond, 500*time.Millisecond
			})
			c := s.dial()
			defer c.Close()
			go func() {
				fmt.Fprintf(c, "PATCH /v2/a/blobs/uploads/1 HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", holds+more)
				_, _ = io.CopyN(c, zeros{}, int64(holds+more))
			}()
			if op := s.tracker.lastEnded(1); op.Status != 504 {
				t.Errorf("got the status %d", op.Status)
			}
		})
	}
}

// socketsHold returns how many bytes the sockets take if the other side reads nothing.
func socketsHold(t *testing.T, address string) (n int) {
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for piece := make([]byte, 16<<10); err == nil; {
		_ = c.SetWriteDeadline(time.Now().Add(200 * time.Millisecond))
		var m int
		m, err = c.Write(piece)
		n += m
	}
	return n
}

// An upload that moves slowly is not cut, whichever side is slow: neither because it stalls, nor
// because its answer comes long after its beginning.
func TestSlowUploads(t *testing.T) {
	const limit = 300 * time.Millisecond
	for _, tc := range []struct {
		name        string
		client      bool // the client is slow; otherwise the upstream
		fast        bool
		unknownSize bool
	}{{"client, fast", true, true, false}, {"client in chunks, fast", true, true, true}, {"client, plain", true, false, false}, {"upstream, fast", false, true, false}, {"upstream, fast, chunks", false, true, true}, {"upstream, plain", false, false, false}} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				buf := make([]byte, 800<<10)
				for n, err := 0, error(nil); err == nil; {
					if n, err = io.ReadFull(r.Body, buf); n > 0 && !tc.client {
						time.Sleep(limit / 6)
					}
				}
				w.WriteHeader(http.StatusAccepted)
			}), func(o *Options) {
				o.Limits.StalledBody = limit
				if tc.client {
					o.Limits.UpstreamResponseHeader = limit // at the end, a slow upstream still has much in its socket
				}
			})
			if !tc.fast {
				s.handler.now.Load().routes[0].carriers.Fast = nil
			}
			body := io.Reader(strings.NewReader(strings.Repeat("x", 16<<20)))
			if tc.client {
				body = &trickle{left: 10, every: limit / 5}
			}
			r, err := http.NewRequest("PATCH", s.front.URL+"/v2/a/blobs/uploads/1", body)
			if err != nil {
				t.Fatal(err)
			}
			if r.ContentLength = 10; !tc.client {
				r.ContentLength = 16 << 20
			}
			if tc.unknownSize {
				r.ContentLength = -1
			}
			res, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			if res.StatusCode != http.StatusAccepted {
				t.Errorf("got the status %d", res.StatusCode)
			}
		})
	}
}

// trickle is a body of single bytes.
type trickle struct {
	left  int
	every time.Duration
}

func (s *trickle) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(s.every)
	s.left--
	p[0] = 'x'
	return 1, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func TestResponseHeaderTimeout(t *testing.T) {
	stop := make(chan struct{})
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.RawQuery == "slow" {
			<-stop
		} else {
			time.Sleep(150 * time.Millisecond)
		}
	}), func(o *Options) { o.Limits.UpstreamResponseHeader = 50 * time.Millisecond })
	defer close(stop)
	for _, method := range []string{"GET", "PATCH"} {
		if res, body := s.do(method, "/v2/a/blobs/uploads/1?slow", strings.NewReader("")); res.StatusCode != 504 || !strings.Contains(body, "UNAVAILABLE") {
			t.Errorf("%s: got %d %s", method, res.StatusCode, body)
		}
	}
	if res, _ := s.do("PUT", "/v2/a/blobs/uploads/1?digest=sha256:aa", strings.NewReader("x")); res.StatusCode != 200 {
		t.Errorf("a registry that hashes was cut: %d", res.StatusCode)
	}
}
