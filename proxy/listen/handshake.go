package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"go.uber.org/zap"
	"golang.org/x/time/rate"
)

// shakeHands reads the PROXY header, makes the TLS handshake, and delivers the connection. It runs
// in a goroutine of its own because a handshake needs a deep stack, which a goroutine that went on
// to serve the connection would keep.
func (s *Server) shakeHands(v *served, c net.Conn, proxied bool) {
	defer context.AfterFunc(s.hurried, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if proxied {
		p, err := readProxyHeader(c, v.HeaderRead)
		if err != nil {
			s.refused(v, &s.warnHeader, "no PROXY header from a trusted proxy", c, err)
			c.Close()
			s.open.release()
			return
		}
		if c = p; !s.admit(v, c) {
			return
		}
	}
	if v.tls != nil {
		secured, err := secure(c, v.tls, v.HeaderRead)
		if err != nil && v.TLS.wantsClients() {
			s.refused(v, &s.warnHandshake, "TLS handshake failed; clients need a certificate", c, err)
		}
		c = secured
	}
	s.deliver(v, c)
}

// secure returns the connection with TLS. If the handshake has failed, the connection returns the
// error again to net/http, which answers as usual.
func secure(c net.Conn, config *tls.Config, within time.Duration) (*tls.Conn, error) {
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

// refused logs a connection that was closed because of what its peer sent: each at debug level, and
// one in a minute as a warning. A peer that hangs up without a byte has only checked whether the
// port is open, which is no reason to warn.
func (s *Server) refused(v *served, sometimes *rate.Sometimes, what string, c net.Conn, err error) {
	level := zap.DebugLevel
	if !errors.Is(err, io.EOF) {
		sometimes.Do(func() { level = zap.WarnLevel })
	}
	v.Log.Log(level, what, zap.Stringer("peer", c.RemoteAddr()), zap.Error(err))
}
