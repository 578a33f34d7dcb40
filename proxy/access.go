package proxy

import (
	"net/url"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
)

// logAccess writes one line for a finished exchange: no credentials, and of the query only the names.
func (x *exchange) logAccess() {
	if x.g.Access == nil {
		return
	}
	fields := []zap.Field{
		zap.String("request_id", x.op.ID),
		zap.String("client", x.fwd.address),
		zap.String("protocol", x.in.Proto),
		zap.String("method", x.in.Method),
		zap.String("host", bounded(x.fwd.host, 255)),
		zap.String("path", bounded(x.in.URL.EscapedPath(), 2048)),
		zap.Int("status", x.status()),
		zap.Int64("bytes_in", x.received.Load()),
		zap.Int64("bytes_out", x.answer.sent),
		zap.Duration("duration", time.Since(x.start)),
		zap.String("upstream", x.op.Upstream),
		zap.String("operation", operations[x.op.Action]),
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

// queryNames are the names of a query's parameters.
func queryNames(raw string) string {
	values, _ := url.ParseQuery(raw)
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return bounded(strings.Join(names, " "), 512)
}
