package proxy

import (
	"context"
	"crypto/tls"
	"net"
	"time"

	"go.uber.org/zap"
)

// greet reads the PROXY header and shakes hands. That a handshake takes a deep stack is why it has a goroutine of its own: one that goes on to
// serve the connection would keep that stack for as long.
func (s *Server) greet(v *served, c net.Conn, proxied bool) {
	defer context.AfterFunc(s.hurried, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if proxied {
		p, err := readProxyHeader(c, v.HeaderRead)
		if err != nil {
			v.Log.Debug("no PROXY header from a trusted proxy", zap.Stringer("peer", c.RemoteAddr()), zap.Error(err))
			c.Close()
			s.open.release()
			return
		}
		c = p
	}
	if v.tls != nil {
		c = shakeHands(c, v.tls, v.HeaderRead)
	}
	s.deliver(v, c)
}

// shakeHands returns the connection with TLS. One whose handshake failed remembers why: net/http asks it again, and says what there is to say.
func shakeHands(c net.Conn, config *tls.Config, within time.Duration) net.Conn {
	secured := tls.Server(c, config)
	if within > 0 {
		_ = c.SetDeadline(time.Now().Add(within))
	}
	if secured.Handshake() == nil {
		_ = c.SetDeadline(time.Time{})
	}
	return secured
}

// greeted waits until every connection that was accepted is with a server. Who has not said a word for a moment now never will.
func (s *Server) greeted(ctx context.Context) {
	hurrying := time.AfterFunc(lastGreeting, s.hurry)
	defer hurrying.Stop()
	defer context.AfterFunc(ctx, s.hurry)()
	s.accepting.Wait()
}

const lastGreeting = 5 * time.Second // as long as net/http waits for a first request
