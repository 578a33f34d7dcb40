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
	// ErrAnswered ends a body if the upstream has answered before it had all of the body.
	ErrAnswered = errors.New("the upstream has answered")

	errStatus        = errors.New("the answer has no valid status")
	errInformational = errors.New("too many 1xx answers")
	errHeaderSize    = errors.New("the upstream's header is too long")
	errCutShort      = errors.New("the upstream closed the connection in the middle of its answer")
)

// Withheld is the error of a Body whose end must not go upstream. The connection is cut, so that
// the upstream does not take the bytes before for the whole body.
type Withheld struct{ Err error }

// Error returns the message of the reason.
func (e Withheld) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e Withheld) Unwrap() error { return e.Err }

// ClientError says why the body of a request did not arrive.
type ClientError struct{ error }

// Unwrap returns the error of the client's connection.
func (e ClientError) Unwrap() error { return e.error }

// Timeout reports whether the client has stopped sending.
func (e ClientError) Timeout() bool { return errors.Is(e.error, os.ErrDeadlineExceeded) }

// Incomplete returns the error of a body that ended before its announced length.
func Incomplete() error { return ClientError{io.ErrUnexpectedEOF} }

// DialError says why there is no connection: the request has certainly not reached the upstream.
type DialError struct{ error }

// Unwrap returns the error of the dialing.
func (e DialError) Unwrap() error { return e.error }

// TimedOut reports whether an error is a timeout.
func TimedOut(err error) bool {
	var t net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &t) && t.Timeout()
}

// cause returns the cause of ctx if that has ended, because the error of the connection is only its
// consequence; else err.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
