package main

import (
	"fmt"
	"net"
	"os"

	"github.com/coreos/go-systemd/v22/activation"

	"github.com/bellbuoy/bellbuoy/config"
)

// listeners are the sockets that bellbuoy answers on; nil where one is turned off.
type listeners struct {
	proxy, health net.Listener
}

// listen takes the sockets that systemd hands over (by FileDescriptorName proxy and health; a single unnamed one is the proxy's), and opens the others.
func listen(c *config.Config) (listeners, error) {
	var l listeners
	handed, err := handedOver()
	if err != nil {
		return l, err
	}
	if l.proxy, err = handed.or("proxy", c.Listen); err != nil {
		return l, fmt.Errorf("listen: %w", err)
	}
	if c.Health.Listen != "" {
		if l.health, err = handed.or("health", c.Health.Listen); err != nil {
			_ = l.proxy.Close()
			return l, fmt.Errorf("health.listen: %w", err)
		}
	}
	return l, nil
}

type sockets map[string]net.Listener

func handedOver() (sockets, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("taking the sockets of systemd: %w", err)
	}
	s := sockets{}
	for name, list := range named {
		for i, l := range list {
			switch {
			case l == nil:
			case name == "health" && i == 0:
				s["health"] = l
			case s["proxy"] == nil:
				s["proxy"] = l // whatever systemd calls it: by default the name of the unit
			default:
				return nil, fmt.Errorf("taking the sockets of systemd: %s is one too many; name them proxy and health (FileDescriptorName=)", name)
			}
		}
	}
	_ = os.Unsetenv("LISTEN_PID") // they are ours, not a child's
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
