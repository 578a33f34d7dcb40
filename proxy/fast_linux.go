package proxy

import (
	"net"

	"golang.org/x/sys/unix"
)

// fastSupported: the fast path asks the kernel for things that are Linux's own.
const fastSupported = true

// silent tells whether nothing waits on an idle connection: neither its end nor bytes that nobody asked for, which would be taken for the next answer.
func (c *fastConn) silent() bool {
	quiet := false
	err := c.raw.Read(func(fd uintptr) bool {
		_, _, err := unix.Recvfrom(int(fd), c.peeked[:], unix.MSG_PEEK|unix.MSG_DONTWAIT)
		quiet = err == unix.EAGAIN
		return true
	})
	return err == nil && quiet
}

// bytesReceived is what has arrived on a connection in all.
func bytesReceived(c *net.TCPConn) uint64 {
	if info := tcpInfo(c); info != nil {
		return info.Bytes_received
	}
	return 0
}

// bytesAcknowledged is what the other side has of what was sent on a connection.
func bytesAcknowledged(c *net.TCPConn) uint64 {
	if info := tcpInfo(c); info != nil {
		return info.Bytes_acked
	}
	return 0
}

func tcpInfo(c *net.TCPConn) (info *unix.TCPInfo) {
	if c == nil {
		return nil
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return nil
	}
	_ = raw.Control(func(fd uintptr) { info, _ = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info
}
