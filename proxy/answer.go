package proxy

import (
	"net/http"
	"sync/atomic"
	"time"
)

// answer writes to the client, counts what it writes, and gives up on a client that takes nothing for too long.
type answer struct {
	http.ResponseWriter
	stalled time.Duration
	leaving *atomic.Bool // the server stops soon: answers end their connections

	flooded func() // ends the request for its upstream's sake: 1xx without end

	before    int // answers of 1xx
	status    int
	sent      int64
	first     time.Time // when the answer began
	broken    bool      // a write failed: the client is gone
	clean     bool      // the upstream's body came to its own end
	allowedAt time.Time // when the deadline was last moved
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader passes an answer's header on, and those of 1xx before it.
func (a *answer) WriteHeader(status int) {
	if status < 200 {
		if a.before++; a.before > maxInformational && a.flooded != nil {
			a.flooded()
			return
		}
	}
	if status == http.StatusContinue {
		return // net/http says so itself, once, when the body is first read
	}
	a.allow(time.Now())
	if status >= 200 && a.status == 0 {
		a.status, a.first = status, a.allowedAt
		if a.leaving.Load() {
			a.Header().Set("Connection", "close") // HTTP/2 reads it as well, and says GOAWAY
		}
		if _, ok := a.Header()["Content-Type"]; !ok {
			a.Header()["Content-Type"] = nil // net/http must not guess one
		}
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write passes a piece of the body on.
func (a *answer) Write(p []byte) (int, error) {
	a.allowMore()
	n, err := a.ResponseWriter.Write(p)
	a.sent += int64(n)
	if err != nil {
		a.broken = true
	}
	return n, err
}

// allowMore is allow, as often as that is worth it.
func (a *answer) allowMore() {
	if a.stalled <= 0 {
		return
	}
	if now := time.Now(); now.Sub(a.allowedAt) > a.stalled/8 {
		a.allow(now)
	}
}

// allow gives the client time to take the next piece. The deadline moves in steps of an eighth, which the longer allowance makes up for:
// moving it costs more than a small write does.
func (a *answer) allow(now time.Time) {
	a.allowedAt = now
	if a.stalled > 0 {
		_ = http.NewResponseController(a.ResponseWriter).SetWriteDeadline(now.Add(a.stalled + a.stalled/8))
	}
}

// complete tells whether every byte of an answer went to the client. The request's context says nothing about it: clients hang up right after
// the last byte.
func (a *answer) complete(length int64) bool {
	switch {
	case a.status == 0 || a.broken:
		return false
	case a.clean:
		return true
	}
	return length >= 0 && a.sent == length
}
