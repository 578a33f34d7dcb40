package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
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
			s.refused(v, "no PROXY header from a trusted proxy", c, err)
			c.Close()
			s.open.release()
			return
		}
		if c = p; !s.admit(v, c) {
			return
		}
	}
	if v.tls != nil {
		secured, err := shakeHands(c, v.tls, v.HeaderRead)
		if err != nil && v.TLS.wantClients() {
			s.refused(v, "TLS handshake failed where clients need a certificate", c, err)
		}
		c = secured
	}
	s.deliver(v, c)
}

// shakeHands returns the connection with TLS. One whose handshake failed remembers why: net/http asks it again, and says what there is to say.
func shakeHands(c net.Conn, config *tls.Config, within time.Duration) (*tls.Conn, error) {
	secured := tls.Server(c, config)
	if within > 0 {
		_ = c.SetDeadline(time.Now().Add(within))
	}
	err := secured.Handshake()
	if err == nil {
		_ = c.SetDeadline(time.Time{})
	}
	return secured, err
}

// refused tells of a connection that was closed for what its peer did not say: once a minute so that somebody sees it, and of each for who looks closely.
// Who hangs up without a word only wanted to know whether the port is open.
func (s *Server) refused(v *served, what string, c net.Conn, err error) {
	level := zap.DebugLevel
	if !errors.Is(err, io.EOF) && s.warned.first(what, time.Now()) {
		level = zap.WarnLevel
	}
	v.Log.Log(level, what, zap.Stringer("peer", c.RemoteAddr()), zap.Error(err))
}

// greeted waits until every connection that was accepted is with a server. Who has not said a word for a moment now never will.
func (s *Server) greeted(ctx context.Context) {
	hurrying := time.AfterFunc(lastGreeting, s.hurry)
	defer hurrying.Stop()
	defer context.AfterFunc(ctx, s.hurry)()
	s.accepting.Wait()
}

const lastGreeting = 5 * time.Second // as long as net/http waits for a first request
