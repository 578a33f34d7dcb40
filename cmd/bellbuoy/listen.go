package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
	systemd "github.com/coreos/go-systemd/v22/daemon"

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
	passed, err := systemdListeners()
	if err != nil {
		return l, err
	}
	_, l.bySystemd = passed["proxy"]
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
		if *one.into, err = passed.orListen(one.name, one.address); err != nil {
			return l, problemAt(c, one.key, listenError(err))
		}
	}
	return l, nil
}

// listenError adds what to do about an address that is taken or needs a privilege.
func listenError(err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; end the program that listens there, or choose another address", err)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("%w; a port below 1024 needs CAP_NET_BIND_SERVICE", err)
	}
	return err
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

// passedListeners are the listeners that systemd passed, by name.
type passedListeners map[string]net.Listener

func systemdListeners() (passedListeners, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("using the sockets of systemd: %w", err)
	}
	passed := passedListeners{}
	for name, list := range named {
		for i, l := range list {
			switch {
			case l == nil:
			case (name == "health" || name == "admin") && i == 0:
				passed[name] = l
			case passed["proxy"] == nil:
				passed["proxy"] = l // any other name, by default that of the unit
			default:
				return nil, fmt.Errorf("using the sockets of systemd: %s is one too many; name them proxy, health and admin (FileDescriptorName=)", name)
			}
		}
	}
	_ = os.Unsetenv("LISTEN_PID") // a child process must not use the sockets
	_ = os.Unsetenv("LISTEN_FDS")
	_ = os.Unsetenv("LISTEN_FDNAMES")
	return passed, nil
}

// orListen returns the listener of that name, or opens one at address.
func (p passedListeners) orListen(name, address string) (net.Listener, error) {
	if l, ok := p[name]; ok {
		return l, nil
	}
	return net.Listen("tcp", address)
}

// tellSystemd tells the systemd that started bellbuoy, if one did, that bellbuoy serves.
func tellSystemd() error {
	_, err := systemd.SdNotify(true, systemd.SdNotifyReady)
	return err
}
