package listen

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// unread returns how many bytes have arrived on a connection and were not read yet.
func unread(c syscall.RawConn) (n int) {
	_ = c.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.TIOCINQ) })
	return n
}
