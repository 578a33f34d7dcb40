package webhook

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	connectTimeout = 5 * time.Second
	lookupTimeout  = 2 * time.Second // for a name that bellbuoy does not dial itself
)

// ErrDenied is wrapped by every refusal of a [Guard].
var ErrDenied = errors.New("denied by egress")

// neverDialled is denied whatever the lists say: link-local addresses, the metadata services of
// clouds, and addresses that are not a single host.
var neverDialled = prefixes(
	"169.254.0.0/16", "fe80::/10", // link-local
	"fd00:ec2::/32", "fd20:ce::254/128", "100.100.100.200/32", "168.63.129.16/32", // AWS, GCP, Alibaba, Azure
	"0.0.0.0/8", "::/128", // unspecified: the machine itself
	"224.0.0.0/4", "ff00::/8", "255.255.255.255/32", // multicast, broadcast
)

// privateSpace is reachable only for the operator's webhooks, unless Allow names it.
var privateSpace = prefixes(
	"127.0.0.0/8", "::1/128",
	"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fec0::/10",
	"100.64.0.0/10", "192.0.0.0/24", "198.18.0.0/15", "240.0.0.0/4",
)

// GuardOptions are the rules of the configuration's egress section.
type GuardOptions struct {
	// Allow lists all addresses that may be dialled, unless it is empty. It cannot allow what
	// is always denied.
	Allow []netip.Prefix
	// Deny wins over Allow.
	Deny []netip.Prefix
	// Private is what a restricted guard allows of loopback, private space and this machine's
	// own addresses.
	Private []netip.Prefix
	// Own returns the addresses on which bellbuoy listens. It is called at each dial. nil means
	// that there are none.
	Own func() []netip.AddrPort
	// Resolver resolves names; nil means net.DefaultResolver.
	Resolver *net.Resolver
}

// Guard decides which addresses may be dialled. A nil Guard denies only what is always denied. A
// Guard is immutable and safe for concurrent use.
//
// An IPv6 address that carries an IPv4 address (mapped, NAT64, 6to4, Teredo, ISATAP) must pass as
// both. Private addresses are allowed, because the operator's receivers have them;
// [Guard.Restricted] denies them.
type Guard struct {
	allow, deny []netip.Prefix
	private     []netip.Prefix
	own         func() []netip.AddrPort
	resolver    *net.Resolver
	restricted  bool
	interfaces  func() ([]net.Addr, error) // the addresses of this machine
}

// NewGuard returns a guard with the rules of o.
func NewGuard(o GuardOptions) *Guard {
	return &Guard{
		allow:      normalized(o.Allow),
		deny:       normalized(o.Deny),
		private:    normalized(o.Private),
		own:        o.Own,
		resolver:   o.Resolver,
		interfaces: net.InterfaceAddrs,
	}
}

// Restricted returns a guard for webhooks of accounts that are limited to projects. It allows
// loopback, private addresses and those of this machine only if Private lists them.
func (g *Guard) Restricted() *Guard {
	strict := g.orNone()
	strict.restricted = true
	return &strict
}

// unrestricted returns a guard for settings of the operator.
func (g *Guard) unrestricted() *Guard {
	open := g.orNone()
	open.restricted = false
	return &open
}

func (g *Guard) orNone() Guard {
	if g == nil {
		return *NewGuard(GuardOptions{})
	}
	return *g
}

// DialContext dials for an http.Transport. It checks each address and allows 5 s for connecting.
func (g *Guard) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	open := g.orNone()
	dialer := net.Dialer{Timeout: connectTimeout, KeepAlive: 30 * time.Second, Resolver: open.resolver, ControlContext: open.Control}
	conn, err := dialer.DialContext(ctx, network, address)
	var dns *net.DNSError
	if open.restricted && errors.As(err, &dns) {
		short := *dns
		short.Server = "" // an address of the operator's network is not for limited accounts
		err = &short
	}
	return conn, err
}

// Control is for net.Dialer.ControlContext. It checks the address itself, after DNS.
func (g *Guard) Control(_ context.Context, network, address string, _ syscall.RawConn) error {
	to, err := netip.ParseAddrPort(address)
	if err != nil || !strings.HasPrefix(network, "tcp") {
		return fmt.Errorf("%w: %s is not a TCP address", ErrDenied, network)
	}
	return g.Check(to)
}

// Check returns nil if to may be dialled. Otherwise the error wraps ErrDenied and says why.
func (g *Guard) Check(to netip.AddrPort) error {
	rules := g.orNone()
	address := to.Addr().WithZone("").Unmap()
	carried := carriedIPv4(address)
	for _, a := range append([]netip.Addr{address}, carried...) {
		if why := rules.objection(netip.AddrPortFrom(a, to.Port())); why != "" {
			return fmt.Errorf("%w: %s is %s", ErrDenied, to, why)
		}
	}
	if !rules.allowed(address, carried) {
		return fmt.Errorf("%w: %s is not in its allow list", ErrDenied, to)
	}
	return nil
}

// CheckHost checks every address that host has now, and returns the first. It is for dials that
// another program makes, such as a proxy. Unless g is restricted, it is only a hint: the proxy may
// resolve another address, and a name that does not resolve here passes.
func (g *Guard) CheckHost(ctx context.Context, host string, port uint16) (netip.Addr, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip, g.Check(netip.AddrPortFrom(ip, port))
	}
	rules := g.orNone()
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	found, err := rules.resolver.LookupNetIP(ctx, "ip", host)
	if rules.restricted && (err != nil || len(found) == 0) {
		return netip.Addr{}, fmt.Errorf("%w: %s does not resolve here", ErrDenied, host)
	}
	for _, ip := range found {
		if err := g.Check(netip.AddrPortFrom(ip, port)); err != nil {
			return netip.Addr{}, err
		}
	}
	if len(found) == 0 {
		return netip.Addr{}, nil
	}
	return found[0].Unmap(), nil
}

// objection returns why a is denied always or by a list, or "" if it is not.
func (g *Guard) objection(a netip.AddrPort) string {
	ip := a.Addr()
	switch {
	case holds(neverDialled, ip):
		return "never open (link-local, metadata, unspecified or multicast)"
	case g.isOwn(a):
		return "bellbuoy's own listener"
	case holds(g.deny, ip):
		return "in its deny list"
	case g.restricted && !holds(g.private, ip) && (holds(privateSpace, ip) || g.isLocal(ip)):
		return "private, and not in egress.private"
	}
	return ""
}

// allowed reports whether Allow covers ip, or all addresses that it carries.
func (g *Guard) allowed(ip netip.Addr, carried []netip.Addr) bool {
	if len(g.allow) == 0 || holds(g.allow, ip) {
		return true
	}
	outside := func(v4 netip.Addr) bool { return !holds(g.allow, v4) }
	return len(carried) > 0 && !slices.ContainsFunc(carried, outside)
}

// isOwn reports whether bellbuoy listens on a. A listener on an unspecified address covers every
// address of this machine.
func (g *Guard) isOwn(a netip.AddrPort) bool {
	if g.own == nil {
		return false
	}
	for _, own := range g.own() {
		if own.Port() != a.Port() {
			continue
		}
		ip := own.Addr().WithZone("").Unmap()
		if ip == a.Addr() || ip.IsUnspecified() && g.isLocal(a.Addr()) {
			return true
		}
	}
	return false
}

// isLocal reports whether ip is an address of this machine. It also returns true if that is
// unknown, because a loop of bellbuoy's own events is worse than a refusal.
func (g *Guard) isLocal(ip netip.Addr) bool {
	if ip.IsLoopback() {
		return true
	}
	all, err := g.interfaces()
	if err != nil {
		return true
	}
	return slices.ContainsFunc(all, func(a net.Addr) bool {
		local, ok := a.(*net.IPNet)
		if !ok {
			return false
		}
		have, _ := netip.AddrFromSlice(local.IP)
		return have.Unmap() == ip
	})
}

func holds(list []netip.Prefix, ip netip.Addr) bool {
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}

func prefixes(list ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, s := range list {
		all[i] = netip.MustParsePrefix(s)
	}
	return all
}

// normalized converts ::ffff:a.b.c.d/n to the IPv4 prefix that it stands for.
func normalized(list []netip.Prefix) []netip.Prefix {
	all := make([]netip.Prefix, len(list))
	for i, p := range list {
		if p.Addr().Is4In6() && p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		all[i] = p.Masked()
	}
	return all
}
