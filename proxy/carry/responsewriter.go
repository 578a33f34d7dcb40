package carry

import (
	"context"
	"net/http"
	"sync/atomic"
	"time"
)

// ResponseWriter writes to the client, counts what it writes, and gives up on a client that takes
// nothing for too long.
type ResponseWriter struct {
	http.ResponseWriter
	leaving *atomic.Bool            // the server stops soon: answers end their connections
	cancel  context.CancelCauseFunc // ends a request with too many answers of 1xx; nil: the carrier does

	informational int // answers of 1xx
	status        int
	sent          int64
	first         time.Time // when the answer began
	broken        bool      // a write failed: the client is gone
	clean         bool      // the upstream's body came to its own end
	allowed       allowance // for the client to take the next piece
}

// NewResponseWriter returns a ResponseWriter to w. stalled is how long the client may take no byte.
// While leaving is set, answers end their connections.
func NewResponseWriter(w http.ResponseWriter, stalled time.Duration, leaving *atomic.Bool) ResponseWriter {
	return ResponseWriter{ResponseWriter: w, leaving: leaving, allowed: allowance{limit: stalled}}
}

// Status returns the status of the answer, or 0 if none has begun.
func (w *ResponseWriter) Status() int { return w.status }

// Sent returns how many bytes of the body were written.
func (w *ResponseWriter) Sent() int64 { return w.sent }

// Began returns when the answer began, or the zero time if none has.
func (w *ResponseWriter) Began() time.Time { return w.first }

// Broken reports whether a write has failed: the client is gone.
func (w *ResponseWriter) Broken() bool { return w.broken }

// Unwrap is used by http.ResponseController.
func (w *ResponseWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// WriteHeader sends the header of an answer, and those of answers of 1xx before it.
func (w *ResponseWriter) WriteHeader(status int) {
	if status < 200 {
		if w.informational++; w.informational > maxInformational && w.cancel != nil {
			w.cancel(errInformational)
			return
		}
	}
	if status == http.StatusContinue {
		return // net/http sends 100 Continue itself, when the body is first read
	}
	now := time.Now()
	w.allow(now)
	if status >= 200 && w.status == 0 {
		w.status, w.first = status, now
		if w.leaving.Load() {
			w.Header().Set("Connection", "close") // HTTP/2 reads it as well, and says GOAWAY
		}
		if _, ok := w.Header()["Content-Type"]; !ok {
			w.Header()["Content-Type"] = nil // net/http must not guess one
		}
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write sends a piece of the body.
func (w *ResponseWriter) Write(p []byte) (int, error) {
	w.allowMore()
	n, err := w.ResponseWriter.Write(p)
	w.sent += int64(n)
	if err != nil {
		w.broken = true
	}
	return n, err
}

// flush sends what is buffered. If it fails, the next Write fails too.
func (w *ResponseWriter) flush() { _ = http.NewResponseController(w.ResponseWriter).Flush() }

// allow sets the deadline for the client to take the next piece.
func (w *ResponseWriter) allow(now time.Time) {
	if deadline := w.allowed.next(now); w.allowed.limit > 0 {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline)
	}
}

// allowMore moves that deadline if it is time to do so.
func (w *ResponseWriter) allowMore() {
	if w.allowed.limit <= 0 {
		return
	}
	if deadline, due := w.allowed.due(time.Now()); due {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline)
	}
}

// Complete reports whether every byte of an answer went to the client. length is that of the body;
// negative: unknown. The request's context says nothing about it: clients hang up right after the
// last byte.
func (w *ResponseWriter) Complete(length int64) bool {
	switch {
	case w.status == 0 || w.broken:
		return false
	case w.clean:
		return true
	}
	return length >= 0 && w.sent == length
}
