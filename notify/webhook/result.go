package webhook

import (
	"context"
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
	keptResponse  = 4 << 10  // of a response's body are kept
	readResponse  = 64 << 10 // of it are read, so that small connections can be used again
	bodyPatience  = 2 * time.Second
	maxRetryAfter = 24 * time.Hour
)

// Outcome is what an attempt means for the delivery.
type Outcome string

// The outcomes. Each is also the value of a metric's label.
const (
	Delivered Outcome = "delivered" // the receiver has it
	Retry     Outcome = "retry"     // not now
	Permanent Outcome = "permanent" // never: a dead letter
	Gone      Outcome = "gone"      // 410: the receiver wants nothing any more
)

// Reason is why an attempt did not deliver; a bounded set, since it becomes a metric's label.
type Reason string

// The reasons.
const (
	ReasonNone        Reason = ""             // delivered
	ReasonDNS         Reason = "dns"          // the name did not resolve
	ReasonRefused     Reason = "refused"      // nothing listens there
	ReasonTimeout     Reason = "timeout"      // no answer in time, at whatever stage
	ReasonTLS         Reason = "tls"          // no trusted connection, or the client certificate was refused
	ReasonDenied      Reason = "denied"       // the egress guard
	ReasonRedirect    Reason = "redirect"     // 3xx, never followed
	Reason4xx         Reason = "status_4xx"   // but 429
	Reason5xx         Reason = "status_5xx"   //
	ReasonRateLimited Reason = "rate_limited" // 429
	ReasonReset       Reason = "reset"        // the connection broke before an answer
	ReasonBody        Reason = "body"         // the message cannot be made or sent as it is
	ReasonCanceled    Reason = "canceled"     // the caller gave up
	ReasonOther       Reason = "other"
)

// Result is an attempt's outcome: a value, never an error.
type Result struct {
	Status   int           // 0 when nothing was answered
	Latency  time.Duration // until the head of the answer, or the failure
	Response []byte        // the first 4 KiB of the answer's body, this client's secrets blotted out
	Outcome  Outcome
	Reason   Reason        // ReasonNone if and only if delivered
	After    time.Duration // what the receiver asked to wait, at most 24 h; 0: nothing
	Err      string        // for people, without secrets; "" when delivered
}

// answered is the result that a response's head means.
func answered(resp *http.Response, from *url.URL, now time.Time) Result {
	r := Result{Status: resp.StatusCode}
	r.Outcome, r.Reason = judge(resp.StatusCode)
	if r.Outcome == Retry {
		r.After = retryAfter(resp.Header.Get("Retry-After"), now)
	}
	if r.Outcome != Delivered {
		r.Err = statusText(resp, from)
	}
	return r
}

// judge is the table of DESIGN §6.
func judge(status int) (Outcome, Reason) {
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

// statusText uses our own words for the status: the receiver's could be anything.
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

// retryAfter understands seconds and HTTP dates; what it does not understand is 0.
func retryAfter(value string, now time.Time) time.Duration {
	value = strings.TrimSpace(value)
	if date, err := http.ParseTime(value); err == nil {
		return min(max(date.Sub(now), 0), maxRetryAfter)
	}
	whole, fraction, fractional := strings.Cut(value, ".") // Discord has been seen to send fractions
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

// readResponse reads what is worth reading of the body and lets go of the rest, closing the connection
// where more is to come. It does not wait for a body that trickles.
func (c *Client) readResponse(resp *http.Response, cancel context.CancelFunc) []byte {
	timer := time.AfterFunc(bodyPatience, cancel)
	defer timer.Stop()
	defer resp.Body.Close()
	limited := io.LimitReader(resp.Body, readResponse)
	kept, err := io.ReadAll(io.LimitReader(limited, int64(keptResponse+c.blot.longest)))
	if err == nil {
		_, _ = io.Copy(io.Discard, limited) // whether the rest comes changes nothing
	}
	kept = c.blot.bytes(kept)
	return kept[:min(len(kept), keptResponse)]
}

// reasonOf names the cause of an attempt without an answer. Order matters: a denied or refused dial is
// wrapped in the same types as one that timed out.
func reasonOf(err error, ended stage) Reason {
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
	case ended == stageSilent: // as HTTP/2 says it, in errors without a type
		return ReasonReset
	}
	return ReasonOther
}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// isTLSAlert recognises a peer that ends the connection by an alert, which TLS 1.3 does with a client
// certificate it does not like after our side of the handshake is done.
func isTLSAlert(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error")
}
