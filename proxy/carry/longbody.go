package carry

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"syscall"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// longFrom is the length from which a body is long: below, moving it by the kernel costs more
// to set up than it saves.
const longFrom = 64 << 10

// unbuffered is the length from which net/http keeps nothing of a Write back.
const unbuffered = buffers.RecordSize

// longCopies is how many long bodies are being copied.
var longCopies atomic.Int32

// copyLong passes on a long body of known length. A buffer is borrowed only while there are
// bytes to pass on: most clients of a busy registry wait, or are waited for.
func (x *Exchange) copyLong(body *answerBody) error {
	longCopies.Add(1)
	defer longCopies.Add(-1)
	alone, client := x.In.ProtoMajor == 1, syscall.RawConn(nil)
	if alone {
		client = x.clientSocket()
	}
	for {
		if client != nil && longCopies.Load() > longMany {
			if err := x.awaitRoom(client); err != nil {
				return err
			}
		}
		n, err := x.passPiece(body, alone)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if n < unbuffered && !body.waits() {
			x.Answer.flush()
		}
	}
}

// passPiece passes on what is there. io.EOF is the end of the body.
func (x *Exchange) passPiece(body *answerBody, alone bool) (n int, err error) {
	buf, n, err := body.next(alone)
	if buf == nil {
		return 0, err
	}
	defer buf.Return()
	if n > 0 {
		if _, err := x.Answer.Write(buf.Bytes[:n]); err != nil {
			return n, err
		}
	}
	return n, err
}

// clientSocket is the socket of a client; nil where it is not known.
func (x *Exchange) clientSocket() syscall.RawConn {
	c := listen.TCP(x.In.Context())
	if c == nil {
		return nil
	}
	raw, _ := c.SyscallConn() // fails for no connection at all
	return raw
}

// awaitRoom waits until a client takes more: a Write that waits for it holds a buffer, and TLS
// holds another.
func (x *Exchange) awaitRoom(client syscall.RawConn) error {
	x.Answer.allowMore()
	err := client.Write(hasRoom)
	x.Answer.broken = err != nil
	return err
}

// Numbers of long bodies under way beyond which each gets a smaller buffer.
const (
	longMany = 32
	// someMany is that beyond which HTTP/2 streams get the smallest: it cannot be told whether
	// their client takes more, and each connection keeps what its longest frame took.
	someMany = 128
)

// borrowForConn borrows a buffer for a piece that goes to a client with a connection for
// itself. Few are lent at a time, however many connections there are.
func borrowForConn() *buffers.Buffer {
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

// borrowForStream borrows a buffer for a piece that goes to an HTTP/2 stream.
func borrowForStream() *buffers.Buffer {
	switch many := longCopies.Load(); {
	case many <= longMany:
		return borrowForConn()
	case many <= someMany:
		return buffers.Some.Borrow()
	}
	return buffers.Crowd.Borrow()
}

// borrowForRecord borrows a buffer that a TLS record fits into; in a crowd, a smaller one.
func borrowForRecord(alone bool) *buffers.Buffer {
	switch {
	case longCopies.Load() <= someMany:
		return buffers.Record.Borrow()
	case alone:
		return buffers.Some.Borrow()
	}
	return buffers.Crowd.Borrow()
}

// cut ends an answer that has begun where the upstream broke off.
func cut(err error) {
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}
