package proxy

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
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
func (x *exchange) passPiece(c *fastConn, d *download, lend func() *[]byte) (n int, err error) {
	buf, n, err := c.next(d.left, lend)
	if buf == nil {
		return 0, err
	}
	defer lendLongBack(buf)
	if errors.Is(err, io.EOF) {
		err = errCutShort
	}
	err = d.passed((*buf)[:n], err)
	if n > 0 {
		if _, err := x.answer.Write((*buf)[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// clientRaw is the socket of a client that has it for itself.
func (x *exchange) clientRaw() syscall.RawConn {
	c := clientConn(x.in)
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

// A long body's buffers are large, for fewer calls of the kernel, fewer waits and fewer turns of HTTP/2's scheduler. Those of a crowd are not.
const (
	bulkCopy = 512 << 10
	bulkMany = 8 // so many may be that large at a time, while few transfers are under way
	longCopy = 64 << 10
	longMany = 32 // so many may be large at a time
	someCopy = 8 << 10
	someMany = 128 // transfers; beyond, HTTP/2 streams get less still: it cannot be told whether their client takes more, and each connection keeps what its longest frame took
	// crowdCopy is what net/http buffers for an HTTP/2 stream anyway: with that flushed on its own, nothing is lent while it waits.
	crowdCopy = 4 << 10
)

var (
	bulkBuffers  = lender{size: bulkCopy, most: bulkMany}
	longBuffers  = lender{size: longCopy, most: longMany}
	someBuffers  = sync.Pool{New: func() any { b := make([]byte, someCopy); return &b }}
	crowdBuffers = sync.Pool{New: func() any { b := make([]byte, crowdCopy); return &b }}
	longCopies   atomic.Int32 // under way
)

// lendToConn lends a buffer for a piece that goes to a connection. Few are lent at a time, however many connections there are.
func lendToConn() *[]byte {
	many := longCopies.Load()
	if many <= longMany {
		if b := bulkBuffers.borrow(); b != nil {
			return b
		}
	}
	if many <= someMany {
		if b := longBuffers.borrow(); b != nil {
			return b
		}
	}
	return someBuffers.Get().(*[]byte)
}

// lendToStream lends a buffer for a piece that goes to an HTTP/2 stream.
func lendToStream() *[]byte {
	switch many := longCopies.Load(); {
	case many <= longMany:
		return lendToConn()
	case many <= someMany:
		return someBuffers.Get().(*[]byte)
	}
	return crowdBuffers.Get().(*[]byte)
}

func lendLongBack(b *[]byte) {
	switch len(*b) {
	case bulkCopy:
		bulkBuffers.giveBack(b)
	case longCopy:
		longBuffers.giveBack(b)
	case someCopy:
		someBuffers.Put(b)
	default:
		crowdBuffers.Put(b)
	}
}
