package carry

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
)

var (
	// ErrStalled is the cause when a body moved no byte for too long because of the upstream.
	ErrStalled = errors.New("no byte moved for too long")
	// ErrAnswered ends a body that the upstream has answered before it had all of it.
	ErrAnswered = errors.New("the upstream has answered")

	errStatus        = errors.New("not a status of an answer")
	errInformational = errors.New("too many 1xx answers")
	errHeaderSize    = errors.New("the upstream's header is too long")
	errCutShort      = errors.New("the upstream closed the connection in the middle of its answer")
)

// Withheld is the error of a Body whose end must not go upstream: what came before it must not
// pass for all of the body.
type Withheld struct{ Err error }

// Error is the message of the reason.
func (e Withheld) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e Withheld) Unwrap() error { return e.Err }

// ClientError is why a request's body did not arrive.
type ClientError struct{ error }

// Unwrap returns the error of the client's connection.
func (e ClientError) Unwrap() error { return e.error }

// Timeout reports whether the client has stopped sending.
func (e ClientError) Timeout() bool { return errors.Is(e.error, os.ErrDeadlineExceeded) }

// Incomplete is the error of a request's body that ended before its announced length.
func Incomplete() error { return ClientError{io.ErrUnexpectedEOF} }

// DialError is why there is no connection: the upstream has surely seen nothing of the request.
type DialError struct{ error }

// Unwrap returns the error of the dialing.
func (e DialError) Unwrap() error { return e.error }

// TimedOut reports whether an error is that a time was over.
func TimedOut(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// cause is why a connection failed that was woken up because the request is over.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
