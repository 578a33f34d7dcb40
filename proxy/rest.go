package proxy

import (
	"errors"
	"io"
	"net/http"
	"syscall"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// keepBack takes a long body of known length away from the reverse proxy, which would hold a buffer for as long as the body takes, and half a stack.
func (x *exchange) keepBack(res *http.Response) {
	d, ok := res.Body.(*download)
	if ok && res.ContentLength >= spliceFrom && x.in.ContentLength == 0 && len(res.Trailer) == 0 {
		x.rest, res.Body = d, http.NoBody
	}
}

// passRest passes on what was kept back. Where the upstream breaks off, so does the answer.
func (x *exchange) passRest() {
	if x.rest == nil {
		return
	}
	defer x.rest.Close()
	longCopies.Add(1)
	defer longCopies.Add(-1)
	client := syscall.RawConn(nil)
	if x.in.ProtoMajor == 1 {
		client = x.clientRaw()
	}
	for {
		err := x.passRecord(client)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}

// passRecord passes on what one Read gets: with TLS, a record or what rests of one. io.EOF is the end. client is the socket of a client that has it
// for itself; nil: it shares one, or its socket is not known.
func (x *exchange) passRecord(client syscall.RawConn) error {
	if client != nil && longCopies.Load() > longMany {
		if err := x.awaitRoom(client); err != nil {
			return err
		}
	}
	buf := lendForRecord(client != nil)
	defer buf.Return()
	n, err := x.rest.Read(buf.Bytes)
	if n == 0 {
		return err
	}
	if _, err := x.answer.Write(buf.Bytes[:n]); err != nil {
		return err
	}
	if n < unbuffered && err == nil {
		_ = http.NewResponseController(x.answer.ResponseWriter).Flush() // a failure shows with the next Write
	}
	return err
}

// lendForRecord lends a buffer that a record fits into; where many transfers are under way, a smaller one.
func lendForRecord(alone bool) *buffers.Buffer {
	switch {
	case longCopies.Load() <= someMany:
		return buffers.Record.Borrow()
	case alone:
		return buffers.Some.Borrow()
	}
	return buffers.Crowd.Borrow()
}
