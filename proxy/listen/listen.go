// Package listen accepts the connections of clients, and serves their requests with net/http. In
// front of net/http it adds what a proxy needs: limits, PROXY headers and a smooth shutdown.
//
//	Server          accepts connections, counts them, and hands each to an http.Server
//	                (listen.go, connections.go and clients.go: the limits)
//	before that     the PROXY header (proxyheader.go) and the TLS handshake (handshake.go,
//	                certificates.go), in a goroutine of its own
//	Configure       replaces the options for later connections (handover.go)
//	Shutdown        serves what was accepted, then stops (shutdown.go)
//
// A handler finds the connection of its request by the context of the request: TCP, Ahead and
// BehindProxy (conn.go). ReadAhead (readahead.go) lets it read a body in chunks with few system
// calls.
package listen

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
	"golang.org/x/time/rate"
)

// Options configure a Server. A limit of zero is none.
type Options struct {
	Handler http.Handler
	// HeaderRead is how long a client may take for a header; also for a PROXY header, and for a
	// TLS handshake.
	HeaderRead time.Duration
	// Idle is how long a connection is kept without a request.
	Idle time.Duration
	// Stalled is how long an HTTP/2 connection may take none of the bytes that wait for it.
	Stalled time.Duration
	// HeaderSize is the longest header, in bytes.
	HeaderSize int
	// Connections is how many connections are served at a time; more wait in the kernel's
	// queue.
	Connections int
	// ConnectionsPerClient is how many connections a client may have at a time; more are
	// closed. Clients are told apart by Network. TrustedProxies have no such limit, because
	// many clients share their connections.
	ConnectionsPerClient int
	// TLS are the certificates. Nil: plain HTTP/1.1; with it, HTTP/2 too.
	TLS *Certificates
	// ProxyProtocol expects a PROXY header on every connection from TrustedProxies, and none on
	// others.
	ProxyProtocol  bool
	TrustedProxies []netip.Prefix
	// Log gets warnings, and the messages of net/http at debug level. Nil: nothing is logged.
	Log *zap.Logger
}

// Server accepts connections and serves them. Its options can be replaced while it runs: an open
// connection keeps its options, so that none is dropped.
type Server struct {
	open    connections
	clients clientCount

	accepting sync.WaitGroup  // the loops of Serve, and connections before their handshake is over
	hurried   context.Context // ends when Shutdown no longer waits for such connections
	hurry     context.CancelFunc

	// Each logs a warning once a minute.
	warnAccept, warnClients, warnHeader, warnHandshake rate.Sometimes

	mu      sync.Mutex
	now     *served
	all     map[*served]bool // the current one, and earlier ones that still have connections
	stopped bool             // no more loops
	closed  bool             // no more connections
}

// served is an http.Server with its options.
type served struct {
	Options
	http  *http.Server
	tls   *tls.Config // for handshakes; nil: plain HTTP
	in    *handover
	conns int // delivered to it and not yet closed; guarded by the Server's mu
}

// New returns a Server that serves nothing yet.
func New(o Options) *Server {
	s := &Server{all: map[*served]bool{}}
	for _, warn := range []*rate.Sometimes{&s.warnAccept, &s.warnClients, &s.warnHeader, &s.warnHandshake} {
		warn.Interval = time.Minute
	}
	s.hurried, s.hurry = context.WithCancel(context.Background())
	s.open.changed = sync.NewCond(&s.open.mu)
	s.Configure(o)
	return s
}

// Configure replaces the options for later connections. The caller must not turn TLS on or off.
func (s *Server) Configure(o Options) {
	o.Log = cmp.Or(o.Log, zap.NewNop())
	stdlog, err := zap.NewStdLogAt(o.Log, zap.DebugLevel)
	if err != nil {
		stdlog = log.Default()
	}
	next := &served{Options: o, in: newHandover()}
	next.http = &http.Server{
		Handler:           o.Handler,
		ReadHeaderTimeout: o.HeaderRead,
		IdleTimeout:       o.Idle,
		MaxHeaderBytes:    o.HeaderSize,
		ErrorLog:          stdlog,
		ConnContext:       withConn,
		ConnState:         func(c net.Conn, state http.ConnState) { s.changed(next, c, state) },
		Protocols:         new(http.Protocols),
		HTTP2:             smallHTTP2(o),
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

// smallHTTP2 returns options that keep the memory of an HTTP/2 connection small.
func smallHTTP2(o Options) *http.HTTP2Config {
	return &http.HTTP2Config{
		MaxReadFrameSize:          64 << 10, // the buffer stays as long as the longest frame; by default a MiB
		MaxEncoderHeaderTableSize: 1,        // none: it would keep every answer's X-Request-Id and digest
		WriteByteTimeout:          o.Stalled,
	}
}

// Serve accepts connections until Shutdown, and then returns http.ErrServerClosed.
func (s *Server) Serve(l net.Listener) error {
	if !s.enter() {
		l.Close()
		return http.ErrServerClosed
	}
	defer s.accepting.Done()
	defer l.Close()
	stop := context.AfterFunc(s.open.done(), func() { drain(l) })
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
		s.accepted(c)
	}
}

// enter counts another loop of Serve. It reports false if the Server has stopped.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopped {
		s.accepting.Add(1)
	}
	return !s.stopped
}

// accepted delivers a connection to the current http.Server, after its PROXY header and handshake.
func (s *Server) accepted(c net.Conn) {
	s.mu.Lock()
	v := s.now
	s.mu.Unlock()
	proxied := v.ProxyProtocol && Trusts(v.TrustedProxies, Peer(c.RemoteAddr().String()))
	if !proxied && !s.admit(v, c) {
		return
	}
	if !proxied && v.tls == nil {
		s.deliver(v, c)
		return
	}
	s.accepting.Go(func() { s.shakeHands(v, c, proxied) })
}

// deliver makes an http.Server serve a connection. It counts the connection first, so that Shutdown
// waits for it even if the http.Server has not accepted it yet.
func (s *Server) deliver(v *served, c net.Conn) {
	for s.count(v, 1); !v.in.give(c); s.count(v, 1) {
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

// changed is called for each change of the state of a connection. It counts those that have ended.
func (s *Server) changed(v *served, c net.Conn, state http.ConnState) {
	if state == http.StateClosed || state == http.StateHijacked {
		s.count(v, -1)
		s.released(c)
	}
}

// released makes room for another connection.
func (s *Server) released(c net.Conn) {
	s.clients.leave(Network(Peer(c.RemoteAddr().String())))
	s.open.release()
}

// count adds to the connections of a server. An earlier server is removed with its last connection.
func (s *Server) count(v *served, by int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v.conns += by
	if v.conns == 0 && v != s.now {
		delete(s.all, v)
	}
}

// has returns how many connections a server has.
func (s *Server) has(v *served) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return v.conns
}

// acceptPause is the wait before the next try to accept a connection.
const acceptPause = 20 * time.Millisecond

// pause waits after accepting has failed, mostly because there are no file descriptors left.
func (s *Server) pause(err error) {
	s.warnAccept.Do(func() {
		s.mu.Lock()
		log := s.now.Log
		s.mu.Unlock()
		log.Warn("accepting connections fails: clients wait", zap.Error(err))
	})
	time.Sleep(acceptPause)
}
