package dataplane

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// haproxy starts HAProxy with a backend of the given lines, and returns its address. more are lines
// of its frontend.
func haproxy(t *testing.T, backend string, more ...string) (address string) {
	t.Helper()
	address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	config := "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nfrontend in\n  bind " + address + bindOf(more) + "\n"
	for _, line := range more[min(1, len(more)):] {
		config += "  " + line + "\n"
	}
	config += "  default_backend out\nbackend out\n" + backend
	harness.Serve(t, address, "haproxy", "-db", "-f", file(t, "haproxy.cfg", config))
	return address
}

// bindOf returns the options of bind, which follow the address: the first line of the frontend.
func bindOf(more []string) string {
	if len(more) == 0 {
		return ""
	}
	return " " + more[0]
}

// file makes a file and returns its path.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
