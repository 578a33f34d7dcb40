package carry

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// requestBody is a request's body on its way to the upstream. Its client must keep sending, the
// upstream must keep taking.
type requestBody struct {
	io.ReadCloser
	x       *Exchange
	control *http.ResponseController
	allowed allowance // for the client to send the next bytes
	watch   *stallWatch
	ends    bool // the watch ends with Close, when all is with the upstream; else with the last byte

	mu   sync.Mutex
	over bool // the handler is: its connection has other things to do, and an HTTP/2 stream is no more
}

// Upload is the request's body, watched. It is made once.
func (x *Exchange) Upload() io.ReadCloser {
	if x.In.ContentLength == 0 {
		return http.NoBody
	}
	x.Answer.allow(time.Now()) // for the 100 Continue that the first Read sends
	x.up = x.watch()
	u := &requestBody{
		ReadCloser: x.In.Body, x: x, allowed: allowance{limit: x.Stalled},
		control: http.NewResponseController(x.Answer.ResponseWriter), watch: x.up,
	}
	// An upstream may answer before it has read all: that answer must not wait for the rest.
	_ = u.control.EnableFullDuplex()
	x.upload = u
	return u
}

// outgoing is what the upstream gets as the request's body.
func (x *Exchange) outgoing() io.ReadCloser {
	if x.Body == nil {
		return x.Upload()
	}
	return x.Body
}

// leave keeps the body from touching the connection from now on: a carrier may go on reading
// after an early answer. A nil requestBody has none.
func (u *requestBody) leave() {
	if u != nil {
		u.mu.Lock()
		u.over = true
		u.mu.Unlock()
	}
}

// within gives the client time until t for what it sends; zero is all the time.
func (u *requestBody) within(t time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.over {
		_ = u.control.SetReadDeadline(t)
	}
}

// Read reads what the client sends. Its errors other than io.EOF are ClientErrors.
func (u *requestBody) Read(p []byte) (int, error) {
	u.allow()
	u.watch.pause(true)
	n, err := u.ReadCloser.Read(p)
	u.watch.pause(false)
	u.watch.moved()
	u.x.received.Add(int64(n))
	if err == nil {
		return n, nil
	}
	if err != io.EOF || !u.ends {
		u.watch.stop()
	}
	if u.allowed.limit > 0 {
		u.within(time.Time{}) // while the upstream works, the client has nothing more to send
	}
	if err != io.EOF {
		u.x.cutOff.Store(&ClientError{err})
		return n, ClientError{err}
	}
	u.x.arrived.Store(true)
	return n, io.EOF
}

// Close ends the watch; the body itself is the server's to close.
func (u *requestBody) Close() error {
	u.watch.stop()
	return nil
}

func (u *requestBody) allow() {
	if u.allowed.limit <= 0 {
		return
	}
	if deadline, due := u.allowed.due(time.Now()); due {
		u.within(deadline)
	}
}
