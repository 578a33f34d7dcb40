package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
)

// A memory is a registry that needs little CPU time: manifests are in memory, by repository and
// reference, and every blob has blobSize zero bytes. It is used if a real registry would be slower
// than the proxy.
type memory struct {
	address  string
	secure   bool // it speaks TLS
	blobSize int64

	mu        sync.RWMutex
	manifests map[string][]byte // by path
}

func newMemory(s *stage) *memory {
	m, server, l := memoryAt(s)
	go server.Serve(l)
	return m
}

// newSecureMemory returns one that speaks TLS.
func newSecureMemory(s *stage, c authority.Pair) *memory {
	m, server, l := memoryAt(s)
	m.secure = true
	go server.ServeTLS(l, c.Cert, c.Key)
	return m
}

func memoryAt(s *stage) (*memory, *http.Server, net.Listener) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	m := &memory{address: l.Addr().String(), blobSize: 64 << 20, manifests: map[string][]byte{}}
	server := &http.Server{Handler: m, ErrorLog: log.New(io.Discard, "", 0)} // clients disconnect on purpose
	s.Cleanup(func() { server.Close() })
	return m, server, l
}

// entry returns the entry of the upstream in bellbuoy's configuration.
func (m *memory) entry() string {
	if m.secure {
		return fmt.Sprintf(`{type: registry, url: "https://%s", tls: {insecure_skip_verify: true}}`, m.address)
	}
	return plainEntry(m.address)
}

func plainEntry(address string) string {
	return fmt.Sprintf(`{type: registry, url: "http://%s"}`, address)
}

const manifestType = "application/vnd.oci.image.manifest.v1+json"

func (m *memory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := r.URL.Path
	switch {
	case strings.Contains(path, "/manifests/"):
		m.manifest(w, r, path)
	case strings.Contains(path, "/blobs/") && r.Method == http.MethodGet:
		m.blob(w)
	case path == "/v2/":
		io.WriteString(w, "{}")
	default:
		http.NotFound(w, r)
	}
}

func (m *memory) manifest(w http.ResponseWriter, r *http.Request, path string) {
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the client has disconnected
		}
		m.put(path, body)
		w.Header().Set("Docker-Content-Digest", digestOf(body))
		w.Header().Set("Location", path)
		w.WriteHeader(http.StatusCreated)
		return
	}
	m.mu.RLock()
	body, ok := m.manifests[path]
	m.mu.RUnlock()
	if !ok {
		http.Error(w, `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", manifestType)
	w.Header().Set("Docker-Content-Digest", digestOf(body))
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// put stores a manifest under its reference only: no test reads it by digest.
func (m *memory) put(path string, body []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.manifests[path] = body
}

func (m *memory) blob(w http.ResponseWriter) {
	w.Header().Set("Content-Length", strconv.FormatInt(m.blobSize, 10))
	w.Header().Set("Content-Type", "application/octet-stream")
	zeros := make([]byte, 64<<10)
	for left := m.blobSize; left > 0; left -= int64(len(zeros)) {
		if _, err := w.Write(zeros[:min(left, int64(len(zeros)))]); err != nil {
			return
		}
	}
}

func digestOf(body []byte) string {
	sum := sha256.Sum256(body)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// newManifest returns a small image manifest that is different each time.
func newManifest(n int64) []byte {
	const empty = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a" // of {}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":%q,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":2},`+
		`"layers":[{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":%q,"size":1048576}],"annotations":{"n":"%d %d"}}`,
		manifestType, empty, digestOf(strconv.AppendInt(nil, n, 10)), n, time.Now().UnixNano())
}
