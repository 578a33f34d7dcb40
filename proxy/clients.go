package proxy

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"go.uber.org/zap"
)

// clientCount counts the open connections of each client. Its zero value is ready to use; it holds no more entries than
// there are connections.
type clientCount struct {
	mu   sync.Mutex
	open map[netip.Addr]int
}

// enter counts another connection of a client, unless it has most already. 0 is no limit.
func (n *clientCount) enter(client netip.Addr, most int) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if most > 0 && n.open[client] >= most {
		return false
	}
	if n.open == nil {
		n.open = map[netip.Addr]int{}
	}
	n.open[client]++
	return true
}

// leave counts a connection that entered out.
func (n *clientCount) leave(client netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open[client]--; n.open[client] <= 0 {
		delete(n.open, client)
	}
}

// ClientNetwork is the address under which the client of a request is counted: the peer's, or where the peer is a trusted
// proxy the one that its headers name; of IPv6 the network of 64 bits. The zero one where that is no IP address.
func ClientNetwork(r *http.Request, trusted []netip.Prefix) netip.Addr {
	g := generation{Options: Options{TrustedProxies: trusted}}
	client, err := netip.ParseAddr(g.seen(r).address)
	if err != nil {
		return netip.Addr{}
	}
	return networkOf(client)
}

// networkOf is the address under which a client is counted: IPv6 clients choose the lower half of theirs.
func networkOf(a netip.Addr) netip.Addr {
	if !a.Is6() {
		return a
	}
	network, err := a.Prefix(64)
	if err != nil {
		return a
	}
	return network.Addr()
}

// mostFor is how many connections the client of c may have; 0 is no limit.
func (v *served) mostFor(c net.Conn) int {
	if !behindProxy(c) && trusts(v.TrustedProxies, peerOf(c.RemoteAddr().String())) {
		return 0
	}
	return v.ConnectionsPerClient
}

// admit counts a connection for its client, or closes it where the client has as many as it may. Its address must be known.
func (s *Server) admit(v *served, c net.Conn) bool {
	if s.clients.enter(networkOf(peerOf(c.RemoteAddr().String())), v.mostFor(c)) {
		return true
	}
	c.Close()
	s.open.release()
	if s.warned.first("connections per client", time.Now()) {
		v.Log.Warn("connections closed: their client has limits.connections_per_client open", zap.Stringer("client", c.RemoteAddr()))
	}
	return false
}
