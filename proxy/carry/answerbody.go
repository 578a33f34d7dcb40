package carry

import (
	"errors"
	"io"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// answerBody is the body of an answer on its way to the client.
type answerBody struct {
	x      *Exchange
	body   io.ReadCloser
	conn   *fastConn // the connection of a long body on the fast path; nil: Read reads the body
	left   int64     // bytes to come; negative: unknown
	watch  *stallWatch
	reader Reader // nil: none
}

// Read returns the next piece. The Reader is given all of the body before the last piece goes out,
// because the next request of the client (for a blob of this manifest) may be handled before this
// handler runs again.
func (b *answerBody) Read(p []byte) (int, error) {
	n, err := b.body.Read(p)
	return n, b.passed(p[:n], err)
}

// passed counts a piece that was read, hands it to the Reader, and ends the body if err says so.
func (b *answerBody) passed(piece []byte, err error) error {
	b.watch.moved()
	if b.reader != nil {
		b.reader.Piece(piece)
	}
	if b.left > 0 {
		b.left -= int64(len(piece))
	}
	if errors.Is(err, io.EOF) {
		b.x.Answer.clean = true
	}
	if b.reader != nil && (b.left == 0 || errors.Is(err, io.EOF)) {
		b.reader.End()
	}
	return b.watch.cause(err)
}

// Close closes the body and ends the stall watch.
func (b *answerBody) Close() error {
	b.watch.stop()
	return b.body.Close()
}

// next returns the next piece, in a buffer that the caller must return if it is not nil. io.EOF
// comes with the last piece. alone says whether the connection of the client carries nothing else.
func (b *answerBody) next(alone bool) (*buffers.Buffer, int, error) {
	if b.conn == nil {
		buf := borrowForRecord(alone)
		n, err := b.Read(buf.Bytes)
		return buf, n, err
	}
	if int64(b.conn.buffered()) < b.left {
		b.conn.allow(b.x.Stalled, time.Now())
	}
	borrow := borrowForStream
	if alone {
		borrow = borrowForConn
	}
	buf, n, err := b.conn.next(b.left, borrow)
	if buf == nil {
		return nil, 0, err
	}
	if errors.Is(err, io.EOF) {
		err = errCutShort
	}
	if err = b.passed(buf.Bytes[:n], err); err == nil && b.left == 0 {
		err = io.EOF
	}
	return buf, n, err
}

// waits reports whether more of the body is here already.
func (b *answerBody) waits() bool { return b.conn != nil && b.conn.buffered() > 0 }
