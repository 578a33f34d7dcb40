package carry

import (
	"io"
	"net/http"
	"sync"
	"time"
)

// requestBody is the body of a request on its way to the upstream. The client must keep sending,
// and the upstream must keep reading.
type requestBody struct {
	io.ReadCloser
	x       *Exchange
	control *http.ResponseController
	allowed allowance // for the client to send the next bytes
	watch   *stallWatch
	ends    bool // the stall watch ends with Close, when all was sent; else with the last byte

	mu   sync.Mutex
	over bool // the handler has returned: the connection is no longer its own
}

// Upload returns the body of the request, with a stall watch. It is made once.
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
	// The upstream may answer before it has read all. Its answer must not wait for the rest.
	_ = u.control.EnableFullDuplex()
	x.upload = u
	return u
}

// outgoing returns the body that is sent upstream.
func (x *Exchange) outgoing() io.ReadCloser {
	if x.Body == nil {
		return x.Upload()
	}
	return x.Body
}

// leave makes the body set no more deadlines of the connection: a carrier may go on reading after
// the handler has returned. It may be called on nil.
func (u *requestBody) leave() {
	if u != nil {
		u.mu.Lock()
		u.over = true
		u.mu.Unlock()
	}
}

// within sets the deadline for what the client sends. Zero is none.
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

// Close ends the stall watch. The server closes the body itself.
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
