package proxy

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"log"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
)

// ServerOptions are what the server in front of a Handler needs. Zero limits are none.
type ServerOptions struct {
	Handler http.Handler
	// HeaderRead is how long a client may take for a header (and for a PROXY header, and for a TLS handshake).
	HeaderRead time.Duration
	// Idle is how long a connection is kept without a request.
	Idle time.Duration
	// Stalled is how long a client's HTTP/2 connection may take no byte of what there is for it.
	Stalled time.Duration
	// HeaderSize is the longest header, in bytes.
	HeaderSize int
	// Connections is how many connections are served at a time; more wait in the kernel's queue.
	Connections int
	// ConnectionsPerClient is how many connections one client's address has at a time (an IPv6 client's network of 64 bits);
	// more are closed. It does not bound TrustedProxies: their connections are many clients'.
	ConnectionsPerClient int
	// TLS are the certificates. Nil: plain HTTP/1.1; with it, HTTP/2 too.
	TLS *Certificates
	// ProxyProtocol expects a PROXY header on every connection from TrustedProxies, and none on others.
	ProxyProtocol  bool
	TrustedProxies []netip.Prefix
	// Log gets what net/http has to say, at debug level. Nil: nobody.
	Log *zap.Logger
}

// Server accepts connections and serves them. Its options can be replaced while it runs: connections that are there go on under those that they
// came under, so nothing is dropped.
type Server struct {
	open    connections
	clients clientCount

	accepting sync.WaitGroup  // Serve's loops, and connections on their way to a server
	hurried   context.Context // ends when such connections shall take no longer …
	hurry     context.CancelFunc
	warned    warnings

	mu      sync.Mutex
	now     *served
	all     map[*served]bool // now, and earlier ones that still have connections
	stopped bool             // no more loops
	closed  bool             // no more connections
}

// served is an http.Server with the options it was made for.
type served struct {
	ServerOptions
	http  *http.Server
	tls   *tls.Config // for handshakes; nil: plain HTTP
	in    *handed
	conns int // handed to it and not yet closed; guarded by the Server's mu
}

// NewServer returns a Server that serves nothing yet.
func NewServer(o ServerOptions) *Server {
	s := &Server{all: map[*served]bool{}}
	s.hurried, s.hurry = context.WithCancel(context.Background())
	s.open.changed = sync.NewCond(&s.open.mu)
	s.Configure(o)
	return s
}

// Configure replaces the options for connections to come. Turning TLS on or off is the caller's to refuse.
func (s *Server) Configure(o ServerOptions) {
	o.Log = cmp.Or(o.Log, zap.NewNop())
	stdlog, err := zap.NewStdLogAt(o.Log, zap.DebugLevel)
	if err != nil {
		stdlog = log.Default()
	}
	next := &served{ServerOptions: o, in: newHanded()}
	next.http = &http.Server{
		Handler:           o.Handler,
		ReadHeaderTimeout: o.HeaderRead,
		IdleTimeout:       o.Idle,
		MaxHeaderBytes:    o.HeaderSize,
		ErrorLog:          stdlog,
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:         func(c net.Conn, state http.ConnState) { s.changed(next, c, state) },
		Protocols:         new(http.Protocols),
		HTTP2:             forCrowds(o),
	}
	next.http.Protocols.SetHTTP1(true)
	next.http.Protocols.SetHTTP2(o.TLS != nil)
	if o.TLS != nil {
		next.http.TLSConfig, next.tls = o.TLS.Config(), o.TLS.Config() // net/http adds to its own
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	previous := s.now
	s.now = next
	s.all[next] = true
	if previous != nil {
		previous.in.Close()
		if previous.conns == 0 {
			delete(s.all, previous)
		}
	}
	s.open.allow(o.Connections)
	go func() { _ = next.http.Serve(next.in) }() // ends when next.in is closed
}

// forCrowds keeps small what an HTTP/2 connection holds for as long as it lives.
func forCrowds(o ServerOptions) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxReadFrameSize:          64 << 10, // the buffer is as long as the longest frame was; by default a MiB
		MaxEncoderHeaderTableSize: 1,        // nothing: every answer's X-Request-Id and digest would be kept
		WriteByteTimeout:          o.Stalled,
	}
}

// connKey is that of a request's connection in its context.
type connKey struct{}

// Serve accepts connections until the listener is closed; Shutdown does. It then returns http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	if !s.enter() {
		l.Close()
		return http.ErrServerClosed
	}
	defer s.accepting.Done()
	defer l.Close()
	stop := context.AfterFunc(s.open.done(), func() { lastCall(l) })
	defer stop()
	for {
		if !s.open.acquire() {
			return http.ErrServerClosed
		}
		c, err := l.Accept()
		if err != nil {
			s.open.release()
			if s.open.done().Err() != nil {
				return http.ErrServerClosed
			}
			var passing net.Error
			if errors.As(err, &passing) && !errors.Is(err, net.ErrClosed) {
				s.pause(err)
				continue
			}
			return err
		}
		s.hand(c)
	}
}

// enter counts another loop; false when there shall be none.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.accepting.Add(1)
	}
	return !s.stopped
}

// lastCall lets a listener accept what the kernel has accepted already, and nothing after it: closing it would reset those connections.
func lastCall(l net.Listener) {
	const moment = 50 * time.Millisecond
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(moment)) != nil {
		l.Close()
	}
}

// hand gives a connection to the server of the day, once it is one for HTTP.
func (s *Server) hand(c net.Conn) {
	s.mu.Lock()
	v := s.now
	s.mu.Unlock()
	proxied := v.ProxyProtocol && trusts(v.TrustedProxies, peerOf(c.RemoteAddr().String()))
	if !proxied && !s.admit(v, c) {
		return
	}
	if !proxied && v.tls == nil {
		s.deliver(v, c)
		return
	}
	s.accepting.Go(func() { s.greet(v, c, proxied) })
}

// deliver counts a connection for the server that gets it, so that Shutdown knows of it before that server does.
func (s *Server) deliver(v *served, c net.Conn) {
	for s.count(v, 1); !v.in.hand(c); s.count(v, 1) {
		s.count(v, -1)
		s.mu.Lock()
		next, closed := s.now, s.closed
		s.mu.Unlock()
		if closed || next == v {
			c.Close()
			s.released(c)
			return
		}
		v = next
	}
}

// changed counts connections out.
func (s *Server) changed(v *served, c net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		s.count(v, -1)
		s.released(c)
	}
}

// released makes room for another connection.
func (s *Server) released(c net.Conn) {
	s.clients.leave(networkOf(peerOf(c.RemoteAddr().String())))
	s.open.release()
}

// count counts connections in and out, and forgets an earlier server with its last one.
func (s *Server) count(v *served, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.conns += by
	if v.conns == 0 && v != s.now {
		delete(s.all, v)
	}
}

func (s *Server) has(v *served) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.conns
}

// Shutdown stops accepting and waits for the requests in flight, until ctx ends; those left then are cut. A connection that the kernel has
// accepted is served.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.open.close()
	s.greeted(ctx)
	s.linger(ctx)
	s.mu.Lock()
	s.closed = true
	all := make([]*served, 0, len(s.all))
	for v := range s.all {
		all = append(all, v)
	}
	s.mu.Unlock()
	errs := make([]error, len(all))
	var stopping sync.WaitGroup
	for i, v := range all {
		stopping.Go(func() { errs[i] = s.stop(ctx, v) })
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// lastRequests is how long connections may still bring a request. net/http drops one that it reads after its Shutdown has begun, and of those that
// were just accepted it has read none; every answer ends its connection by now (see Handler.Leave), so that few are left.
const lastRequests = time.Second

func (s *Server) linger(ctx context.Context) {
	const look = 5 * time.Millisecond
	for end := time.Now().Add(lastRequests); time.Now().Before(end) && ctx.Err() == nil && s.anyOpen(); {
		time.Sleep(look)
	}
}

func (s *Server) anyOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.all {
		if v.conns > 0 {
			return true
		}
	}
	return false
}

// stop ends a server. One that was handed a connection just now may not know of it yet, and takes itself for idle.
func (s *Server) stop(ctx context.Context, v *served) error {
	for {
		err := v.http.Shutdown(ctx)
		if err == nil && s.has(v) == 0 {
			return nil
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
			v.http.Close()
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// handed is a listener of connections that somebody else accepted.
type handed struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newHanded() *handed { return &handed{conns: make(chan net.Conn), closed: make(chan struct{})} }

// hand gives a connection away; false when the listener is closed.
func (h *handed) hand(c net.Conn) bool {
	select {
	case <-h.closed:
		return false
	default:
	}
	select {
	case h.conns <- c:
		return true
	case <-h.closed:
		return false
	}
}

// Accept is net.Listener's.
func (h *handed) Accept() (net.Conn, error) {
	select {
	case c := <-h.conns:
		return inletOf(c), nil
	case <-h.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (h *handed) Close() error {
	h.once.Do(func() { close(h.closed) })
	return nil
}

// Addr is net.Listener's. Nobody asks.
func (h *handed) Addr() net.Addr { return &net.TCPAddr{} }

// connections counts those that are open.
type connections struct {
	mu      sync.Mutex
	changed *sync.Cond // count, limit or over
	count   int
	limit   int // 0: none
	over    bool
	ctx     context.Context
	cancel  context.CancelFunc
}

// acquire waits for room for one more; false when there is none and close was called.
func (c *connections) acquire() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.limit > 0 && c.count >= c.limit {
		if c.over {
			return false
		}
		c.changed.Wait()
	}
	c.count++
	return true
}

func (c *connections) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count--
	c.changed.Signal()
}

func (c *connections) allow(limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.limit = limit
	c.changed.Broadcast()
}

// done is a context that ends with close.
func (c *connections) done() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ctx == nil {
		c.ctx, c.cancel = context.WithCancel(context.Background())
		if c.over {
			c.cancel()
		}
	}
	return c.ctx
}

func (c *connections) close() {
	ctx := c.done()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	c.changed.Broadcast()
	if ctx.Err() == nil {
		c.cancel()
	}
}
