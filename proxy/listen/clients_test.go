package listen

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// A client may have a number of connections. Others are not delayed by it, and a connection that it
// closes can be opened again.
func TestConnectionsPerClient(t *testing.T) {
	const get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, c := range map[string]struct {
		options     Options
		mine, yours string // sent before the first request
		yourAddress string
	}{
		"by address":      {Options{}, "", "", "127.0.0.2"},
		"by PROXY header": {Options{ProxyProtocol: true, TrustedProxies: loopback}, "PROXY TCP4 10.1.1.1 1.1.1.1 1 2\r\n", "PROXY TCP4 10.1.1.2 1.1.1.1 1 2\r\n", "127.0.0.1"},
		"IPv6 networks": {Options{ProxyProtocol: true, TrustedProxies: loopback}, "PROXY TCP6 2001:db8::%x ::1 1 2\r\n", "PROXY TCP6 2001:db8:0:1::%x ::1 1 2\r\n",
			"127.0.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			o := c.options
			o.Handler, o.ConnectionsPerClient, o.HeaderRead = names, 2, patience
			s, address := serving(t, o)
			n := 0
			dial := func(from, header string) (net.Conn, error) {
				n++
				if from == "" {
					from = "127.0.0.1"
				}
				d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
				conn, err := d.Dial("tcp", address)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { conn.Close() })
				if name == "IPv6 networks" {
					header = fmt.Sprintf(header, n)
				}
				_ = conn.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(conn, header+get)
				_, err = http.ReadResponse(bufio.NewReader(conn), nil)
				return conn, err
			}
			first, err := dial("", c.mine)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := dial("", c.mine); err != nil {
				t.Fatal(err)
			}
			if _, err := dial("", c.mine); err == nil {
				t.Error("a third connection is served")
			}
			if _, err := dial(c.yourAddress, c.yours); err != nil {
				t.Errorf("another client is held up: %v", err)
			}
			first.Close()
			for deadline := time.Now().Add(patience); s.clients.total() > 2 && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if _, err := dial("", c.mine); err != nil {
				t.Errorf("a connection that was given back cannot be had again: %v", err)
			}
		})
	}
}

// A trusted proxy without the PROXY protocol has many clients: it is not limited as one client.
func TestTrustedProxiesAreManyClients(t *testing.T) {
	_, address := serving(t, Options{Handler: names, ConnectionsPerClient: 1, TrustedProxies: loopback})
	for range 3 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
		if _, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil {
			t.Errorf("a trusted proxy's connection: %v", err)
		}
	}
}

// total returns the number of connections that are counted.
func (n *clientCount) total() (sum int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, open := range n.open {
		sum += open
	}
	return sum
}
