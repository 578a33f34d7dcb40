package proxy

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/carry"
)

// Codes of the errors that bellbuoy itself answers with below /v2/.
const (
	codeUnknown     = "UNKNOWN"
	codeUnknownName = "NAME_UNKNOWN"
	codeInvalidName = "NAME_INVALID"
	codeUnavailable = "UNAVAILABLE"
)

const retryAfter = "5" // seconds

// failure is bellbuoy's own answer if the upstream gives none. Its message contains no addresses,
// no credentials and nothing internal.
type failure struct {
	kind    string // metric label
	status  int
	code    string
	message string
}

// failureOf returns what bellbuoy answers after an error.
func failureOf(err error) failure {
	var client carry.ClientError
	var dial carry.DialError
	switch {
	case errors.Is(err, errWithheld):
		return failure{"store", http.StatusServiceUnavailable, codeUnavailable, "events cannot be kept at the moment; nothing was changed"}
	case errors.As(err, &client) && client.Timeout():
		return failure{"client_stalled", http.StatusRequestTimeout, codeUnknown, "the request's body stopped arriving"}
	case errors.As(err, &client):
		return failure{"client_gone", http.StatusBadRequest, codeUnknown, "the request's body is incomplete"}
	case errors.Is(err, context.Canceled):
		return failure{"client_gone", statusClientGone, codeUnknown, "the client went away"}
	case errors.Is(err, carry.ErrStalled):
		return failure{"stalled", http.StatusGatewayTimeout, codeUnavailable, "the upstream stopped taking the request"}
	case errors.As(err, &dial) && carry.TimedOut(err):
		return failure{"connect_timeout", http.StatusGatewayTimeout, codeUnavailable, "the upstream cannot be reached in time"}
	case errors.As(err, &dial), isHandshake(err):
		return failure{"connect", http.StatusBadGateway, codeUnavailable, "the upstream cannot be reached"}
	case errors.Is(err, errWriteTimeout) || carry.TimedOut(err):
		return failure{"timeout", http.StatusGatewayTimeout, codeUnavailable, "the upstream did not answer in time"}
	}
	return failure{"broken", http.StatusBadGateway, codeUnavailable, "the upstream's answer cannot be used"}
}

// isHandshake reports whether the TLS handshake failed, so that the upstream has got no request.
func isHandshake(err error) bool {
	var untrusted *tls.CertificateVerificationError
	var record tls.RecordHeaderError
	return errors.As(err, &untrusted) || errors.As(err, &record)
}

// event returns the message of the failure in the log.
func (f failure) event() string {
	switch f.kind {
	case "store":
		return "write refused: its event cannot be kept"
	case "client_stalled":
		return "client stopped sending"
	}
	return "upstream failed"
}

// statusClientGone is used in logs and metrics only.
const statusClientGone = 499

// answerFailure answers for an upstream that failed.
func (x *exchange) answerFailure(err error) {
	f := failureOf(err)
	x.failure = f.kind
	x.op.Status = f.status
	if f.kind != "client_gone" {
		x.g.Log.Warn(f.event(), zap.String("upstream", x.route.Name), zap.String("kind", f.kind), zap.String("request_id", x.op.ID),
			zap.String("method", x.loggedMethod()), zap.String("path", x.loggedPath()), zap.Error(err))
	}
	if f.status == http.StatusServiceUnavailable {
		x.wire.Answer.Header().Set("Retry-After", retryAfter)
	}
	x.refuse(f.status, f.code, f.message)
}

// refuse answers with an error in the form of the client's protocol. If an answer has begun
// already, the connection is cut.
func (x *exchange) refuse(status int, code, message string) {
	if x.wire.Answer.Status() != 0 {
		panic(http.ErrAbortHandler)
	}
	h := x.wire.Answer.Header()
	body := []byte(message + "\n")
	if x.speaksOCI() {
		h.Set("Content-Type", "application/json")
		h.Set("Docker-Distribution-Api-Version", "registry/2.0")
		body = ociError(code, message)
	} else {
		h.Set("Content-Type", "text/plain; charset=utf-8")
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if x.wire.Early() {
		h.Set("Connection", "close")
	}
	x.wire.Answer.WriteHeader(status)
	_, _ = x.wire.Answer.Write(body)
}

// speaksOCI reports whether the client expects an error as JSON.
func (x *exchange) speaksOCI() bool {
	if x.route == nil {
		return ociPath(x.path)
	}
	inner, _ := cutPrefix(x.path, x.route.PathPrefix)
	return x.route.Kind == detect.Registry && ociPath(inner)
}

func ociError(code, message string) []byte {
	type entry struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	b, _ := json.Marshal(map[string][]entry{"errors": {{code, message}}}) // strings always marshal
	return b
}
