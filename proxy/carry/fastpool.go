package carry

import (
	"context"
	"net"
	"slices"
	"sync"
	"time"
)

// fastPool keeps idle connections to one upstream, the last used first.
type fastPool struct {
	address string
	dialer  net.Dialer

	mu      sync.Mutex
	idle    []*fastConn
	reaping bool // a timer will call reap
	closed  bool
}

func newFastPool(host string, connect time.Duration) fastPool {
	if _, _, err := net.SplitHostPort(host); err != nil {
		host = net.JoinHostPort(trimBrackets(host), "80")
	}
	return fastPool{address: host, dialer: net.Dialer{Timeout: connect, KeepAlive: 30 * time.Second}}
}

func trimBrackets(host string) string {
	if n := len(host); n > 1 && host[0] == '[' && host[n-1] == ']' {
		return host[1 : n-1]
	}
	return host
}

// get returns a connection: an idle one on which nothing has arrived, or a new one.
func (p *fastPool) get(ctx context.Context, fresh bool) (*fastConn, error) {
	for !fresh {
		c := p.take()
		if c == nil {
			break
		}
		if time.Since(c.idleSince) < keepIdle && c.silent() {
			return c, nil
		}
		c.close()
	}
	raw, err := p.dialer.DialContext(ctx, "tcp", p.address)
	if err != nil {
		return nil, DialError{cause(ctx, err)}
	}
	return newFastConn(raw.(*net.TCPConn)), nil
}

func (p *fastPool) take() *fastConn {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	c := p.idle[n-1]
	p.idle[n-1] = nil
	p.idle = p.idle[:n-1]
	return c
}

// put keeps a connection for the next request, unless there are many.
func (p *fastPool) put(c *fastConn) {
	c.used = true
	c.idleSince = time.Now()
	c.lendBack()
	p.mu.Lock()
	if p.closed || len(p.idle) >= idlePerUpstream {
		p.mu.Unlock()
		c.close()
		return
	}
	p.idle = append(p.idle, c)
	if !p.reaping {
		p.reaping = true
		time.AfterFunc(keepIdle, p.reap)
	}
	p.mu.Unlock()
}

// release puts a connection back after a request if it may carry another, and else closes it.
func (p *fastPool) release(c *fastConn, reusable bool) {
	if c.unwatch() && reusable {
		p.put(c)
	} else {
		c.close()
	}
}

// reap closes connections that were idle for too long: the upstream has closed them, or soon will.
func (p *fastPool) reap() {
	now := time.Now()
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].idleSince) >= keepIdle {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	if p.reaping = len(p.idle) > 0; p.reaping {
		time.AfterFunc(max(keepIdle-now.Sub(p.idle[0].idleSince), time.Second), p.reap)
	}
	p.mu.Unlock()
	for _, c := range old {
		c.close()
	}
}

// close closes connections that are idle now, and those that are put back later.
func (p *fastPool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}

// ready reports whether the idle connection with a local address may carry another request.
func (p *fastPool) ready(local net.Addr) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.idle, func(c *fastConn) bool { return c.Conn.LocalAddr().String() == local.String() && c.silent() })
}
