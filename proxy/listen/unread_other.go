//go:build !linux

package listen

import "syscall"

// unread returns how many bytes have arrived on a connection and were not read yet: elsewhere than
// on Linux it is not known.
func unread(syscall.RawConn) int { return 0 }
