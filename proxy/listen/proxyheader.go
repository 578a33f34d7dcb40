package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// proxied is a TCP connection that began with a PROXY header. It embeds the connection, so that the
// kernel can still move bytes to it.
type proxied struct {
	*net.TCPConn
	remote net.Addr
}

// RemoteAddr returns the address of the client, or of the proxy if the header names none.
func (p *proxied) RemoteAddr() net.Addr { return p.remote }

var errProxyHeader = errors.New("not a PROXY header")

const (
	maxProxyV1 = 107     // bytes, with the line's end
	maxProxyV2 = 4 << 10 // bytes behind the fixed part
)

var proxyV2 = []byte("\r\n\r\n\x00\r\nQUIT\n")

// readProxyHeader reads a PROXY header of version 1 or 2, and no byte after it. A connection that
// is not TCP has none.
func readProxyHeader(c net.Conn, within time.Duration) (net.Conn, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return c, nil
	}
	if within > 0 {
		_ = c.SetReadDeadline(time.Now().Add(within))
		defer c.SetReadDeadline(time.Time{})
	}
	remote, err := proxyHeader(c)
	if err != nil {
		return nil, err
	}
	if !remote.IsValid() {
		return &proxied{tcp, c.RemoteAddr()}, nil
	}
	return &proxied{tcp, net.TCPAddrFromAddrPort(remote)}, nil
}

// proxyHeader returns the address of the client, or the zero one if the header names none (a health
// check of the proxy itself).
func proxyHeader(r io.Reader) (netip.AddrPort, error) {
	start := make([]byte, len(proxyV2))
	if _, err := io.ReadFull(r, start); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	if bytes.Equal(start, proxyV2) {
		return proxyHeaderV2(r)
	}
	if !bytes.HasPrefix(start, []byte("PROXY ")) {
		return netip.AddrPort{}, errProxyHeader
	}
	return proxyHeaderV1(r, start)
}

func proxyHeaderV1(r io.Reader, line []byte) (netip.AddrPort, error) {
	one := make([]byte, 1)
	for !bytes.HasSuffix(line, []byte("\r\n")) {
		if len(line) == maxProxyV1 {
			return netip.AddrPort{}, errProxyHeader
		}
		if _, err := io.ReadFull(r, one); err != nil {
			return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxyHeader, err)
		}
		line = append(line, one[0])
	}
	f := strings.Split(strings.TrimSuffix(string(line), "\r\n"), " ")
	if f[1] == "UNKNOWN" {
		return netip.AddrPort{}, nil
	}
	if len(f) != 6 || (f[1] != "TCP4" && f[1] != "TCP6") {
		return netip.AddrPort{}, errProxyHeader
	}
	a, err := netip.ParseAddr(f[2])
	port, portErr := strconv.ParseUint(f[4], 10, 16)
	if err != nil || portErr != nil || a.Zone() != "" {
		return netip.AddrPort{}, errProxyHeader
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), nil
}

func proxyHeaderV2(r io.Reader) (netip.AddrPort, error) {
	var fixed [4]byte // version and command, family and protocol, length
	if _, err := io.ReadFull(r, fixed[:]); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	length := int(binary.BigEndian.Uint16(fixed[2:]))
	if fixed[0]>>4 != 2 || length > maxProxyV2 {
		return netip.AddrPort{}, errProxyHeader
	}
	rest := make([]byte, length)
	if _, err := io.ReadFull(r, rest); err != nil {
		return netip.AddrPort{}, fmt.Errorf("%w: %w", errProxyHeader, err)
	}
	const local, proxy = 0, 1
	switch command := fixed[0] & 0xf; {
	case command == local:
		return netip.AddrPort{}, nil
	case command != proxy:
		return netip.AddrPort{}, errProxyHeader
	}
	return proxySource(fixed[1], rest)
}

// proxySource returns the source address of a version 2 header, or the zero one for families other
// than TCP over IP.
func proxySource(family byte, addresses []byte) (netip.AddrPort, error) {
	size := 0
	switch family {
	case 0x11:
		size = 4
	case 0x21:
		size = 16
	default:
		return netip.AddrPort{}, nil
	}
	if len(addresses) < 2*size+4 {
		return netip.AddrPort{}, errProxyHeader
	}
	a, _ := netip.AddrFromSlice(addresses[:size])
	return netip.AddrPortFrom(a.Unmap(), binary.BigEndian.Uint16(addresses[2*size:])), nil
}
