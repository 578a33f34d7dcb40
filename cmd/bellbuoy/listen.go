package main

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/bellbuoy/bellbuoy/config"
)

// listeners are bellbuoy's sockets; nil if turned off.
type listeners struct {
	proxy, health, admin net.Listener
	// systemd keeps the proxy's socket open, so new connections wait for the next bellbuoy
	bySystemd bool
}

// openListeners uses the sockets that systemd passes (named proxy, health and admin by
// FileDescriptorName; any other name is the proxy's) and opens the others.
func openListeners(c *config.Config) (l listeners, err error) {
	handed, err := handedOver()
	if err != nil {
		return l, err
	}
	_, l.bySystemd = handed["proxy"]
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	for _, one := range []struct {
		into               *net.Listener
		name, key, address string
	}{
		{&l.proxy, "proxy", "listen", c.Listen},
		{&l.health, "health", "health.listen", c.Health.Listen},
		{&l.admin, "admin", "admin.listen", c.Admin.Listen},
	} {
		if one.address == "" {
			continue
		}
		if *one.into, err = handed.or(one.name, one.address); err != nil {
			return l, problemAt(c, one.key, err)
		}
	}
	return l, nil
}

// all returns the open listeners.
func (l listeners) all() []net.Listener {
	return slices.DeleteFunc([]net.Listener{l.proxy, l.health, l.admin}, func(l net.Listener) bool { return l == nil })
}

func (l listeners) close() {
	for _, one := range l.all() {
		_ = one.Close()
	}
}

// addresses returns the addresses of the open listeners.
func (l listeners) addresses() []netip.AddrPort {
	var all []netip.AddrPort
	for _, one := range l.all() {
		if a, ok := one.Addr().(*net.TCPAddr); ok {
			all = append(all, a.AddrPort())
		}
	}
	return all
}

type sockets map[string]net.Listener

func handedOver() (sockets, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("using the sockets of systemd: %w", err)
	}
	s := sockets{}
	for name, list := range named {
		for i, l := range list {
			switch {
			case l == nil:
			case (name == "health" || name == "admin") && i == 0:
				s[name] = l
			case s["proxy"] == nil:
				s["proxy"] = l // any other name, by default that of the unit
			default:
				return nil, fmt.Errorf("using the sockets of systemd: %s is one too many; name them proxy, health and admin (FileDescriptorName=)", name)
			}
		}
	}
	_ = os.Unsetenv("LISTEN_PID") // a child must not use them
	_ = os.Unsetenv("LISTEN_FDS")
	_ = os.Unsetenv("LISTEN_FDNAMES")
	return s, nil
}

func (s sockets) or(name, address string) (net.Listener, error) {
	if l, ok := s[name]; ok {
		return l, nil
	}
	return net.Listen("tcp", address)
}
