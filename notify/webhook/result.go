package webhook

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	storedResponse = 4 << 10 // bytes of a response that are stored
	// bytes of a response that are read, so that the connection can be reused
	readResponse  = 64 << 10
	bodyPatience  = 2 * time.Second
	maxRetryAfter = 24 * time.Hour
)

// Outcome says what happens to the delivery after an attempt.
type Outcome string

// The outcomes. Each is also a value of a metric's label.
const (
	Delivered Outcome = "delivered" // the receiver accepted it
	Retry     Outcome = "retry"     // try again later
	Permanent Outcome = "permanent" // never: a dead letter
	Gone      Outcome = "gone"      // 410: the receiver wants no more
)

// Reason says why an attempt failed. It is one of a bounded set, because it is a metric's label.
type Reason string

// The reasons.
const (
	ReasonNone        Reason = ""             // delivered
	ReasonDNS         Reason = "dns"          // the name did not resolve
	ReasonRefused     Reason = "refused"      // the connection was refused
	ReasonTimeout     Reason = "timeout"      // no answer in time, at any stage
	ReasonTLS         Reason = "tls"          // no trusted connection, or the client certificate was refused
	ReasonDenied      Reason = "denied"       // the egress guard denied the address
	ReasonRedirect    Reason = "redirect"     // 3xx, never followed
	Reason4xx         Reason = "status_4xx"   // except 429
	Reason5xx         Reason = "status_5xx"   //
	ReasonRateLimited Reason = "rate_limited" // 429
	ReasonReset       Reason = "reset"        // the connection broke before an answer
	ReasonBody        Reason = "body"         // the message is invalid
	ReasonCanceled    Reason = "canceled"     // the caller gave up
	ReasonOther       Reason = "other"
)

// Result is the outcome of an attempt. It is a value, not an error.
type Result struct {
	Status  int           // 0 without an answer
	Latency time.Duration // until the head of the answer, or the failure
	// the first 4 KiB of the answer's body, without this client's secrets
	Response []byte
	Outcome  Outcome
	Reason   Reason        // ReasonNone if and only if delivered
	After    time.Duration // Retry-After, at most 24 h; 0: none
	Err      string        // for people, without secrets; "" when delivered
}

// resultOf returns the result for a response, before its body is read.
func resultOf(resp *http.Response, from *url.URL, now time.Time) Result {
	r := Result{Status: resp.StatusCode}
	r.Outcome, r.Reason = outcomeOf(resp.StatusCode)
	if r.Outcome == Retry {
		r.After = retryAfter(resp.Header.Get("Retry-After"), now)
	}
	if r.Outcome != Delivered {
		r.Err = statusText(resp, from)
	}
	return r
}

// outcomeOf maps a status to an outcome and a reason.
func outcomeOf(status int) (Outcome, Reason) {
	switch status {
	case http.StatusGone:
		return Gone, Reason4xx
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusRequestEntityTooLarge,
		http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return Permanent, Reason4xx
	case http.StatusNotImplemented:
		return Permanent, Reason5xx
	case http.StatusTooManyRequests:
		return Retry, ReasonRateLimited
	}
	switch status / 100 {
	case 2:
		return Delivered, ReasonNone
	case 3:
		return Retry, ReasonRedirect
	case 4:
		return Retry, Reason4xx
	case 5:
		return Retry, Reason5xx
	}
	return Retry, ReasonOther
}

// statusText uses the standard text of the status, because the receiver's own text could be
// anything.
func statusText(resp *http.Response, from *url.URL) string {
	text := strings.TrimSpace(fmt.Sprintf("answered %d %s", resp.StatusCode, http.StatusText(resp.StatusCode)))
	if resp.StatusCode/100 != 3 {
		return text
	}
	to, err := from.Parse(resp.Header.Get("Location"))
	if err != nil || resp.Header.Get("Location") == "" {
		return text + "; redirects are not followed"
	}
	return text + " to " + Redact(to.String()) + "; redirects are not followed"
}

// retryAfter parses a Retry-After in seconds or as an HTTP date. It returns 0 for anything else.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
	}
	whole, fraction, fractional := strings.Cut(value, ".") // Discord sends fractions
	seconds, err := strconv.ParseUint(whole, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return maxRetryAfter
	}
	if err != nil || fractional && !digits(fraction) {
		return 0
	}
	if strings.Trim(fraction, "0") != "" {
		seconds++
	}
	return time.Duration(min(seconds, uint64(maxRetryAfter/time.Second))) * time.Second
}

func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// readResponse reads the beginning of the body. It closes the connection if the body is longer, and
// does not wait for a body that arrives slowly.
func (c *Client) readResponse(resp *http.Response, cancel context.CancelFunc) []byte {
	timer := time.AfterFunc(bodyPatience, cancel)
	defer timer.Stop()
	defer resp.Body.Close()
	limited := io.LimitReader(resp.Body, readResponse)
	kept, err := io.ReadAll(io.LimitReader(limited, int64(storedResponse+c.redactor.longest)))
	if err == nil {
		_, _ = io.Copy(io.Discard, limited) // an error changes nothing
	}
	kept = c.redactor.bytes(kept)
	return kept[:min(len(kept), storedResponse)]
}

// reasonOf returns the reason for an attempt without an answer. The order of its cases matters:
// errors of denied and refused dials have the same types as timeouts.
func reasonOf(err error, ended attemptStage) Reason {
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, ErrDenied):
		return ReasonDenied
	case errors.As(err, &dns):
		return ReasonDNS
	case errors.Is(err, context.Canceled):
		return ReasonCanceled
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return ReasonTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return ReasonRefused
	case isReset(err):
		return ReasonReset
	case errors.Is(err, errProxyAnswered):
		return ReasonOther
	case ended == stageHandshake, isTLSAlert(err):
		return ReasonTLS
	// HTTP/2 reports this in errors without a type.
	case ended == stageSilent:
		return ReasonReset
	}
	return ReasonOther
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

func isUnknownAuthority(err error) bool {
	var unknown x509.UnknownAuthorityError
	return errors.As(err, &unknown)
}

// isTLSAlert reports whether the peer ended the connection with an alert. TLS 1.3 rejects a client
// certificate like that, after the client's side of the handshake is done.
func isTLSAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}
