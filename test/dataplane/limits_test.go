package dataplane

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// tiresome is an upstream that is slow, silent or broken, by the path of the request.
type tiresome struct{ gone chan struct{} }

func newTiresome(t *testing.T) *httptest.Server {
	t.Helper()
	up := &tiresome{make(chan struct{})}
	srv := httptest.NewServer(up)
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(up.gone) })
	return srv
}

func (u *tiresome) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	wait := func() {
		select {
		case <-u.gone:
		case <-r.Context().Done():
		}
	}
	switch {
	case strings.HasPrefix(r.UserAgent(), "bellbuoy/"):
		w.WriteHeader(http.StatusNotFound)
	case strings.Contains(r.URL.Path, "/silent/"):
		_, _ = io.Copy(io.Discard, r.Body)
		wait()
	case strings.Contains(r.URL.Path, "/deaf/"):
		wait()
	case strings.Contains(r.URL.Path, "/half/"):
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(make([]byte, 500000))
		_ = http.NewResponseController(w).Flush()
		wait()
	case strings.Contains(r.URL.Path, "/half-chunked/"):
		_, _ = w.Write(make([]byte, 500000))
		_ = http.NewResponseController(w).Flush()
		wait()
	case strings.Contains(r.URL.Path, "/endless/"):
		_, _ = io.Copy(w, zeros{})
	case strings.Contains(r.URL.Path, "/long/"):
		w.Header().Set("Content-Length", fmt.Sprint(1<<40))
		_, _ = io.Copy(w, zeros{})
	default:
		_, _ = io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusOK)
	}
}

// TestNothingIsLeftBehind runs many clients and upstreams that are slow, silent or gone, in every
// phase of a request. All are cut in time, memory stays bounded meanwhile, and goroutines and
// descriptors return to their number before.
func TestNothingIsLeftBehind(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	const each = 30
	const limits = "limits: {header_read: 1s, idle: 1s, stalled_body: 1s, upstream_response_header: 1s, write_timeout: 2s}\n"
	const upload = " HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nhalf of it"
	const chunks = " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"
	get := func(kind string) string {
		return "GET /v2/" + kind + "/blobs/sha256:" + strings.Repeat("ab", 32) + " HTTP/1.1\r\nHost: h\r\n\r\n"
	}
	requests := []string{
		"", "G", "GET /v2/ HTTP/1.1\r\nHost: h\r\nX: ", "\r\n",
		"GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", // and nothing more
		get("half"), get("half-chunked"), get("endless"), get("long"), get("silent"), get("deaf"),
		strings.Replace(get("half"), "/blobs/", "/manifests/", 1), strings.Replace(get("half-chunked"), "/blobs/", "/manifests/", 1),
		"PATCH /v2/a/blobs/uploads/x" + upload, "PATCH /v2/a/blobs/uploads/x" + chunks, "PATCH /v2/deaf/blobs/uploads/x" + upload,
		"PUT /v2/a/manifests/v1" + upload, "PUT /v2/a/manifests/v1" + chunks, "PUT /v2/deaf/manifests/v1" + upload,
		"PUT /v2/silent/manifests/v1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
		"DELETE /v2/silent/manifests/v1 HTTP/1.1\r\nHost: h\r\n\r\n",
	}
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %t", secure), func(t *testing.T) {
			t.Parallel()
			config, clients := limits, each
			if secure {
				clients = each / 3
				config += fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", a.File("server.pem"), a.File("server.key"))
			}
			up := newTiresome(t)
			b := front(t, up.URL, config)
			dial := func() (io.ReadWriteCloser, *net.TCPConn, error) {
				c, err := net.Dial("tcp", b.Host)
				if err != nil || !secure {
					return c, c.(*net.TCPConn), err
				}
				return tls.Client(c, a.Trusting("")), c.(*net.TCPConn), nil
			}
			rest := func() (goroutines, descriptors float64) {
				return b.Metric("go_goroutines"), b.Metric("process_open_fds")
			}
			time.Sleep(1500 * time.Millisecond)
			goroutines, descriptors := rest()
			var crowd sync.WaitGroup
			for _, request := range requests {
				for i := range clients {
					c, raw, err := dial()
					if err != nil {
						t.Fatal(err)
					}
					_ = raw.SetDeadline(time.Now().Add(time.Minute))
					crowd.Go(func() {
						defer raw.Close()
						if secure && request == "" {
							_, _ = raw.Read(make([]byte, 1)) // no handshake
							return
						}
						_, _ = io.WriteString(c, request)
						await(c, raw, i)
					})
				}
			}
			most := 0.0
			finished := make(chan struct{})
			go func() { crowd.Wait(); close(finished) }()
			for over := false; !over; {
				most = max(most, b.Metric("process_resident_memory_bytes"))
				select {
				case <-finished:
					over = true
				case <-time.After(100 * time.Millisecond):
				}
			}
			if most > 150<<20 {
				t.Errorf("%.0f MiB were held", most/(1<<20))
			}
			harness.Eventually(20*time.Second, func() bool { // some intents stay open forever
				return b.Metric("bellbuoy_requests_in_flight") == 0 && b.Metric("bellbuoy_open_intents") == 0
			})
			up.CloseClientConnections() // idle ones that bellbuoy keeps
			if !harness.Eventually(2*soon, func() bool {
				g, d := rest()
				return g <= goroutines+3 && d <= descriptors+3 && b.Metric("bellbuoy_requests_in_flight") == 0
			}) {
				g, d := rest()
				t.Errorf("%v goroutines and %v descriptors, before %v and %v; %v requests in flight", g, d, goroutines, descriptors, b.Metric("bellbuoy_requests_in_flight"))
			}
			t.Logf("%.0f MiB at most, %v goroutines at rest", most/(1<<20), goroutines)
			if b.Metric("bellbuoy_panics_total") != 0 {
				t.Error("bellbuoy panicked")
			}
		})
	}
}

// await waits until the connection is cut, reads nothing, disconnects at once or resets the
// connection, in turn.
func await(c io.Reader, raw *net.TCPConn, i int) {
	switch i % 5 {
	case 0, 1:
		began := time.Now()
		_, _ = io.Copy(io.Discard, io.LimitReader(readFor(c, began, 3*time.Second), 1<<40))
	case 2: // reads nothing until bellbuoy must have cut the connection
		_ = raw.SetReadBuffer(4 << 10)
		time.Sleep(4 * time.Second)
	case 3:
		time.Sleep(time.Duration(i) * 10 * time.Millisecond)
		_ = raw.SetLinger(0)
	case 4:
		time.Sleep(time.Duration(i) * 10 * time.Millisecond)
		_ = raw.CloseWrite()
		_ = raw.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = c.Read(make([]byte, 1))
	}
}

// readFor reads slowly, and ends after a time, because the answer may be endless.
func readFor(r io.Reader, began time.Time, within time.Duration) io.Reader {
	return reader(func(p []byte) (int, error) {
		if time.Since(began) > within {
			return 0, io.EOF
		}
		time.Sleep(5 * time.Millisecond)
		return r.Read(p[:min(len(p), 4<<10)])
	})
}

type reader func(p []byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }

// Connections over limits.connections wait, and a reload admits them.
func TestConnectionsLimit(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	b := front(t, registry.URL, "limits: {connections: 2}\n")
	dial := func() (net.Conn, *bufio.Reader) {
		c, err := net.Dial("tcp", b.Host)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_, _ = io.WriteString(c, "GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n")
		return c, bufio.NewReader(c)
	}
	answered := func(c net.Conn, br *bufio.Reader, within time.Duration) bool {
		_ = c.SetReadDeadline(time.Now().Add(within))
		_, err := br.Peek(1)
		return err == nil
	}
	first, br := dial()
	if !answered(first, br, soon) {
		t.Fatal("the first connection is not served")
	}
	second, br := dial()
	if !answered(second, br, soon) {
		t.Fatal("the second connection is not served")
	}
	third, br3 := dial()
	fourth, br4 := dial()
	if answered(third, br3, 300*time.Millisecond) {
		t.Error("a third connection is served")
	}
	first.Close()
	if !answered(third, br3, soon) {
		t.Error("the third connection is never served")
	}
	if answered(fourth, br4, 300*time.Millisecond) {
		t.Error("a fourth connection is served")
	}
	text, err := os.ReadFile(b.Config)
	if err != nil {
		t.Fatal(err)
	}
	b.Reload(strings.Replace(string(text), "connections: 2", "connections: 0", 1))
	if !answered(fourth, br4, soon) {
		t.Error("the fourth connection is never served")
	}
}
