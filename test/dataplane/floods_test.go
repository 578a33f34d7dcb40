package dataplane

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// floods are attacks on HTTP/2 that cost a client little. Each gets a connection and attacks until
// the connection is cut or the attack is over; it leaves the connection open. cut says that
// bellbuoy must cut the connection.
var floods = []struct {
	name string
	cut  bool
	do   func(h *h2)
}{
	{"rapid reset", false, func(h *h2) {
		for i := range uint32(20_000) {
			h.headers(2*i+1, true, request("GET", "/v2/silent/manifests/x")...)
			_ = h.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
			if i%100 == 0 && h.flush() != nil {
				return
			}
		}
		h.flush()
	}},
	{"rapid reset of pushes", false, func(h *h2) {
		for i := range uint32(5_000) {
			h.headers(2*i+1, false, request("PUT", "/v2/silent/manifests/x", "content-length", "100")...)
			_ = h.WriteData(2*i+1, false, []byte("{"))
			_ = h.WriteRSTStream(2*i+1, http2.ErrCodeCancel)
			if i%100 == 0 && h.flush() != nil {
				return
			}
		}
		h.flush()
	}},
	{"resets by the server", false, func(h *h2) { // whose streams the server counts as ended, although their handlers still run
		for i := range uint32(20_000) {
			h.headers(2*i+1, true, request("GET", "/v2/silent/manifests/x")...)
			_ = h.WriteWindowUpdate(2*i+1, 0)
			if i%100 == 0 && h.flush() != nil {
				return
			}
		}
		h.flush()
	}},
	{"more streams than there may be", false, func(h *h2) {
		for i := range uint32(2_000) {
			h.headers(2*i+1, true, request("GET", "/v2/silent/manifests/x")...)
		}
		h.flush()
	}},
	{"CONTINUATION", true, func(h *h2) {
		_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields(request("GET", "/v2/")...)})
		piece := h.fields("x", strings.Repeat("y", 8<<10))
		for h.flush() == nil {
			_ = h.WriteContinuation(1, false, piece)
		}
	}},
	{"CONTINUATION of nothing", true, func(h *h2) {
		_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields(request("GET", "/v2/")...)})
		for i := 0; i%100 != 0 || h.flush() == nil; i++ {
			_ = h.WriteContinuation(1, false, nil)
		}
	}},
	{"PING", true, func(h *h2) { // and reads no answer
		for i := 0; i%1000 != 0 || h.flush() == nil; i++ {
			_ = h.WritePing(false, [8]byte{1})
		}
	}},
	{"SETTINGS", true, func(h *h2) {
		for i := 0; i%1000 != 0 || h.flush() == nil; i++ {
			_ = h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: uint32(i)})
		}
	}},
	{"a header that unpacks to much", false, func(h *h2) { // short fields that refer to a long one, again and again
		h.headers(1, true, request("GET", "/v2/", "x", strings.Repeat("y", 3<<10))...)
		for i := range uint32(100) {
			var fields []string
			for range 1000 {
				fields = append(fields, "x", strings.Repeat("y", 3<<10))
			}
			h.headers(2*i+3, true, request("GET", "/v2/", fields...)...)
			if h.flush() != nil {
				return
			}
		}
	}},
	{"uploads without an end", false, func(h *h2) {
		for i := range uint32(200) {
			h.headers(2*i+1, false, request("PATCH", "/v2/deaf/blobs/uploads/x")...)
			_ = h.WriteData(2*i+1, false, make([]byte, 300))
		}
		h.flush()
	}},
	{"downloads without a window", false, func(h *h2) {
		for i := range uint32(200) {
			h.headers(2*i+1, true, request("GET", "/v2/long/blobs/sha256:"+strings.Repeat("ab", 32))...)
		}
		h.flush()
	}},
	{"downloads that are not read", true, func(h *h2) { // the windows are wide, and the socket is full
		_ = h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1<<31 - 1})
		_ = h.WriteWindowUpdate(0, 1<<31-1-65535)
		for i := range uint32(20) {
			h.headers(2*i+1, true, request("GET", "/v2/long/blobs/sha256:"+strings.Repeat("ab", 32))...)
		}
		h.flush()
		for h.flush() == nil {
			time.Sleep(100 * time.Millisecond)
			_ = h.WriteWindowUpdate(0, 1)
		}
	}},
}

// TestFloods runs the attacks over HTTP/2, one kind after the other. Memory and goroutines stay
// bounded, others are served meanwhile, and the memory of an attack is freed soon, although its
// connection stays open.
func TestFloods(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	const limits = "limits: {header_read: 1s, idle: 1s, stalled_body: 1s, upstream_response_header: 2s, write_timeout: 2s, header_size: 16KiB}\n"
	up := newTiresome(t)
	b := front(t, up.URL, limits+secured(a))
	time.Sleep(1500 * time.Millisecond)
	goroutines, descriptors := b.Metric("go_goroutines"), b.Metric("process_open_fds")
	for _, c := range floods {
		t.Run(c.name, func(t *testing.T) {
			h := newH2(t, a, b.Host)
			if c.name != "PING" && c.name != "SETTINGS" && !strings.HasPrefix(c.name, "downloads that") {
				go h.listen()
			}
			done := make(chan struct{})
			go func() { defer close(done); c.do(h) }()
			other := overTLS(t, a, true, "")
			most := crest{}
			for over := false; !over; {
				most.see(b)
				must(t, other, 200, "GET", "https://"+b.Host+"/v2/", nil)
				select {
				case <-done:
					over = true
				case <-time.After(50 * time.Millisecond):
				}
			}
			most.see(b)
			if c.cut && h.flush() == nil && h.ping() == nil {
				t.Error("it is not cut off")
			}
			must(t, other, 200, "GET", "https://"+b.Host+"/v2/", nil)
			other.CloseIdleConnections()
			if most.resident > 150<<20 || most.goroutines > goroutines+2500 {
				t.Errorf("%.0f MiB and %v goroutines at a time", most.resident/(1<<20), most.goroutines)
			}
			atRest(t, b, up.CloseClientConnections, goroutines, descriptors)
			t.Logf("%.0f MiB, %v goroutines", most.resident/(1<<20), most.goroutines)
		})
	}
	sound(t, b)
}

// crest has the highest values that a process reached.
type crest struct{ resident, goroutines float64 }

func (c *crest) see(b *harness.Buoy) {
	c.resident = max(c.resident, b.Metric("process_resident_memory_bytes"))
	c.goroutines = max(c.goroutines, b.Metric("go_goroutines"))
}

// ping writes until the connection fails.
func (c *h2) ping() error {
	for range 50 {
		_ = c.WritePing(false, [8]byte{2})
		if err := c.flush(); err != nil {
			return err
		}
		time.Sleep(20 * time.Millisecond)
	}
	return nil
}

// atRest waits until goroutines and descriptors are as many as before, and no request is in flight.
// closing closes idle connections.
func atRest(t *testing.T, b *harness.Buoy, closing func(), goroutines, descriptors float64) {
	t.Helper()
	if !harness.Eventually(2*soon, func() bool {
		closing()
		return b.Metric("go_goroutines") <= goroutines+3 && b.Metric("process_open_fds") <= descriptors+3 && b.Metric("bellbuoy_requests_in_flight") == 0
	}) {
		t.Errorf("%v goroutines and %v descriptors, before %v and %v; %v requests in flight",
			b.Metric("go_goroutines"), b.Metric("process_open_fds"), goroutines, descriptors, b.Metric("bellbuoy_requests_in_flight"))
	}
}
