package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"github.com/bellbuoy/bellbuoy/config"
)

// errLoop is what an upstream's url is when bellbuoy itself answers there: each request would come back, again and again, until no
// connection is left.
var errLoop = errors.New("is where bellbuoy itself listens; it must be the registry's own address")

// checkLoops refuses upstreams at addresses that bellbuoy listens on.
func checkLoops(c *config.Config, own []netip.AddrPort) error {
	for i := range c.Upstreams {
		if loops(c.Upstreams[i].URL, own) {
			return problemAt(c, fmt.Sprintf("upstreams[%d].url", i), errLoop)
		}
	}
	return nil
}

// loopWarnings are for who has no listeners, as check: systemd may hand over others than the file names.
func loopWarnings(c *config.Config) (w config.Warnings) {
	own := declared(c.Listen, c.Health.Listen, c.Admin.Listen)
	for i := range c.Upstreams {
		if loops(c.Upstreams[i].URL, own) {
			w = append(w, c.Warning(fmt.Sprintf("upstreams[%d].url", i), errLoop.Error()))
		}
	}
	return w
}

// declared are the addresses of the file that are written as IP addresses, or as a port alone.
func declared(listen ...string) (all []netip.AddrPort) {
	for _, text := range listen {
		host, digits, err := net.SplitHostPort(text)
		if err != nil {
			continue
		}
		if host == "" {
			host = "::"
		}
		port, portErr := strconv.ParseUint(digits, 10, 16)
		if ip, err := netip.ParseAddr(host); err == nil && portErr == nil {
			all = append(all, netip.AddrPortFrom(ip, uint16(port)))
		}
	}
	return all
}

// loops tells whether a URL leads to one of the addresses. A name other than localhost is taken for somebody else's.
func loops(target string, own []netip.AddrPort) bool {
	u, err := url.Parse(target)
	if err != nil {
		return false
	}
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	host := u.Hostname()
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	for _, a := range own {
		at := a.Addr().Unmap()
		here := at == ip.Unmap() || at.IsUnspecified() && (ip.IsLoopback() || ip.IsUnspecified())
		if here && strconv.Itoa(int(a.Port())) == port {
			return true
		}
	}
	return false
}
