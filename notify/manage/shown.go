package manage

import (
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// Errors of connections name addresses of bellbuoy's network, and say which of its names resolve.
// An account limited to projects gets one text for each reason instead. Administrators and the log
// get the whole text.

// NotAllowed is what a limited account is told of an endpoint that the egress rules deny, and of a
// name that does not resolve: it must not tell one from the other.
const NotAllowed = "the endpoint is not allowed for this account, or its name does not resolve"

// limitedTexts are the errors of attempts without an answer, as limited accounts see them. Errors
// of other reasons contain no address.
var limitedTexts = map[webhook.Reason]string{
	webhook.ReasonDenied:  NotAllowed,
	webhook.ReasonDNS:     NotAllowed,
	webhook.ReasonRefused: "nothing listens at the endpoint",
	webhook.ReasonTimeout: "no answer in time",
	webhook.ReasonReset:   "the connection broke before an answer came",
	webhook.ReasonOther:   "no answer",
}

// reasonFor returns the reason of a failure as an account may see it.
func reasonFor(by access.Principal, reason string) string {
	if !by.Administrator && reason == string(webhook.ReasonDNS) {
		return string(webhook.ReasonDenied)
	}
	return reason
}

// errorFor returns the error of an attempt as an account may see it. status is that of the answer;
// 0: there was none.
func errorFor(by access.Principal, status int, reason, text string) string {
	if by.Administrator || status != 0 {
		return text
	}
	if short, ok := limitedTexts[webhook.Reason(reason)]; ok {
		return short
	}
	return text
}

// lastErrorFor returns the error of a webhook's last attempt, whose reason is unknown, as an
// account may see it.
func lastErrorFor(by access.Principal, text string) string {
	if by.Administrator || strings.HasPrefix(text, "answered ") {
		return text
	}
	return "no answer to the last attempt"
}

// notAllowed is the error of a webhook whose url the egress rules deny.
type notAllowed struct{ why Problems }

// Error implements error.
func (e notAllowed) Error() string { return e.why.Error() }

// Unwrap returns a Problems, which is what callers look for.
func (e notAllowed) Unwrap() error { return e.why }
