package carry

import (
	"io"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// fastSupported says that there is a fast path. It uses system calls of Linux.
const fastSupported = true

// silent reports whether nothing has arrived on an idle connection: neither its end, nor bytes that
// would be taken for the next answer.
func (c *fastConn) silent() bool {
	g := &c.glance
	if g.look == nil {
		g.look = g.poll
	}
	return c.raw.Control(g.look) == nil && g.quiet
}

// glance checks a connection for bytes without reading them, and without allocating.
type glance struct {
	look  func(fd uintptr)
	fds   [1]unix.PollFd
	quiet bool
}

func (g *glance) poll(fd uintptr) {
	g.fds[0] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN | unix.POLLRDHUP}
	n, err := unix.Poll(g.fds[:], 0)
	g.quiet = err == nil && n == 0
}

// next returns the next piece of a body, no longer than limit, in a buffer that the caller must
// return. It borrows the buffer only when bytes have arrived.
func (c *fastConn) next(limit int64, borrow func() *buffers.Buffer) (*buffers.Buffer, int, error) {
	if c.buffered() > 0 {
		buf := borrow()
		n, err := c.br.Read(buf.Bytes[:min(limit, int64(len(buf.Bytes)))])
		return buf, n, err
	}
	c.lendBack()
	c.limit, c.borrow = limit, borrow
	if c.tryNow == nil {
		c.tryNow = c.try
	}
	err := c.raw.Read(c.tryNow)
	buf, n := c.got, c.gotN
	c.got = nil
	if err == nil {
		err = c.gotErr
	}
	c.received += int64(n)
	return buf, n, err
}

// try reads without waiting. It reports false if nothing has arrived.
func (c *fastConn) try(fd uintptr) bool {
	c.got = c.borrow()
	for {
		n, err := unix.Read(int(fd), c.got.Bytes[:min(c.limit, int64(len(c.got.Bytes)))])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN:
			c.got.Return()
			c.got, c.gotN = nil, 0
			return false
		case err != nil:
			c.gotN, c.gotErr = 0, os.NewSyscallError("read", err)
		case n == 0:
			c.gotN, c.gotErr = 0, io.EOF
		default:
			c.gotN, c.gotErr = n, nil
		}
		return true
	}
}

// hasRoom reports whether a socket takes some bytes at once, or will never take any.
func hasRoom(fd uintptr) bool {
	ask := [1]unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(ask[:], 0)
	return n > 0 || err != nil && err != unix.EINTR
}

// bytesReceived returns how many bytes have arrived on a connection since it was made.
func bytesReceived(c *net.TCPConn) uint64 {
	if info := tcpInfo(c); info != nil {
		return info.Bytes_received
	}
	return 0
}

// bytesAcknowledged returns how many bytes the other side of a connection has acknowledged.
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

// writeAll writes b, and calls moved after each part of it: the stall watch must see that a long
// piece moves slowly.
func (c *fastConn) writeAll(b []byte, moved func()) (err error) {
	waited := c.raw.Write(func(fd uintptr) bool {
		for len(b) > 0 {
			var n int
			switch n, err = unix.Write(int(fd), b); err {
			case nil:
				b = b[n:]
				moved()
			case unix.EINTR: // again
			case unix.EAGAIN:
				return false
			default:
				return true
			}
		}
		return true
	})
	if waited != nil {
		return waited
	}
	return os.NewSyscallError("write", err)
}
