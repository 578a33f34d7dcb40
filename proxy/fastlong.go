package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// copyLong passes on a long body of known length: what is buffered, and then what the connection has, without the buffer in between. Memory is
// borrowed only while there are bytes to pass on: most clients of a busy registry wait, or are waited for.
func (x *exchange) copyLong(c *fastConn, d *download) error {
	longCopies.Add(1)
	defer longCopies.Add(-1)
	lend, client := lendToStream, syscall.RawConn(nil)
	if x.in.ProtoMajor == 1 {
		lend, client = lendToConn, x.clientRaw()
	}
	for d.left > 0 {
		if client != nil && longCopies.Load() > longMany {
			if err := x.awaitRoom(client); err != nil {
				return err
			}
		}
		if int64(c.buffered()) < d.left {
			c.allow(x.g.Limits.StalledBody, time.Now())
		}
		n, err := x.passPiece(c, d, lend)
		if err != nil {
			return err
		}
		if n < unbuffered && d.left > 0 && c.buffered() == 0 {
			_ = http.NewResponseController(x.answer.ResponseWriter).Flush() // a failure shows with the next Write
		}
	}
	return nil
}

// passPiece passes on what is there.
func (x *exchange) passPiece(c *fastConn, d *download, lend func() *buffers.Buffer) (n int, err error) {
	buf, n, err := c.next(d.left, lend)
	if buf == nil {
		return 0, err
	}
	defer buf.Return()
	if errors.Is(err, io.EOF) {
		err = errCutShort
	}
	err = d.passed(buf.Bytes[:n], err)
	if n > 0 {
		if _, err := x.answer.Write(buf.Bytes[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// clientRaw is the socket of a client that has it for itself.
func (x *exchange) clientRaw() syscall.RawConn {
	c := listen.TCP(x.in.Context())
	if c == nil {
		return nil
	}
	raw, _ := c.SyscallConn() // fails for no connection at all
	return raw
}

// awaitRoom waits until a client takes more: a Write that waits for it holds a buffer, and TLS another.
func (x *exchange) awaitRoom(client syscall.RawConn) error {
	x.answer.allowMore()
	err := client.Write(hasRoom)
	x.answer.broken = err != nil
	return err
}

// Buffers of a crowd are small.
const (
	longMany = 32 // transfers: so many may have large buffers
	// someMany is the number of transfers beyond which HTTP/2 streams get less still: it cannot be
	// told whether their client takes more, and each connection keeps what its longest frame took.
	someMany = 128
)

var longCopies atomic.Int32 // transfers of long bodies under way

// lendToConn lends a buffer for a piece that goes to a connection. Few are lent at a time, however many connections there are.
func lendToConn() *buffers.Buffer {
	many := longCopies.Load()
	if many <= longMany {
		if b := buffers.Bulk.Borrow(); b != nil {
			return b
		}
	}
	if many <= someMany {
		if b := buffers.Long.Borrow(); b != nil {
			return b
		}
	}
	return buffers.Some.Borrow()
}

// lendToStream lends a buffer for a piece that goes to an HTTP/2 stream.
func lendToStream() *buffers.Buffer {
	switch many := longCopies.Load(); {
	case many <= longMany:
		return lendToConn()
	case many <= someMany:
		return buffers.Some.Borrow()
	}
	return buffers.Crowd.Borrow()
}
