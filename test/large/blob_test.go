package large

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A stream is a reader of size bytes that needs no memory: it repeats a block of random bytes, each
// time with its number in front.
type stream struct {
	size int64
	pos  int64
}

var block = func() []byte {
	b := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{7}).Read(b)
	return b
}()

func (s *stream) Read(p []byte) (int, error) {
	if s.pos == s.size {
		return 0, io.EOF
	}
	n, at := 0, s.pos%int64(len(block))
	if at < 8 { // the number, byte by byte
		p[0], n = byte(s.pos/int64(len(block))>>(8*at)), 1
	} else {
		n = copy(p, block[at:])
	}
	n = int(min(int64(n), s.size-s.pos))
	s.pos += int64(n)
	return n, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sum reads to the end, and returns the number of bytes and their checksum.
func sum(r io.Reader) (n int64, crc uint32, err error) {
	buf := make([]byte, 1<<20)
	for {
		got, err := r.Read(buf)
		n, crc = n+int64(got), crc32.Update(crc, castagnoli, buf[:got])
		if errors.Is(err, io.EOF) {
			return n, crc, nil
		}
		if err != nil {
			return n, crc, err
		}
	}
}

// blobUpstream sends and accepts blobs without storing any. The answer to a PUT has its checksum.
func blobUpstream(t *testing.T, size int64) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet:
			w.Header().Set("Content-Length", fmt.Sprint(size))
			io.CopyBuffer(struct{ io.Writer }{w}, &stream{size: size}, make([]byte, 256<<10)) // ends when the client disconnects
		case http.MethodPut, http.MethodPatch:
			n, crc, err := sum(r.Body)
			if err != nil {
				t.Errorf("reading an upload: %v", err)
			}
			w.Header().Set("X-Got", fmt.Sprintf("%d %08x", n, crc))
			w.WriteHeader(http.StatusCreated)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

const blobDigest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// TestBlobInConstantMemory moves one blob in each direction and over each protocol. bellbuoy's
// memory does not depend on the blob's size.
func TestBlobInConstantMemory(t *testing.T) {
	size := int64(10 << 30)
	if testing.Short() {
		size = 256 << 20
	}
	for _, tc := range []struct {
		name    string
		secure  bool
		http2   bool
		chunked bool
		size    int64
	}{
		{name: "plaintext", size: size},
		{name: "chunked", chunked: true, size: size / 10},
		{name: "TLS", secure: true, size: size / 10},
		{name: "HTTP2", secure: true, http2: true, size: size / 10},
	} {
		t.Run(tc.name, func(t *testing.T) {
			more, scheme := "", "http://"
			if tc.secure {
				more, scheme = tlsConfig(t), "https://"
			}
			b := bellbuoy(t, blobUpstream(t, tc.size), harness.NewReceiver(t).URL("/"), more)
			client := newClient(t, tc.http2)
			_, want, err := sum(&stream{size: tc.size})
			if err != nil {
				t.Fatal(err)
			}
			most := peak(t, b.Pid())
			base := scheme + b.Host + "/v2/team/app/blobs/"
			if !tc.chunked {
				download(t, client, base+blobDigest, tc.size, want)
			}
			upload(t, client, base+"uploads/1?digest="+blobDigest, tc.size, tc.chunked, want)
			atMost(t, most(), 48<<20)
		})
	}
}

func download(t *testing.T, c *http.Client, url string, size int64, want uint32) {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	n, crc, err := sum(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || n != size || crc != want {
		t.Fatalf("downloaded %d bytes, checksum %08x (%s, %v); want %d, %08x", n, crc, resp.Status, err, size, want)
	}
}

func upload(t *testing.T, c *http.Client, url string, size int64, chunked bool, want uint32) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, url, struct{ io.Reader }{&stream{size: size}})
	if err != nil {
		t.Fatal(err)
	}
	if req.ContentLength = size; chunked {
		req.ContentLength = -1
	}
	req.Header.Set("Content-Type", "application/octet-stream")
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body) // for the error message
	if got, all := resp.Header.Get("X-Got"), fmt.Sprintf("%d %08x", size, want); resp.StatusCode != http.StatusCreated || got != all {
		t.Fatalf("the upstream got %q (%s %s), want %q", got, resp.Status, strings.TrimSpace(string(body)), all)
	}
}
