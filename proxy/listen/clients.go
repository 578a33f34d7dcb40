package listen

import (
	"net"
	"net/netip"
	"sync"

	"go.uber.org/zap"
)

// clientCount counts the open connections of each client. Its zero value is ready to use. It has no
// more entries than there are connections.
type clientCount struct {
	mu   sync.Mutex
	open map[netip.Addr]int
}

// enter counts another connection of a client, and reports whether it may have that. A most of 0 is
// no limit.
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

// leave counts the end of a connection that entered.
func (n *clientCount) leave(client netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.open[client]--; n.open[client] <= 0 {
		delete(n.open, client)
	}
}

// mostFor returns how many connections the client of c may have. 0 is no limit.
func (v *served) mostFor(c net.Conn) int {
	if !behindProxy(c) && Trusts(v.TrustedProxies, Peer(c.RemoteAddr().String())) {
		return 0
	}
	return v.ConnectionsPerClient
}

// admit counts a connection for its client, or closes it if the client has as many as it may. The
// PROXY header must have been read before.
func (s *Server) admit(v *served, c net.Conn) bool {
	if s.clients.enter(Network(Peer(c.RemoteAddr().String())), v.mostFor(c)) {
		return true
	}
	c.Close()
	s.open.release()
	s.warnClients.Do(func() {
		v.Log.Warn("connections closed: their client has limits.connections_per_client open", zap.Stringer("client", c.RemoteAddr()))
	})
	return false
}
