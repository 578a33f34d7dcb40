package dataplane

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// haproxy starts one with a backend of the given lines, and returns its address. more are lines of
// its frontend.
func haproxy(t *testing.T, backend string, more ...string) (address string) {
	t.Helper()
	address = fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	config := "defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\nfrontend in\n  bind " + address + bindOf(more) + "\n"
	for _, line := range more[min(1, len(more)):] {
		config += "  " + line + "\n"
	}
	config += "  default_backend out\nbackend out\n" + backend
	run(t, address, "haproxy", "-db", "-f", file(t, "haproxy.cfg", config))
	return address
}

// bindOf is what follows the address of bind: the first of the frontend's lines.
func bindOf(more []string) string {
	if len(more) == 0 {
		return ""
	}
	return " " + more[0]
}

// run starts a part and waits until it accepts connections.
func run(t *testing.T, address, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(harness.Part(t, name), args...)
	out := &locked{}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("---- what %s printed:\n%s", name, out)
		}
	})
	if !harness.Eventually(soon, func() bool {
		c, err := net.Dial("tcp", address)
		if err == nil {
			c.Close()
		}
		return err == nil
	}) {
		t.Fatalf("%s does not listen on %s: %s", name, address, out)
	}
}

// locked is a buffer for a process's output.
type locked struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// file is a new file.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
