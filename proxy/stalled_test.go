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

// A body that stands still is cut, whichever side is to blame and whatever moves it.
func TestStalledBodies(t *testing.T) {
	const limit = 200 * time.Millisecond
	for _, c := range []struct {
		name   string
		length int
		sent   int // by the upstream before it stops; all: the client stops instead
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
				s.handler.now.Load().routes[0].fast = nil
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
	const limit, rest = 3 * time.Second, 400 * time.Millisecond // that on a busy machine may be several times as long
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
				s.handler.now.Load().routes[0].fast = nil
			}
			if _, body := s.do("GET", "/v2/a/blobs/sha256:aa", nil); len(body) != 100000 {
				t.Errorf("%d bytes", len(body))
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
		t.Errorf("got %d", op.Status)
	}
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
