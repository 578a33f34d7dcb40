package proxy

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// logAccess writes one line for a finished exchange: no credentials, and of the query only the
// names.
func (x *exchange) logAccess() {
	if x.g.Access == nil {
		return
	}
	fields := []zap.Field{
		zap.String("request_id", x.op.ID),
		zap.String("client", x.fwd.address),
		zap.String("protocol", x.in.Proto),
		zap.String("method", x.loggedMethod()),
		zap.String("host", bounded(x.fwd.host, 255)),
		zap.String("path", x.loggedPath()),
		zap.Int("status", x.status()),
		zap.Int64("bytes_in", x.wire.Received()),
		zap.Int64("bytes_out", x.wire.Answer.Sent()),
		zap.Duration("duration", time.Since(x.start)),
		zap.String("upstream", x.op.Upstream),
		zap.String("operation", x.op.Action.String()),
		zap.String("user_agent", x.op.Client.UserAgent),
	}
	if x.in.URL.RawQuery != "" {
		fields = append(fields, zap.String("query", queryNames(x.in.URL.RawQuery)))
	}
	if x.op.Client.Operator != "" {
		fields = append(fields, zap.String("operator", x.op.Client.Operator))
	}
	if x.failure != "" {
		fields = append(fields, zap.String("failure", x.failure))
	}
	x.g.Access.Info("request", fields...)
}

// loggedPath returns the request's path, cut to what a log line has room for.
func (x *exchange) loggedPath() string { return bounded(x.in.URL.EscapedPath(), maxLoggedPath) }

// loggedMethod returns the request's method, cut: any token may be one.
func (x *exchange) loggedMethod() string { return bounded(x.in.Method, maxLoggedMethod) }

const (
	maxLoggedPath   = 2048
	maxLoggedMethod = 32
)

// queryNames returns the names of a query's parameters.
func queryNames(raw string) string {
	values, _ := url.ParseQuery(raw)
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return bounded(strings.Join(names, " "), 512)
}
