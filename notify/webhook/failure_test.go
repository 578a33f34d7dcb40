package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// rawReceiver accepts connections and calls serve with each. It returns a client for them.
func rawReceiver(t *testing.T, serve func(net.Conn)) *Client {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return clientFor(t, "http://"+l.Addr().String()+"/hook")
}

// inBubble returns a client whose connections are pipes to serve, so that time is virtual.
func inBubble(t *testing.T, serve func(net.Conn)) *Client {
	t.Helper()
	c := clientFor(t, "http://receiver.example/hook", func(o *Options) { o.Timeout = 0 })
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait) // each ends when the client closes its connection
	c.transport.DialContext = func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		serving.Go(func() { defer theirs.Close(); serve(theirs) })
		return ours, nil
	}
	return c
}

func readRequest(conn net.Conn) {
	buf := make([]byte, 4096)
	_, _ = conn.Read(buf)
}

func TestHangingReceiverTimesOut(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"never reads":   func(net.Conn) {},
		"never answers": func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"trickles its head": func(conn net.Conn) {
			readRequest(conn)
			fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nX: ")
			for {
				if _, err := conn.Write([]byte("x")); err != nil {
					return
				}
				time.Sleep(time.Second)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := inBubble(t, func(conn net.Conn) { serve(conn); _, _ = io.Copy(io.Discard, conn) })
				start := time.Now()
				r := c.Post(t.Context(), message())
				if r.Outcome != Retry || r.Reason != ReasonTimeout || r.Err != "no answer within 15s" {
					t.Errorf("%+v", r)
				}
				if took := time.Since(start); took != 15*time.Second || r.Latency != took {
					t.Errorf("took %v, latency %v", took, r.Latency)
				}
			})
		})
	}
}

// TestSlowBodyIsAbandoned: after a 2xx, the receiver has the message, and a slow body must not hold
// up the lane.
func TestSlowBodyIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := inBubble(t, func(conn net.Conn) {
			readRequest(conn)
			fmt.Fprint(conn, "HTTP/1.1 202 Accepted\r\nContent-Length: 1000000\r\n\r\n")
			for {
				if _, err := conn.Write([]byte(".")); err != nil {
					return
				}
				time.Sleep(700 * time.Millisecond)
			}
		})
		start := time.Now()
		r := c.Post(t.Context(), message())
		if r.Outcome != Delivered || r.Status != 202 || string(r.Response) != "..." {
			t.Errorf("%+v", r)
		}
		if took := time.Since(start); took != bodyPatience {
			t.Errorf("took %v", took)
		}
	})
}

func TestEndlessBodyIsAbandoned(t *testing.T) {
	var sent atomic.Int64
	ended := make(chan struct{})
	c := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		defer close(ended)
		w.Header().Set("Content-Length", "10737418240")
		block := bytes.Repeat([]byte("0123456789abcdef"), 2048)
		for {
			n, err := w.Write(block)
			sent.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	r := c.Post(t.Context(), message())
	if r.Outcome != Delivered || len(r.Response) != 4<<10 {
		t.Errorf("%v, %d bytes", r.Outcome, len(r.Response))
	}
	<-ended // the client has closed the connection; otherwise the receiver would still write
	if sent.Load() > 64<<20 {
		t.Errorf("%d bytes were read", sent.Load())
	}
}

func TestResponseIsCutAndConnectionReused(t *testing.T) {
	var connections atomic.Int32
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(500)
		_, _ = w.Write(bytes.Repeat([]byte("e"), 32<<10))
	}))
	server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := clientFor(t, server.URL)
	for range 3 {
		if r := c.Post(t.Context(), message()); len(r.Response) != 4<<10 || r.Reason != Reason5xx {
			t.Fatalf("%d bytes, %v", len(r.Response), r.Reason)
		}
	}
	if connections.Load() != 1 {
		t.Errorf("%d connections", connections.Load())
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	var elsewhere atomic.Bool
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Store(true) }))
	defer other.Close()
	for _, status := range []int{301, 302, 303, 307, 308} {
		c := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, other.URL+"/secret-path?sig=secret-query", status)
		})
		r := c.Post(t.Context(), message())
		if r.Outcome != Retry || r.Reason != ReasonRedirect || !strings.Contains(r.Err, other.URL) || strings.Contains(r.Err, "secret") {
			t.Errorf("%d: %+v", status, r)
		}
	}
	if elsewhere.Load() {
		t.Error("a redirect was followed")
	}
}

func TestBrokenConnections(t *testing.T) {
	reset := func(conn net.Conn) {
		readRequest(conn)
		_ = conn.(*net.TCPConn).SetLinger(0)
		conn.Close()
	}
	early := func(conn net.Conn) { readRequest(conn); conn.Close() }
	halfway := func(conn net.Conn) { readRequest(conn); fmt.Fprint(conn, "HTTP/1.1 200 O"); conn.Close() }
	nonsense := func(conn net.Conn) { readRequest(conn); fmt.Fprint(conn, "220 mail ready\r\n\r\n"); conn.Close() }
	for name, test := range map[string]struct {
		serve  func(net.Conn)
		reason Reason
	}{
		"reset": {reset, ReasonReset}, "early close": {early, ReasonReset},
		"half a head": {halfway, ReasonReset}, "not HTTP": {nonsense, ReasonOther},
	} {
		r := rawReceiver(t, test.serve).Post(t.Context(), message())
		if r.Outcome != Retry || r.Reason != test.reason || r.Status != 0 || r.Err == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestBodyCutShortAfterA2xxIsDelivered(t *testing.T) {
	c := rawReceiver(t, func(conn net.Conn) {
		readRequest(conn)
		fmt.Fprint(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nthanks")
		conn.Close()
	})
	if r := c.Post(t.Context(), message()); r.Outcome != Delivered || string(r.Response) != "thanks" {
		t.Errorf("%+v", r)
	}
}

// TestClosedIdleConnectionIsReplaced: the attempt succeeds although the receiver has closed the
// idle connection.
func TestClosedIdleConnectionIsReplaced(t *testing.T) {
	var served atomic.Int32
	// answers one POST, and closes when the second arrives
	c := rawReceiver(t, func(conn net.Conn) {
		readRequest(conn)
		served.Add(1)
		fmt.Fprint(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		readRequest(conn)
		conn.Close()
	})
	for range 2 {
		if r := c.Post(t.Context(), message()); r.Outcome != Delivered {
			t.Fatalf("%+v", r)
		}
	}
	if served.Load() != 2 {
		t.Errorf("%d connections", served.Load())
	}
}

func TestHugeHeadIsRefused(t *testing.T) {
	c := receiver(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-Huge", strings.Repeat("x", 200<<10)) })
	if r := c.Post(t.Context(), message()); r.Outcome != Retry || r.Reason != ReasonOther || len(r.Err) > 500 {
		t.Errorf("%+v", r)
	}
}

func TestCompressedAnswerIsNotUnpacked(t *testing.T) {
	c := receiver(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		_, _ = w.Write([]byte("packed"))
	})
	if r := c.Post(t.Context(), message()); string(r.Response) != "packed" {
		t.Errorf("%+v", r)
	}
}

func TestNothingListens(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if r := clientFor(t, "http://"+l.Addr().String()).Post(t.Context(), message()); r.Reason != ReasonRefused || r.Outcome != Retry {
		t.Errorf("%+v", r)
	}
}

func TestReasonOf(t *testing.T) {
	op := func(err error) error {
		return fmt.Errorf("proxyconnect: %w", &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", err)})
	}
	for _, test := range []struct {
		err   error
		ended attemptStage
		want  Reason
	}{
		{&net.OpError{Op: "dial", Err: fmt.Errorf("%w: x", ErrDenied)}, stageEarly, ReasonDenied},
		{&net.OpError{Op: "dial", Err: &net.DNSError{IsTimeout: true}}, stageEarly, ReasonDNS},
		{&net.DNSError{IsNotFound: true}, stageEarly, ReasonDNS},
		{op(syscall.ECONNREFUSED), stageEarly, ReasonRefused},
		{op(syscall.ETIMEDOUT), stageEarly, ReasonTimeout},
		{op(syscall.ECONNRESET), stageEarly, ReasonReset},
		{op(syscall.ECONNRESET), stageHandshake, ReasonReset},
		{op(syscall.EHOSTUNREACH), stageEarly, ReasonOther},
		{context.Canceled, stageEarly, ReasonCanceled},
		{os.ErrDeadlineExceeded, stageEarly, ReasonTimeout},
		{errors.New("tls: no good"), stageHandshake, ReasonTLS},
		{errors.New("tls: no good"), stageEarly, ReasonOther},
		{&net.OpError{Op: "remote error", Err: errors.New("tls: bad certificate")}, stageEarly, ReasonTLS},
		{errors.New("http2: client connection lost"), stageSilent, ReasonReset},
		{errors.New("malformed HTTP response"), stageAnswering, ReasonOther},
		{fmt.Errorf("%w 407", errProxyAnswered), stageSilent, ReasonOther},
		{io.ErrUnexpectedEOF, stageEarly, ReasonReset},
	} {
		if got := reasonOf(test.err, test.ended); got != test.want {
			t.Errorf("%v: %v, want %v", test.err, got, test.want)
		}
	}
}

// TestHTTP2StreamResetIsRecognised needs a real connection, because HTTP/2's errors have no
// exported types.
func TestHTTP2StreamResetIsRecognised(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	c := clientFor(t, server.URL, func(o *Options) { o.TLS.InsecureSkipVerify = true })
	if r := c.Post(t.Context(), message()); r.Reason != ReasonReset {
		t.Errorf("%+v", r)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                                 0,
		"0":                                0,
		"120":                              2 * time.Minute,
		" 5 ":                              5 * time.Second,
		"0.25":                             time.Second,
		"1.0":                              time.Second,
		"86400":                            24 * time.Hour,
		"86401":                            24 * time.Hour,
		"99999999999999999999999":          24 * time.Hour,
		"18446744073709551615":             24 * time.Hour,
		"-5":                               0,
		"+5":                               0,
		"soon":                             0,
		"5s":                               0,
		"1e9":                              0,
		"1.":                               0,
		"1.x":                              0,
		"Inf":                              0,
		"Thu, 05 Nov 2026 12:00:30 GMT":    30 * time.Second,
		"Thu, 05 Nov 2026 11:00:00 GMT":    0,
		"Fri, 05 Nov 2027 12:00:00 GMT":    24 * time.Hour,
		"Thursday, 05-Nov-26 12:01:00 GMT": time.Minute, // RFC 850
		"Thu Nov  5 12:02:00 2026":         2 * time.Minute,
		"2026-11-05T12:00:30Z":             0,
	} {
		if got := retryAfter(value, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

func FuzzRetryAfter(f *testing.F) {
	for _, seed := range []string{"", "5", "-1", "1.5", "99999999999999999999", "Thu, 05 Nov 2026 12:00:30 GMT"} {
		f.Add(seed)
	}
	now := time.Date(2026, 11, 5, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, value string) {
		if got := retryAfter(value, now); got < 0 || got > 24*time.Hour {
			t.Errorf("%q: %v", value, got)
		}
	})
}
