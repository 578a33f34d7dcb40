package webhook

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
)

// Reach connects to the receiver's host, or to the proxy before it, and where the receiver speaks TLS shakes hands with it. It
// sends no request. The error shows no URL.
func (c *Client) Reach(ctx context.Context) error {
	if err := c.route.check(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	dial, config := c.transport.DialContext, c.transport.TLSClientConfig
	c.mu.Unlock()
	if c.route.proxy != nil {
		conn, err := dial(ctx, "tcp", withPort(c.route.proxy))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	conn, err := dial(ctx, "tcp", withPort(c.url))
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.url.Scheme != "https" {
		return nil
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = c.url.Hostname()
	}
	return tls.Client(conn, config).HandshakeContext(ctx)
}

// withPort is the address of a URL for a dial.
func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}
