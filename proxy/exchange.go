package proxy

import (
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/carry"
)

// exchange is one request and its answer. Its handler's goroutine owns it.
type exchange struct {
	g       *generation
	route   *route // nil: nowhere to go
	in      *http.Request
	start   time.Time
	fwd     forwarded
	scheme  string // as the client sees it
	target  string // raw path and query, as they came
	path    string // decoded and clean: what the request means
	failure string // the kind of the failure; "": none

	// op is the request as package detect sees it. It is nil while a gate owns it: the
	// goroutine that sends the body of a write upstream fills it in, and gate.close sets it
	// again.
	op        *detect.Operation
	operation detect.Operation // what op points to

	wire  carry.Exchange // its bytes
	added [5]carry.Field // what wire.Header sets
	name  identification
	read  read
	write *write // nil for reads
}

// begin makes the exchange of a request: it finds the route, and classifies the request.
func (g *generation) begin(w http.ResponseWriter, r *http.Request) *exchange {
	x := &exchange{g: g, in: r, start: time.Now(), target: rawTarget(r), path: detect.CleanPath(r.URL.Path)}
	x.op, x.name.x, x.read.x = &x.operation, x, x
	x.wire.In, x.wire.Stalled = r, g.Limits.StalledBody
	x.wire.Answer = carry.NewResponseWriter(w, g.Limits.StalledBody, &g.h.leaving)
	x.fwd = g.seen(r)
	if x.fwd.spoofed {
		g.warnSpoofed(x.fwd.peer)
	}
	x.route = g.find(x.fwd.host, x.path)
	if x.route == nil {
		x.op.ID = requestID(r.Header)
		return x
	}
	x.scheme = x.fwd.schemeFor(x.route, r)
	x.operation = detect.Operation{
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
	x.address()
	x.route.meters.inFlight.Inc()
	return x
}

// address sets the target and the headers with which the request goes upstream.
func (x *exchange) address() {
	x.wire.Target = x.route.sends(x.target, x.path)
	host := x.in.Host
	if host == "" || x.route.OwnHost {
		host = x.route.URL.Host
	}
	x.wire.Header = carry.Header{Host: host, Forwarding: x.fwd.trusted, Set: append(x.fwd.headers(x.added[:0], x.in.Header, x.scheme), carry.Field{Name: "X-Request-Id", Value: x.op.ID})}
	if !x.fwd.trusted {
		x.wire.Header.Dropped = x.g.Identity.Header
	}
	switch a, hasBody := x.op.Action, x.in.ContentLength != 0; a {
	case detect.ManifestPut:
		x.wire.Bulk, x.wire.Whole = true, true
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd:
		x.wire.Bulk = x.in.Method == http.MethodPost || x.in.Method == http.MethodPatch || x.in.Method == http.MethodPut
		x.wire.Hashes = a == detect.UploadEnd || a == detect.UploadStart && hasBody // the registry may hash a blob first
	}
}

// carry sends the request upstream, and its answer to the client. The carrier calls observer at
// each step.
func (x *exchange) carry(observer carry.Observer) {
	x.wire.Observer = observer
	x.route.carriers.For(&x.wire).Carry(&x.wire)
}

// finish ends the exchange: it reports, counts and logs what became of it. It runs also while the
// handler panics (http.ErrAbortHandler cuts an answer).
func (x *exchange) finish() {
	x.wire.Finish()
	if x.write != nil {
		x.write.abandon()
	}
	complete := x.wire.Answer.Complete(x.op.Size)
	x.read.finish(complete)
	if x.write != nil {
		x.write.finish(complete)
	}
	if x.route != nil {
		x.route.meters.inFlight.Dec()
	}
	x.count()
	x.logAccess()
}

// note copies from the header of an answer what events need.
func (x *exchange) note(res *http.Response) {
	x.op.Status = res.StatusCode
	x.op.Size = res.ContentLength
	x.op.ContentDigest = contentDigest(res.Header)
	x.op.MediaType = mediaType(res.Header)
	x.op.OCITags = res.Header["Oci-Tag"]
	x.op.Whole = res.StatusCode == http.StatusPartialContent && wholeRange(res.Header.Get("Content-Range"))
	x.name.answered(x.op, res)
}

// rawTarget returns the path and query of a request line, without a scheme and host in it.
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

// requestID returns the request's own X-Request-Id if it is fit to be logged and sent on, else a
// new one.
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

// bounded returns s, cut to n bytes, with spaces for control characters. If it is cut, it is a copy
// that does not keep s in memory.
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
