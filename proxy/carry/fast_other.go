//go:build !linux

package carry

import (
	"errors"
	"net"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// fastSupported says that there is no fast path here: httputil.ReverseProxy carries everything.
const fastSupported = false

type glance struct{}

func (c *fastConn) silent() bool { return false }

func (c *fastConn) next(int64, func() *buffers.Buffer) (*buffers.Buffer, int, error) {
	return nil, 0, errors.ErrUnsupported
}

func hasRoom(uintptr) bool { return true }

func (c *fastConn) writeAll([]byte, func()) error { return errors.ErrUnsupported }

func bytesReceived(*net.TCPConn) uint64 { return 0 }

func bytesAcknowledged(*net.TCPConn) uint64 { return 0 }
