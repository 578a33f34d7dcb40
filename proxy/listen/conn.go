package listen

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
)

// connKey is the key of a request's connection in its context.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// newConn returns a client's connection as one that can read ahead. One that is not TCP stays as it
// is.
func newConn(c net.Conn) net.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return &ReadAhead{TCPConn: c, remote: c.RemoteAddr()}
	case *proxied:
		return &ReadAhead{TCPConn: c.TCPConn, remote: c.remote, behind: true}
	}
	return c
}

// TCP is the TCP connection that a request came on, below TLS where there is TLS; nil where it is
// not known. ctx is the request's context.
func TCP(ctx context.Context) *net.TCPConn {
	switch c := below(ctx.Value(connKey{})).(type) {
	case *net.TCPConn:
		return c
	case *ReadAhead:
		return c.TCPConn
	case *proxied:
		return c.TCPConn
	}
	return nil
}

// Ahead is the connection of a request without TLS, which can be read ahead; nil for others. ctx is
// the request's context.
func Ahead(ctx context.Context) *ReadAhead {
	c, _ := ctx.Value(connKey{}).(*ReadAhead)
	return c
}

// BehindProxy reports whether a PROXY header came before the requests of a connection. Its
// client is then somebody behind the trusted proxy, not that proxy itself. ctx is the request's
// context.
func BehindProxy(ctx context.Context) bool { return behindProxy(ctx.Value(connKey{})) }

func behindProxy(conn any) bool {
	switch c := below(conn).(type) {
	case *ReadAhead:
		return c.behind
	case *proxied:
		return true
	}
	return false
}

// below is the connection that carries TLS, or conn where that is not TLS.
func below(conn any) any {
	if secured, ok := conn.(*tls.Conn); ok {
		return secured.NetConn()
	}
	return conn
}

// Peer is the IP address in a host:port; the zero one where there is none (a Unix socket).
func Peer(remote string) netip.Addr {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return ap.Addr().Unmap().WithZone("")
}

// Trusts reports whether an address is in one of the networks. The zero address is in none.
func Trusts(list []netip.Prefix, a netip.Addr) bool {
	return a.IsValid() && slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(a) })
}

// Network is the address under which a client is counted: the address itself, or of IPv6 its
// network of 64 bits, because one IPv6 host chooses the lower half of its address.
func Network(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	network, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return network.Addr()
}
