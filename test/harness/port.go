package harness

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

// The ports are below the kernel's ephemeral range, so that no outgoing connection takes one
// between FreePort and its use.
const firstPort, lastPort = 18000, 31000

// FreePort reserves a port of 127.0.0.1 until the test ends, also against other test processes of
// this machine: each process holds a lock on a file named after the port.
func FreePort(t T) int {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "bellbuoy-test-ports")
	if err := os.MkdirAll(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatalf("reserving a port: %v", err)
	}
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort)
		release, err := reserve(filepath.Join(dir, strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if free(port) {
			t.Cleanup(release)
			return port
		}
		release()
	}
	t.Fatalf("no free port between %d and %d", firstPort, lastPort)
	return 0
}

// reserve takes the lock of a file. The file stays: if it were removed, two processes could lock
// two files of one name.
func reserve(path string) (release func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil
}

// free asks the kernel whether a port is in use. It does not listen to find out: a child process
// that is being forked would hold the socket for a moment longer.
func free(port int) bool {
	c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
