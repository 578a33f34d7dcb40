package carry

import (
	"strconv"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// chunkHead is the length of the longest head of a chunk: the size of buffers.Upload in
// hexadecimal.
const chunkHead = len("40000\r\n")

// borrowPiece borrows a buffer for a body of the given length; negative: unknown.
func borrowPiece(length int64) *buffers.Buffer {
	if length <= 0 || length > int64(buffers.SomeSize-chunkHead-chunkTail) {
		if b := buffers.Upload.Borrow(); b != nil {
			return b
		}
	}
	return buffers.Some.Borrow()
}

// appendUpload appends the head of a request with a body. Its framing is made here, and never taken
// from the client.
func (p *pump) appendUpload(b []byte) []byte {
	b = p.x.appendHead(b)
	if p.x.In.ContentLength < 0 {
		b = append(b, "Transfer-Encoding: chunked\r\n"...)
	} else {
		b = append(b, "Content-Length: "...)
		b = strconv.AppendInt(b, p.x.In.ContentLength, 10)
		b = append(b, "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// piece is a part of a body that is sent in one write, as a chunk or as it is.
type piece struct {
	buf     []byte
	n       int // bytes of the body, behind chunkHead
	chunked bool
}

const chunkTail = len("\r\n0\r\n\r\n")

// room returns the part of the buffer for the next Read. A Read of a body in chunks returns when
// its chunk has arrived, or when the room is full.
func (p *piece) room() []byte {
	room := p.buf[chunkHead+p.n : len(p.buf)-chunkTail]
	if p.chunked {
		return room[:min(len(room), buffers.CopySize)]
	}
	return room
}

func (p *piece) roomy() bool { return len(p.room()) >= enough }

// take returns the piece ready to be sent, and begins the next. The end of a body in chunks is part
// of its last piece.
func (p *piece) take(last bool) []byte {
	from, to := chunkHead, chunkHead+p.n
	if p.chunked && p.n > 0 {
		var head [chunkHead]byte
		h := append(strconv.AppendInt(head[:0], int64(p.n), 16), "\r\n"...)
		from -= copy(p.buf[from-len(h):], h)
		to += copy(p.buf[to:], "\r\n")
	}
	if p.chunked && last {
		to += copy(p.buf[to:], "0\r\n\r\n")
	}
	p.n = 0
	return p.buf[from:to]
}
