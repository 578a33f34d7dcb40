// Package large tests bellbuoy, as a process, with large bodies and many requests: a blob of 10 GiB
// in constant memory, a thousand pulls at once, 64 pushes at once, the largest manifest, an index
// of 500 children. -short keeps the first two, smaller.
package large

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// tlsConfig returns the tls block of a configuration with a new certificate.
func tlsConfig(t *testing.T) string {
	t.Helper()
	server := authority.New(t).Issue("server")
	return fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", server.Cert, server.Key)
}

// newClient returns a client with connections of its own, which speaks one protocol.
func newClient(t *testing.T, http2 bool) *http.Client {
	t.Helper()
	transport := &http.Transport{DisableCompression: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 64}
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetHTTP1(!http2)
	transport.Protocols.SetHTTP2(http2)
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// peak samples the resident memory of a process. The function that it returns stops that, and
// returns the highest value.
func peak(t *testing.T, pid int) (most func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan int64, 1)
	go func() {
		var most int64
		for ctx.Err() == nil {
			most = max(most, resident(pid))
			select {
			case <-ctx.Done():
			case <-time.After(20 * time.Millisecond):
			}
		}
		seen <- most
	}()
	return func() int64 {
		cancel()
		return max(<-seen, resident(pid))
	}
}

// resident returns 0 if the process has ended, which other checks notice.
func resident(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	var size, pages int64
	fmt.Sscan(string(data), &size, &pages)
	return pages * int64(os.Getpagesize())
}

// atMost fails the test if more memory was used than allowed. It allows for the memory of the race
// detector.
func atMost(t *testing.T, held, allowed int64) {
	t.Helper()
	if harness.Race() {
		allowed *= 12
	}
	t.Logf("%d MiB held at most, %d MiB allowed", held>>20, allowed>>20)
	if held > allowed {
		t.Errorf("it held %d MiB, %d MiB are allowed", held>>20, allowed>>20)
	}
}

func bellbuoy(t *testing.T, upstream, hook, more string) *harness.Buoy {
	t.Helper()
	settings := ""
	if strings.HasPrefix(upstream, "https://") {
		settings = ", tls: {insecure_skip_verify: true}"
	}
	return harness.Bellbuoy(t, fmt.Sprintf("log: {level: info}\nupstreams: [{type: registry, url: %q%s}]\n"+
		"webhooks: [{name: all, url: %q, events: [\"*\"], format: bellbuoy, concurrency: 32}]\n%s", upstream, settings, hook, more))
}
