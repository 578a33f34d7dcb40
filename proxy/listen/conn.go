package listen

import (
	"context"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
)

// connKey is the key of the connection in the context of a request.
type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// newConn returns a ReadAhead of a TCP connection, and any other connection as it is.
func newConn(c net.Conn) net.Conn {
	switch c := c.(type) {
	case *net.TCPConn:
		return &ReadAhead{TCPConn: c, remote: c.RemoteAddr()}
	case *proxied:
		return &ReadAhead{TCPConn: c.TCPConn, remote: c.remote, behind: true}
	}
	return c
}

// TCP returns the TCP connection of a request, below TLS if there is TLS, or nil. ctx is the
// context of the request.
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

// Ahead returns the connection of a request without TLS, which can read ahead, or nil. ctx is the
// context of the request.
func Ahead(ctx context.Context) *ReadAhead {
	c, _ := ctx.Value(connKey{}).(*ReadAhead)
	return c
}

// BehindProxy reports whether the connection of a request began with a PROXY header. Its client is
// then a client of the trusted proxy, not that proxy itself. ctx is the context of the request.
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

// below returns the connection that carries TLS, or conn if that is not TLS.
func below(conn any) any {
	if secured, ok := conn.(*tls.Conn); ok {
		return secured.NetConn()
	}
	return conn
}

// Peer returns the IP address in a host:port, or the zero Addr if there is none (a Unix socket).
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

// Network returns the address under which a client is counted: an IPv4 address itself, and of an
// IPv6 address the network of 64 bits, because an IPv6 host chooses the lower half of its address.
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
