package carry

import (
	"io"
	"net/http"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// splice sends a body of known length to the client without reading it. The bytes in the buffer go
// first. The kernel moves the rest from connection to connection.
func (x *Exchange) splice(to io.ReaderFrom, c *fastConn, length int64) error {
	left := length
	if n := min(int64(c.br.Buffered()), left); n > 0 {
		b, _ := c.br.Peek(int(n))
		if _, err := x.Answer.Write(b); err != nil {
			return err
		}
		_, _ = c.br.Discard(int(n))
		left -= n
	}
	if left == 0 {
		return nil
	}
	c.allow(0, time.Now())
	control := http.NewResponseController(x.Answer.ResponseWriter)
	_ = control.SetWriteDeadline(time.Time{})
	watch := x.watchSplice(spliced{from: c.Conn, to: listen.TCP(x.In.Context()), control: control})
	n, err := to.ReadFrom(&io.LimitedReader{R: c.Conn, N: left})
	if watch.stop() && err == nil {
		err = ErrStalled // both connections have a deadline in the past, and are of no more use
	}
	x.Answer.sent += n
	c.received += n
	switch {
	case err != nil:
		x.Answer.broken = true
		return err
	case n < left:
		return errCutShort
	}
	x.Answer.allow(time.Now())
	return nil
}
