package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// errSelfLoop is the problem of an upstream's url at which bellbuoy itself answers: each request
// would come back until no connection is left.
var errSelfLoop = errors.New("is an address on which bellbuoy itself listens; it must be the registry's address")

// checkAddresses refuses upstreams at addresses that bellbuoy listens on, and webhooks at addresses
// that the guard denies. It checks only IP addresses and localhost, because the address of a name
// can change.
func checkAddresses(c *config.Config, guard *webhook.Guard, own []netip.AddrPort) error {
	var found config.Problems
	for i := range c.Upstreams {
		if loops(c.Upstreams[i].URL, own) {
			found = append(found, c.Problem(fmt.Sprintf("upstreams[%d].url", i), errSelfLoop.Error()))
		}
	}
	check := func(path, target string) {
		if to, ok := webhook.AddressOf(target); ok {
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

// declaredBy returns the configured addresses on which bellbuoy listens. systemd may pass others.
func declaredBy(c *config.Config) []netip.AddrPort {
	return declared(c.Listen, c.Health.Listen, c.Admin.Listen)
}

// declared returns the addresses that are written as an IP address or as a port alone.
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

// loops reports whether a URL leads to one of the addresses. It treats a name other than localhost
// as another machine.
func loops(target string, own []netip.AddrPort) bool {
	to, ok := webhook.AddressOf(target)
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
