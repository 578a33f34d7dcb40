// Package carry moves the bytes of one request to its upstream, and those of the answer back to its
// client. It does not depend on routes, operators or events.
//
//	Exchange    a request and its answer: what goes upstream, and what observes it
//	Carriers    the carriers of one upstream; For chooses one for each request
//	  Fast      the fast path, for HTTP/1.1 to a plaintext upstream: requests without a body
//	            (fast.go), blobs and manifests on their way up (fastupload.go)
//	  Reverse   httputil.ReverseProxy, for everything else (reverse.go)
//	Observer    learns of the answer before the client gets it, or of the failure
//
// Both carriers share the rest: the body of the request (requestbody.go), that of the answer
// (answerbody.go), the loop that copies long bodies (longbody.go), the writer to the client
// (responsewriter.go), the headers that are replaced (header.go), the watch that ends transfers in
// which no byte moves (stall.go), and deadlines that move with the bytes (allowance.go).
package carry

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// Carrier moves one request and its answer. It returns when the answer has gone to the client, and
// panics with http.ErrAbortHandler if an answer that has begun must be cut.
type Carrier interface {
	Carry(*Exchange)
}

// Observer is notified of the steps of an exchange, in the handler's goroutine.
type Observer interface {
	// Answered is called with the answer of the upstream before the client gets its header,
	// which Answered may change. It returns a Reader for the body, or nil if nothing needs to
	// read it: then the kernel may move the body.
	Answered(*http.Response) Reader
	// Failed is called with the reason if there is no answer. It answers the client.
	Failed(error)
}

// Reader is given the body of an answer on its way.
type Reader interface {
	// Piece is called with each piece, in order.
	Piece([]byte)
	// End is called when all of the body has arrived, before its last piece goes to the client.
	End()
}

// Exchange is one request on its way to the upstream, and its answer on the way back. The handler's
// goroutine owns it, except for the fields that are atomic.
type Exchange struct {
	In       *http.Request  // the client's
	Answer   ResponseWriter // to the client
	Target   string         // raw path and query that the upstream gets
	Header   Header         // how the upstream's header differs from the client's
	Stalled  time.Duration  // a body that moves no byte for this long is cut; 0: none is
	Observer Observer

	Bulk   bool // the fast path may carry the body: that of a blob or a manifest
	Whole  bool // the body goes upstream in one piece, if it fits into a buffer
	Hashes bool // the upstream may work for long before it answers: there is no timeout

	// Body is sent upstream instead of Upload, which it reads. Nil: Upload is sent.
	Body io.ReadCloser

	ctx      context.Context
	cancel   context.CancelCauseFunc // of ctx; nil: only the client can end the request
	upload   *requestBody            // nil: Upload was not called
	received atomic.Int64            // bytes of the request's body
	arrived  atomic.Bool             // all of it
	cutOff   atomic.Pointer[ClientError]
	up, down *stallWatch // of the bodies
	rest     *answerBody // a long body that httputil.ReverseProxy does not copy; nil: none
}

// Detach makes the request independent of the client from now on. cancel ends it.
func (x *Exchange) Detach() (cancel context.CancelCauseFunc) {
	x.ctx, x.cancel = context.WithCancelCause(context.WithoutCancel(x.In.Context()))
	return x.cancel
}

// Context returns the context of the request to the upstream.
func (x *Exchange) Context() context.Context {
	if x.ctx == nil {
		return x.In.Context()
	}
	return x.ctx
}

// Received returns how many bytes of the body of the request have arrived.
func (x *Exchange) Received() int64 { return x.received.Load() }

// Fail reports to the Observer why there is no answer.
func (x *Exchange) Fail(err error) {
	if cause := context.Cause(x.Context()); cause != nil {
		err = cause
	}
	if c := x.cutOff.Load(); c != nil {
		err = *c // the cause: net/http cancels the request because the client failed
	}
	x.Observer.Failed(err)
}

// Early reports whether an answer now would come before all of the body of the request. Such an
// answer ends its connection, so that the rest of the body is not read as the next request. (HTTP/2
// ends the stream instead.)
func (x *Exchange) Early() bool {
	length := x.In.ContentLength
	return x.upload != nil && x.In.ProtoMajor == 1 && !x.arrived.Load() && (length < 0 || x.received.Load() < length)
}

// Finish stops the stall watches. The handler calls it at its end.
func (x *Exchange) Finish() {
	x.upload.leave()
	x.up.stop()
	x.down.stop()
}

// answered reports an answer to the Observer, and wraps its body in an answerBody.
func (x *Exchange) answered(res *http.Response) error {
	if res.StatusCode < 200 {
		return errStatus // 101, which was not requested, or an invalid status
	}
	reader := x.Observer.Answered(res)
	x.up.stop()
	if x.Early() {
		res.Header.Set("Connection", "close")
	}
	if !hasBody(x.In, res) {
		x.Answer.clean = true
		return nil
	}
	x.down = x.watch()
	res.Body = &answerBody{x: x, body: res.Body, left: res.ContentLength, watch: x.down, reader: reader}
	return nil
}

func hasBody(r *http.Request, res *http.Response) bool {
	return r.Method != http.MethodHead && res.Body != nil && res.Body != http.NoBody
}

// Options say where an upstream is, and how long it may take. A limit of zero is none.
type Options struct {
	URL            *url.URL
	TLS            *tls.Config   // of an https upstream; nil: the system's roots
	Connect        time.Duration // until there is a connection
	ResponseHeader time.Duration // until the header of an answer
}

// Carriers are the carriers of one upstream.
type Carriers struct {
	Fast    *Fast // nil: there is no fast path
	Reverse *Reverse
}

// New returns the carriers of an upstream.
func New(o Options) *Carriers {
	return &Carriers{Fast: newFast(o), Reverse: newReverse(o)}
}

// For chooses the carrier of a request.
func (c *Carriers) For(x *Exchange) Carrier {
	if c.Fast.takes(x) {
		return c.Fast
	}
	return c.Reverse
}

// Close closes idle connections; those in use are closed when their requests are done.
func (c *Carriers) Close() {
	c.Fast.close()
	c.Reverse.close()
}
