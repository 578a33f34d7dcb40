package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// errLoop is what an upstream's url is when bellbuoy itself answers there: each request would come back, again and again, until no
// connection is left.
var errLoop = errors.New("is where bellbuoy itself listens; it must be the registry's own address")

// checkAddresses refuses upstreams at addresses that bellbuoy listens on, and addresses that its guard lets nobody call.
// Only addresses that are written as such are looked at: what a name stands for can change.
func checkAddresses(c *config.Config, guard *webhook.Guard, own []netip.AddrPort) error {
	var found config.Problems
	for i := range c.Upstreams {
		if loops(c.Upstreams[i].URL, own) {
			found = append(found, c.Problem(fmt.Sprintf("upstreams[%d].url", i), errLoop.Error()))
		}
	}
	check := func(path, target string) {
		if to, ok := addressOf(target); ok {
			if err := guard.Check(to); err != nil {
				found = append(found, c.Problem(path, err.Error()))
			}
		}
	}
	for i := range c.Webhooks {
		check(fmt.Sprintf("webhooks[%d].url", i), c.Webhooks[i].URL.Reveal())
	}
	for i := range c.Scanners {
		check(fmt.Sprintf("scanners[%d].url", i), c.Scanners[i].URL.Reveal())
	}
	check("identity.verify.jwks_url", c.Identity.Verify.JWKSURL.Reveal())
	if len(found) == 0 {
		return nil
	}
	return found
}

// declaredBy are the addresses that a configuration says bellbuoy listens on. systemd may hand over others.
func declaredBy(c *config.Config) []netip.AddrPort {
	return declared(c.Listen, c.Health.Listen, c.Admin.Listen)
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

// addressOf is where a URL leads; false: its host is a name other than localhost, or there is no URL.
func addressOf(target string) (netip.AddrPort, bool) {
	u, err := url.Parse(target)
	if err != nil {
		return netip.AddrPort{}, false
	}
	digits, host := u.Port(), u.Hostname()
	if digits == "" {
		digits = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, ipErr := netip.ParseAddr(host)
	port, portErr := strconv.ParseUint(digits, 10, 16)
	return netip.AddrPortFrom(ip, uint16(port)), ipErr == nil && portErr == nil
}

// loops reports whether a URL leads to one of the addresses. A name other than localhost is taken for somebody else's.
func loops(target string, own []netip.AddrPort) bool {
	to, ok := addressOf(target)
	if !ok {
		return false
	}
	ip := to.Addr()
	for _, a := range own {
		at := a.Addr().Unmap()
		here := at == ip.Unmap() || at.IsUnspecified() && (ip.IsLoopback() || ip.IsUnspecified())
		if here && a.Port() == to.Port() {
			return true
		}
	}
	return false
}
