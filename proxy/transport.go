package proxy

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"time"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

const (
	keepIdle        = 30 * time.Second // less than most servers keep theirs: a connection that the upstream is just closing costs a request
	idlePerUpstream = 128
	writeBuffer     = 64 << 10 // a chunk of buffers.CopySize with its length before it goes out in one piece
	secureBuffer    = 4 << 10  // with TLS, bodies come and go record by record and past the buffers: only headers and the heads of chunks are in them
	upstreamHeader  = 1 << 20  // bytes of an answer's header
)

// newTransport returns a transport that changes nothing: it adds no Accept-Encoding, follows no proxy of the environment, and speaks
// HTTP/1.1, which is what keeps bodies and framing as they are.
func newTransport(u Upstream, limits Limits, header time.Duration) *http.Transport {
	dialer := &net.Dialer{Timeout: limits.UpstreamConnect, KeepAlive: 30 * time.Second}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	t := &http.Transport{
		DialContext:            dialing(dialer.DialContext),
		TLSHandshakeTimeout:    limits.UpstreamConnect,
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
	if u.URL.Scheme == "https" {
		t.ReadBufferSize, t.WriteBufferSize = secureBuffer, secureBuffer
		t.DialContext = dialing(func(ctx context.Context, network, address string) (net.Conn, error) {
			c, err := dialer.DialContext(ctx, network, address)
			if err != nil {
				return nil, err
			}
			return &records{Conn: c}, nil
		})
	}
	if u.TLS != nil {
		t.TLSClientConfig = u.TLS.Clone()
	}
	return t
}

// dialError marks an error after which the upstream has surely seen nothing of the request.
type dialError struct{ error }

func (e dialError) Unwrap() error { return e.error }

func dialing(dial func(ctx context.Context, network, address string) (net.Conn, error)) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := dial(ctx, network, address)
		if err != nil {
			return nil, dialError{err}
		}
		return c, nil
	}
}

// newReverseProxy returns the carrier of everything that the fast path does not take. Its hooks find their exchange in the request's context.
func newReverseProxy(rt *route) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Transport: chooseTransport{rt},
		Rewrite:   func(p *httputil.ProxyRequest) { exchangeOf(p.In).rewrite(p) },
		ModifyResponse: func(res *http.Response) error {
			x := exchangeOf(res.Request)
			if err := x.answered(res); err != nil {
				return err
			}
			x.keepBack(res)
			return nil
		},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			exchangeOf(r).failed(err)
		},
		FlushInterval: -1, // what the upstream has sent is sent on: timing is the upstream's
		BufferPool:    buffers.Slices{},
		ErrorLog:      log.New(io.Discard, "", 0), // failures are counted and logged by the exchange
	}
}

// chooseTransport picks the patient transport where an upstream may hash for long before it answers.
type chooseTransport struct{ rt *route }

func (c chooseTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	if exchangeOf(r).hashes() {
		return c.rt.patient.RoundTrip(r)
	}
	return c.rt.carrier.RoundTrip(r)
}
