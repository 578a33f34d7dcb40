package proxy

import (
	"context"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
)

// exchange is one request and its answer. Its handler's goroutine owns it, except for what says otherwise.
type exchange struct {
	g      *generation
	route  *route // nil: nowhere to go
	in     *http.Request
	start  time.Time
	fwd    forwarded
	scheme string          // as the client sees it
	target string          // raw path and query, as they came
	sent   string          // and as the upstream gets them
	path   string          // decoded and clean: what the request means
	ctx    context.Context // of the upstream's request

	op        detect.Operation
	transfer  track.Transfer // of a read: the Tracker's, between Start and End
	asking    *probe         // the upstream is being asked whether it vouches for the name; nil: it is not
	through   *probe         // of the token server, with a made-up login; nil: the name does not come from the login that fetched a token
	fetches   *fetchedToken  // what is known of the token that the answer holds; nil: the request fetches none
	unsure    bool           // it is not known whether the upstream vouches for the name
	forbidden bool           // the upstream vouches for the name if it answers 2xx
	started   bool           // Tracker.Start was called, and End is still to be
	ended     bool
	got       kept      // what is kept of the answer's body
	rest      *download // a long body that is passed on when the reverse proxy is done; nil: that has passed it on

	answer   answer
	received atomic.Int64                // bytes of the request's body; the transport's goroutine reads it
	body     *upload                     // it; nil: none, or net/http's to read
	arrived  atomic.Bool                 // all of it
	cutOff   atomic.Pointer[clientError] // why it did not
	up, down *watchdog                   // of the bodies
	gate     *gate                       // of a write; nil for reads
	settled  *track.Intent               // of a write that was answered clearly, to a client that was still there
	failure  string                      // kind of the upstream's failure; "": none
}

type exchangeKey struct{}

// exchangeOf is the exchange that a request on its way to the upstream belongs to.
func exchangeOf(r *http.Request) *exchange { return r.Context().Value(exchangeKey{}).(*exchange) }

// begin understands a request.
func (g *generation) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{g: g, in: r, start: time.Now(), target: rawTarget(r), path: detect.CleanPath(r.URL.Path)}
	x.answer = answer{ResponseWriter: w, stalled: g.Limits.StalledBody, leaving: &g.h.leaving}
	x.fwd = g.seen(r)
	if x.fwd.spoofed {
		g.warnSpoofed(x.fwd.peer)
	}
	x.route = g.find(x.fwd.host, x.path)
	if x.route == nil {
		x.op.ID = requestID(r.Header)
		return x
	}
	x.sent = x.route.sends(x.target, x.path)
	x.scheme = x.fwd.schemeFor(x.route, r)
	x.op = detect.Operation{
		Request:   detect.Classify(x.route.Kind, x.route.PathPrefix, r.Method, x.route.understood(x.path), r.URL.RawQuery),
		Upstream:  x.route.Name,
		Kind:      x.route.Kind,
		ID:        requestID(r.Header),
		At:        x.start,
		Client:    detect.Client{Address: x.fwd.address, UserAgent: bounded(r.UserAgent(), detect.MaxUserAgent)},
		External:  x.fwd.external(x.route, x.scheme),
		Range:     r.Header.Get("Range") != "",
		NotModify: r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Modified-Since") != "",
		Size:      -1,
	}
	x.route.meters.inFlight.Inc()
	return x
}

// finish says what became of the exchange, also while its handler panics (http.ErrAbortHandler is how an answer is cut).
func (x *exchange) finish() {
	x.body.leave()
	x.up.stop()
	x.down.stop()
	x.gate.abandon()
	complete := x.answer.complete(x.op.Size)
	x.tellEnd(complete)
	x.handed(complete)
	x.got.release()
	if x.route != nil {
		x.route.meters.inFlight.Dec()
	}
	x.count()
	x.logAccess()
}

// tellEnd tells the Tracker once how a read ended.
func (x *exchange) tellEnd(complete bool) {
	if !x.started || x.ended {
		return
	}
	x.ended = true
	x.op.Complete = complete
	if x.unheard() && x.op.Status < 300 {
		_ = http.NewResponseController(&x.answer).Flush() // the client has all before bellbuoy waits for the upstream's word about the name
	}
	x.vouch()
	x.guarded("End", func() { x.g.Tracker.End(&x.transfer, &x.op) })
}

// carry hands the request to the reverse proxy.
func (x *exchange) carry(body io.ReadCloser) {
	r := x.in.WithContext(context.WithValue(x.ctx, exchangeKey{}, x))
	if x.in.ContentLength != 0 {
		r.Body = body
	}
	// An Upgrade is for the next hop only and bellbuoy does not speak the protocol: what is left is a plain request.
	if r.Header.Get("Upgrade") != "" {
		r.Header = r.Header.Clone()
		r.Header.Del("Upgrade")
	}
	if cancel, ok := x.ctx.Value(watchKey{}).(context.CancelCauseFunc); ok {
		x.answer.flooded = func() { cancel(errInformational) } // httputil would pass them all on
	}
	x.route.proxy.ServeHTTP(&x.answer, r)
	x.passRest()
}

// rewrite makes the upstream's request.
func (x *exchange) rewrite(p *httputil.ProxyRequest) {
	out := p.Out
	out.URL = x.outURL()
	out.Host = x.in.Host
	if x.route.OwnHost || out.Host == "" {
		out.Host = x.route.URL.Host
	}
	for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
		if v := p.In.Header[name]; len(v) > 0 {
			out.Header[name] = v
		}
	}
	x.fwd.dress(out.Header, x.scheme, x.g.Identity.Header)
	out.Header.Set("X-Request-Id", x.op.ID)
	out.Trailer = x.in.Trailer // filled in when the body has arrived
}

// outURL is the upstream's URL for exactly the path and query that came, below the path of the upstream's own URL. net/http would encode anew what it finds odd in a path; an opaque
// URL goes out as it is, unless it begins with two slashes, which would read as a host.
func (x *exchange) outURL() *url.URL {
	in := x.in.URL
	u := &url.URL{Scheme: x.route.URL.Scheme, Host: x.route.URL.Host, Path: in.Path, RawPath: in.RawPath, RawQuery: in.RawQuery, ForceQuery: in.ForceQuery}
	path, _, _ := strings.Cut(x.sent, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		u.Opaque = path
	}
	return u
}

// rawTarget is the path and query of a request line, also where it named scheme and host.
func rawTarget(r *http.Request) string {
	target := r.RequestURI
	if strings.HasPrefix(target, "/") {
		return target
	}
	_, rest, ok := strings.Cut(target, "://")
	if !ok {
		return r.URL.RequestURI()
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 {
		if rest[i] == '?' {
			return "/" + rest[i:]
		}
		return rest[i:]
	}
	return "/"
}

// hashes tells whether the registry may hash a blob before it answers.
func (x *exchange) hashes() bool {
	return x.op.Action == detect.UploadEnd || x.op.Action == detect.UploadStart && x.in.ContentLength != 0
}

// unambiguous tells whether a request means the same to every hop. RFC 9110 lets Connection name any header as one to be dropped: one that
// decides what the request means must not be (who dropped it would hand on another request than was sent).
// A target that is no path ("PRI *" of HTTP/2 without TLS) means nothing here.
func unambiguous(r *http.Request, identityHeader string) bool {
	if r.ProtoMajor > 1 && !wellFormed(r) {
		return false
	}
	if r.Method == http.MethodConnect || !strings.HasPrefix(rawTarget(r), "/") || strings.ContainsFunc(r.RequestURI, breaksLines) || strings.ContainsFunc(r.Host, breaksHosts) {
		return false
	}
	for _, v := range r.Header["Connection"] {
		for name := range strings.SplitSeq(v, ",") {
			if name = http.CanonicalHeaderKey(strings.TrimSpace(name)); decisive(name) || strings.EqualFold(name, identityHeader) && name != "" {
				return false
			}
		}
	}
	return true
}

// wellFormed tells of an HTTP/2 request what net/http lets pass: hosts have a field of their own there, so no target names one, and a length is told
// once and kept to.
func wellFormed(r *http.Request) bool {
	if !strings.HasPrefix(r.RequestURI, "/") {
		return false
	}
	length := r.Header["Content-Length"]
	return len(length) == 0 || len(length) == 1 && length[0] == strconv.FormatInt(r.ContentLength, 10)
}

// breaksLines tells whether a character would end a request's path early. HTTP/2 can carry some of these where HTTP/1.1 cannot.
func breaksLines(c rune) bool { return c <= ' ' || c == 0x7f }

func breaksHosts(c rune) bool { return breaksLines(c) || strings.ContainsRune(`/\?#@,"<>`, c) }

// decisive tells whether a header decides what a request means. name is canonical.
func decisive(name string) bool {
	switch name {
	case "Accept", "Authorization", "Cookie", "Expect", "Host", "If-Match", "If-Modified-Since", "If-None-Match", "Range", "User-Agent", "X-Request-Id":
		return true
	}
	return strings.HasPrefix(name, "Content-") || forwardingHeader(name)
}

// requestID is the request's own X-Request-Id where it is fit to be logged and sent on, else a new one.
func requestID(h http.Header) string {
	if id := h.Get("X-Request-Id"); id != "" && len(id) <= detect.MaxRequestID && strings.IndexFunc(id, unfitForID) < 0 {
		return id
	}
	var id [32]byte
	b := strconv.AppendUint(id[:0], rand.Uint64()|1<<63, 16)
	return string(strconv.AppendUint(b, rand.Uint64()|1<<63, 16))
}

func unfitForID(c rune) bool {
	return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && !strings.ContainsRune("-._:+/=@", c)
}

// bounded is s, cut to n bytes and without control characters. Cut, it is a copy.
func bounded(s string, n int) string {
	if len(s) > n {
		s = strings.Clone(strings.ToValidUTF8(s[:n], ""))
	}
	if strings.IndexFunc(s, func(c rune) bool { return c < ' ' || c == 0x7f }) < 0 {
		return s
	}
	return strings.Map(func(c rune) rune {
		if c < ' ' || c == 0x7f {
			return ' '
		}
		return c
	}, s)
}
