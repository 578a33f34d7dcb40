package proxy

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The default limits do not cut a blob's PUT, or its POST in one piece, that the registry hashes
// for half an hour. Other requests are cut in time.
func TestLimitsAllowForHashing(t *testing.T) {
	const hashing = 30 * time.Minute
	for _, tc := range []struct {
		method, target string
		status         int
		after          time.Duration
	}{
		{"PUT", "/v2/a/blobs/uploads/1?digest=sha256:aa", 201, hashing},
		{"POST", "/v2/a/blobs/uploads/?digest=sha256:aa", 201, hashing},
		{"PATCH", "/v2/a/blobs/uploads/1", 504, 15 * time.Minute},
		{"GET", "/v2/a/tags/list", 504, 15 * time.Minute},
	} {
		for _, body := range []io.Reader{strings.NewReader("a blob"), unsized{strings.NewReader("a blob")}} {
			synctest.Test(t, func(t *testing.T) {
				h, err := New(Options{Upstreams: []Upstream{{Name: "u", Kind: detect.Registry, URL: &url.URL{Scheme: "http", Host: "registry.example.com"}}}, Tracker: quiet{},
					Limits: Limits{UpstreamConnect: 10 * time.Second, UpstreamResponseHeader: 15 * time.Minute, StalledBody: 2 * time.Minute, WriteTimeout: 15 * time.Minute}})
				if err != nil {
					t.Fatal(err)
				}
				ctx, cancel := context.WithCancel(t.Context())
				defer synctest.Wait()
				defer cancel()
				rt := h.now.Load().routes[0]
				rt.carriers.Fast = nil // it uses connections of the kernel, whose time is not virtual
				rt.carriers.Reverse.Transport.DialContext, rt.carriers.Reverse.Patient.DialContext = hasher(ctx, hashing), hasher(ctx, hashing)
				if tc.method == "GET" {
					body = nil
				}
				r := httptest.NewRequestWithContext(ctx, tc.method, tc.target, body)
				began := time.Now()
				got := handle(h, r)
				if took := time.Since(began); got.status != tc.status || took < tc.after || took > tc.after+time.Minute {
					t.Errorf("%s %s: got %s after %v", tc.method, tc.target, got, took)
				}
			})
		}
	}
}

// hasher dials a registry that answers after a time.
func hasher(ctx context.Context, within time.Duration) func(context.Context, string, string) (net.Conn, error) {
	return func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			r, err := http.ReadRequest(bufio.NewReader(theirs))
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if err != nil {
				return
			}
			select {
			case <-time.After(within):
				_, _ = io.WriteString(theirs, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
			case <-ctx.Done():
			}
		}()
		return ours, nil
	}
}

// The same over real connections, on the fast path, with limits that are a fraction of the default.
func TestHashingOnTheFastPath(t *testing.T) {
	const limit = 300 * time.Millisecond
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(4 * limit)
		w.WriteHeader(http.StatusCreated)
	}), func(o *Options) { o.Limits.UpstreamResponseHeader, o.Limits.StalledBody = limit, limit })
	if s.handler.now.Load().routes[0].carriers.Fast == nil {
		t.Skip("SKIPPED: this system has no fast path")
	}
	for _, target := range []string{"PUT /v2/a/blobs/uploads/1?digest=sha256:aa", "POST /v2/a/blobs/uploads/?digest=sha256:aa"} {
		method, path, _ := strings.Cut(target, " ")
		for _, body := range []io.Reader{strings.NewReader("a blob"), unsized{strings.NewReader("a blob")}} {
			if res, _ := s.do(method, path, body); res.StatusCode != http.StatusCreated {
				t.Errorf("%s: got %d", target, res.StatusCode)
			}
		}
	}
}
