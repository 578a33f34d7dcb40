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

// longFrom is the length from which a body is long. For a shorter one, splicing costs more to set
// up than it saves.
const longFrom = 64 << 10

// unbuffered is the length from which net/http does not buffer a Write.
const unbuffered = buffers.RecordSize

// longCopies is how many long bodies are being copied.
var longCopies atomic.Int32

// copyLong sends a long body of known length to the client. It holds a buffer only while there are
// bytes to send, because most transfers of a busy registry wait for the client or the upstream.
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

// passPiece sends what has arrived. It returns io.EOF at the end of the body.
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

// clientSocket returns the socket of a client, or nil if it is not known.
func (x *Exchange) clientSocket() syscall.RawConn {
	c := listen.TCP(x.In.Context())
	if c == nil {
		return nil
	}
	raw, _ := c.SyscallConn() // fails for no connection at all
	return raw
}

// awaitRoom waits until the socket of a client takes more, because a Write that waits holds a
// buffer, and TLS another.
func (x *Exchange) awaitRoom(client syscall.RawConn) error {
	x.Answer.allowMore()
	err := client.Write(hasRoom)
	x.Answer.broken = err != nil
	return err
}

// The numbers of long bodies under way beyond which each gets a smaller buffer.
const (
	longMany = 32
	// someMany is the number beyond which HTTP/2 streams get the smallest: awaitRoom does not
	// work for them, and each connection keeps a buffer of the size of its longest frame.
	someMany = 128
)

// borrowForConn borrows a buffer for a piece that goes to a client with a connection of its own.
// Few of the large ones are lent at a time, however many connections there are.
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

// borrowForRecord borrows a buffer for a TLS record, or a smaller one while many bodies are under
// way.
func borrowForRecord(alone bool) *buffers.Buffer {
	switch {
	case longCopies.Load() <= someMany:
		return buffers.Record.Borrow()
	case alone:
		return buffers.Some.Borrow()
	}
	return buffers.Crowd.Borrow()
}

// cut ends an answer that has begun because the upstream broke off.
func cut(err error) {
	if err != nil {
		panic(http.ErrAbortHandler)
	}
}
