package carry

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// Reverse carries what the fast path does not take, by httputil.ReverseProxy. The functions that
// ReverseProxy calls find the exchange in the context of the request.
type Reverse struct {
	Transport *http.Transport
	Patient   *http.Transport // for requests that an upstream may answer late

	url   *url.URL
	proxy *httputil.ReverseProxy
}

func newReverse(o Options) *Reverse {
	p := &Reverse{Transport: newTransport(o, o.ResponseHeader), Patient: newTransport(o, 0), url: o.URL}
	p.proxy = &httputil.ReverseProxy{
		Transport:      p,
		Rewrite:        p.rewrite,
		ModifyResponse: answered,
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			exchangeOf(r).Fail(err)
		},
		FlushInterval: -1, // what the upstream has sent is sent on: timing is the upstream's
		BufferPool:    buffers.Slices{},
		ErrorLog:      log.New(io.Discard, "", 0), // the Observer counts and logs failures
	}
	return p
}

func (p *Reverse) close() {
	p.Transport.CloseIdleConnections()
	p.Patient.CloseIdleConnections()
}

type exchangeKey struct{}

// exchangeOf returns the exchange of a request to the upstream.
func exchangeOf(r *http.Request) *Exchange { return r.Context().Value(exchangeKey{}).(*Exchange) }

// Carry hands the request to httputil.ReverseProxy.
func (p *Reverse) Carry(x *Exchange) {
	if x.cancel == nil {
		x.ctx, x.cancel = context.WithCancelCause(x.In.Context())
		defer x.cancel(nil)
	}
	r := x.In.WithContext(context.WithValue(x.ctx, exchangeKey{}, x))
	if x.In.ContentLength != 0 {
		r.Body = x.outgoing()
	}
	// An Upgrade is for the next hop only, and bellbuoy does not support it. The request goes
	// on without.
	if r.Header.Get("Upgrade") != "" {
		r.Header = r.Header.Clone()
		r.Header.Del("Upgrade")
	}
	x.Answer.cancel = x.cancel // httputil would pass on endless answers of 1xx
	p.proxy.ServeHTTP(&x.Answer, r)
	if x.rest != nil {
		defer x.rest.Close()
		cut(x.copyLong(x.rest))
	}
}

// RoundTrip uses the patient transport if the upstream may work for long before it answers.
func (p *Reverse) RoundTrip(r *http.Request) (*http.Response, error) {
	if exchangeOf(r).Hashes {
		return p.Patient.RoundTrip(r)
	}
	return p.Transport.RoundTrip(r)
}

// answered handles an answer. It takes a long body of known length away from ReverseProxy, which
// would hold a buffer for as long as the body takes; Carry then copies it.
func answered(res *http.Response) error {
	x := exchangeOf(res.Request)
	if err := x.answered(res); err != nil {
		return err
	}
	body, ok := res.Body.(*answerBody)
	if ok && res.ContentLength >= longFrom && x.In.ContentLength == 0 && len(res.Trailer) == 0 {
		x.rest, res.Body = body, http.NoBody
	}
	return nil
}

// rewrite makes the request to the upstream.
func (p *Reverse) rewrite(r *httputil.ProxyRequest) {
	x := exchangeOf(r.In)
	r.Out.URL = p.target(x)
	r.Out.Host = x.Header.Host
	x.Header.apply(r.Out.Header, r.In.Header)
	r.Out.Trailer = x.In.Trailer // filled in when the body has arrived
}

// target returns the URL whose request line has exactly x.Target. net/http would encode some paths
// differently. An opaque URL is sent as it is, unless it begins with two slashes, which would be a
// host.
func (p *Reverse) target(x *Exchange) *url.URL {
	in := x.In.URL
	u := &url.URL{Scheme: p.url.Scheme, Host: p.url.Host, Path: in.Path, RawPath: in.RawPath, RawQuery: in.RawQuery, ForceQuery: in.ForceQuery}
	path, _, _ := strings.Cut(x.Target, "?")
	if strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "//") {
		u.Opaque = path
	}
	return u
}

const (
	// keepIdle is less than most servers keep idle connections, so that no request is sent on
	// one that the upstream is just closing.
	keepIdle        = 30 * time.Second
	idlePerUpstream = 128
	// writeBuffer lets a chunk of buffers.CopySize go out in one piece with its length.
	writeBuffer = 64 << 10
	// secureBuffer is for TLS, where bodies are read and written record by record without these
	// buffers: they hold only headers and the heads of chunks.
	secureBuffer   = 4 << 10
	upstreamHeader = 1 << 20 // bytes of an answer's header
)

// newTransport returns a transport that changes nothing: it adds no Accept-Encoding, follows no
// proxy of the environment, and speaks HTTP/1.1, which keeps bodies and framing as they are.
func newTransport(o Options, header time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: o.Connect, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		DialContext:            dialing(dialer.DialContext),
		TLSHandshakeTimeout:    o.Connect,
		DisableCompression:     true,
		MaxIdleConnsPerHost:    idlePerUpstream,
		IdleConnTimeout:        keepIdle,
		ResponseHeaderTimeout:  header,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: upstreamHeader,
		ReadBufferSize:         buffers.CopySize,
		WriteBufferSize:        writeBuffer,
		Protocols:              protocols,
	}
	if o.URL.Scheme == "https" {
		t.ReadBufferSize, t.WriteBufferSize = secureBuffer, secureBuffer
		t.DialContext = dialing(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &tlsRecords{Conn: c}, nil
		})
	}
	if o.TLS != nil {
		t.TLSClientConfig = o.TLS.Clone()
	}
	return t
}

type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialing turns the errors of a dialer into DialErrors.
func dialing(dial dialFunc) dialFunc {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, DialError{err}
		}
		return c, nil
	}
}
