package webhook

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/resolver"
)

func addrPort(s string) netip.AddrPort { return netip.MustParseAddrPort(s) }

func TestAlwaysDenied(t *testing.T) {
	open := NewGuard(GuardOptions{Allow: prefixes("0.0.0.0/0", "::/0")})
	for _, to := range []string{
		"169.254.169.254:80", "169.254.0.1:1", "169.254.255.255:443", "[fe80::1]:80", "[fe80::1%eth0]:80", "[febf::1]:80",
		"[fd00:ec2::254]:80", "[fd00:ec2::23]:80", "[fd00:ec2:1::1]:80", "[fd20:ce::254]:80", "100.100.100.200:80", "168.63.129.16:80",
		"0.0.0.0:80", "0.1.2.3:80", "[::]:80", "224.0.0.1:80", "239.255.255.255:80", "255.255.255.255:80", "[ff02::1]:80",
		"[::ffff:169.254.169.254]:80", "[::ffff:0.0.0.0]:80", "[::169.254.169.254]:80", "[::ffff:0:169.254.169.254]:80",
		"[64:ff9b::169.254.169.254]:80", "[64:ff9b::a9fe:a9fe]:80", "[64:ff9b::100.100.100.200]:80",
		"[64:ff9b:1::169.254.169.254]:80",       // /96
		"[64:ff9b:1:a9fe:a9:fe00::]:80",         // /48
		"[64:ff9b:1:12a9:fe:a9fe::]:80",         // /56
		"[64:ff9b:1:1234:a9:fea9:fe00::]:80",    // /64
		"[64:ff9b:1:1234:5678:9:a9fe:a9fe]:80",  // /96 below another prefix
		"[2002:a9fe:a9fe::1]:80",                // 6to4
		"[2606:4700::5efe:a9fe:a9fe]:80",        // ISATAP
		"[2606:4700::200:5efe:a9fe:a9fe]:80",    // ISATAP, globally unique
		"[2001:0:a9fe:a9fe:0:1234:f7f7:f7f7]:1", // Teredo, by its server
		"[2001:0:808:808:0:1234:5601:5601]:80",  // Teredo, by its client: inverted
	} {
		for name, g := range map[string]*Guard{"nil": nil, "all allowed": open, "restricted": open.Restricted()} {
			if err := g.Check(addrPort(to)); !errors.Is(err, ErrDenied) {
				t.Errorf("%s: %s is open: %v", name, to, err)
			}
		}
	}
}

func TestPublicIsOpen(t *testing.T) {
	for _, to := range []string{
		"8.8.8.8:443", "169.253.1.1:80", "168.63.129.17:80", "100.100.100.201:80", "[2606:4700::1111]:443", "[::ffff:8.8.8.8]:443",
		"[64:ff9b::8.8.8.8]:443", "[64:ff9b:1::8.8.8.8]:443", "[64:ff9b:1:0808:8:800::]:443", "[2002:808:808::1]:443",
		"[2001:0:808:808:0:1234:f7f7:f7f7]:443",
	} {
		for name, g := range map[string]*Guard{"nil": nil, "empty": NewGuard(GuardOptions{})} {
			if err := g.Check(addrPort(to)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestAllowAndDeny(t *testing.T) {
	for _, test := range []struct {
		name        string
		allow, deny string
		to          string
		open        bool
	}{
		{"private is open by default", "", "", "10.1.2.3:80", true},
		{"loopback is open by default", "", "", "127.0.0.1:9000", true},
		{"denied", "", "10.0.0.0/8", "10.1.2.3:80", false},
		{"beside the denied", "", "10.0.0.0/8", "11.1.2.3:80", true},
		{"denied, mapped", "", "10.0.0.0/8", "[::ffff:10.1.2.3]:80", false},
		{"denied, NAT64", "", "10.0.0.0/8", "[64:ff9b::10.1.2.3]:80", false},
		{"denied, 6to4", "", "10.0.0.0/8", "[2002:a01:203::]:80", false},
		{"denied, written as mapped", "", "::ffff:10.0.0.0/104", "10.1.2.3:80", false},
		{"denied, host bits set", "", "10.9.9.9/8", "10.1.2.3:80", false},
		{"denied with a zone", "", "fd00::/8", "[fd00::1%eth0]:80", false},
		{"outside the allow list", "10.0.0.0/8", "", "8.8.8.8:80", false},
		{"in the allow list", "10.0.0.0/8", "", "10.1.2.3:80", true},
		{"in the allow list, mapped", "10.0.0.0/8", "", "[::ffff:10.1.2.3]:80", true},
		{"in the allow list by NAT64", "10.0.0.0/8", "", "[64:ff9b::10.1.2.3]:80", true},
		{"only Teredo's server allowed", "10.0.0.0/8", "", "[2001:0:a01:203::f7f7:f7f7]:80", false},
		{"deny beats allow", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3:80", false},
		{"deny beats a narrower allow", "10.1.2.3/32", "10.0.0.0/8", "10.1.2.3:80", false},
		{"an IPv4 list allows no IPv6", "0.0.0.0/0", "", "[2606:4700::1111]:80", false},
		{"allow cannot open metadata", "169.254.0.0/16", "", "169.254.169.254:80", false},
	} {
		g := NewGuard(GuardOptions{Allow: list(test.allow), Deny: list(test.deny)})
		if err := g.Check(addrPort(test.to)); (err == nil) != test.open || err != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func list(prefix string) []netip.Prefix {
	if prefix == "" {
		return nil
	}
	return prefixes(prefix)
}

func TestRestricted(t *testing.T) {
	for _, test := range []struct {
		private []string
		to      string
		open    bool
	}{
		{nil, "8.8.8.8:443", true},
		{nil, "[2606:4700::1111]:443", true},
		{nil, "127.0.0.1:80", false},
		{nil, "[::1]:80", false},
		{nil, "[::ffff:127.0.0.1]:80", false},
		{nil, "10.1.2.3:80", false},
		{nil, "172.16.0.1:80", false},
		{nil, "192.168.0.1:80", false},
		{nil, "100.64.0.1:80", false},
		{nil, "[fd12::1]:80", false},
		{nil, "[64:ff9b::10.1.2.3]:80", false},
		{nil, "[64:ff9b:1::10.1.2.3]:80", false},
		{nil, "[2606:4700::5efe:10.1.2.3]:80", false},
		{nil, "203.0.113.9:80", false}, // this machine's own, though public
		{nil, "[2001:db8::9]:80", false},
		{[]string{"203.0.113.9/32"}, "203.0.113.9:80", true},
		{[]string{"10.1.0.0/16"}, "10.1.2.3:80", true},
		{[]string{"10.1.0.0/16"}, "[64:ff9b::10.1.2.3]:80", true},
		{[]string{"10.1.0.0/16"}, "10.2.0.1:80", false},
		{[]string{"10.1.0.0/16"}, "8.8.8.8:80", true},
		{[]string{"169.254.0.0/16"}, "169.254.169.254:80", false},
		{[]string{"127.0.0.1/32"}, "127.0.0.1:80", true},
	} {
		g := NewGuard(GuardOptions{Private: prefixes(test.private...)})
		g.interfaces = func() ([]net.Addr, error) {
			return []net.Addr{&net.IPNet{IP: net.ParseIP("203.0.113.9")}, &net.IPNet{IP: net.ParseIP("2001:db8::9")}}, nil
		}
		if err := g.Restricted().Check(addrPort(test.to)); (err == nil) != test.open {
			t.Errorf("private %v: %s: %v", test.private, test.to, err)
		}
		if test.private == nil && !strings.Contains(test.to, "169.254") && g.Check(addrPort(test.to)) != nil {
			t.Errorf("Restricted changed the original guard: %s", test.to)
		}
	}
	var none *Guard
	if none.Restricted().Check(addrPort("10.0.0.1:80")) == nil {
		t.Error("restricted nil guard is open")
	}
}

func TestOwnListeners(t *testing.T) {
	wildcard, fixed := []string{"[::]:5080"}, []string{"10.0.0.7:5082", "[::ffff:10.0.0.8]:5083"}
	for _, test := range []struct {
		own  []string
		to   string
		open bool
	}{
		{wildcard, "127.0.0.1:5080", false},
		{wildcard, "127.9.9.9:5080", false},
		{wildcard, "[::1]:5080", false},
		{wildcard, "[::ffff:127.0.0.1]:5080", false},
		{wildcard, "[64:ff9b::127.0.0.1]:5080", false},
		{wildcard, "192.0.2.5:5080", false}, // this machine's
		{wildcard, "[2001:db8::5]:5080", false},
		{wildcard, "192.0.2.6:5080", true},
		{wildcard, "127.0.0.1:5081", true},
		{[]string{"0.0.0.0:5080"}, "192.0.2.5:5080", false},
		{[]string{"0.0.0.0:5080"}, "127.0.0.1:5080", false},
		{fixed, "10.0.0.7:5082", false},
		{fixed, "[::ffff:10.0.0.7]:5082", false},
		{fixed, "10.0.0.8:5083", false},
		{fixed, "10.0.0.8:5082", true},
		{nil, "127.0.0.1:5080", true},
	} {
		g := NewGuard(GuardOptions{Own: func() []netip.AddrPort {
			var all []netip.AddrPort
			for _, s := range test.own {
				all = append(all, addrPort(s))
			}
			return all
		}})
		g.interfaces = func() ([]net.Addr, error) {
			return []net.Addr{
				&net.IPNet{IP: net.ParseIP("192.0.2.5"), Mask: net.CIDRMask(24, 32)},
				&net.IPNet{IP: net.ParseIP("2001:db8::5"), Mask: net.CIDRMask(64, 128)},
			}, nil
		}
		if err := g.Check(addrPort(test.to)); (err == nil) != test.open {
			t.Errorf("own %v: %s: %v", test.own, test.to, err)
		}
	}
}

func TestOwnListenerWhenInterfacesAreUnknown(t *testing.T) {
	g := NewGuard(GuardOptions{Own: func() []netip.AddrPort { return []netip.AddrPort{addrPort("[::]:5080")} }})
	g.interfaces = func() ([]net.Addr, error) { return nil, errors.New("no netlink") }
	if g.Check(addrPort("192.0.2.1:5080")) == nil || g.Check(addrPort("192.0.2.1:443")) != nil {
		t.Error("a port without a listener was denied")
	}
}

func TestControlTakesOnlyTCPAddresses(t *testing.T) {
	for _, dial := range [][2]string{{"udp4", "8.8.8.8:53"}, {"unix", "/run/docker.sock"}, {"tcp", "example.com:80"}, {"tcp", ""}} {
		if err := NewGuard(GuardOptions{}).Control(t.Context(), dial[0], dial[1], nil); !errors.Is(err, ErrDenied) {
			t.Errorf("%v: %v", dial, err)
		}
	}
}

// TestRebindingNameIsDenied: a name is denied if it resolves to a harmless address when it is
// checked, and to a metadata service when it is dialled.
func TestRebindingNameIsDenied(t *testing.T) {
	var arrived atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		arrived.Add(1)
		w.Header().Set("Connection", "close") // so that each POST resolves and dials
	}))
	defer server.Close()
	port := server.URL[strings.LastIndexByte(server.URL, ':')+1:]
	guard := NewGuard(GuardOptions{Deny: prefixes("127.0.0.2/32"), Resolver: resolver.Of("127.0.0.1", "127.0.0.2", "169.254.169.254")})
	c := clientFor(t, "http://rebind.example:"+port, func(o *Options) { o.Guard = guard })
	if r := c.Post(t.Context(), message()); r.Outcome != Delivered {
		t.Fatalf("before: %+v", r)
	}
	for range 3 {
		r := c.Post(t.Context(), message())
		if r.Outcome != Retry || r.Reason != ReasonDenied || !strings.Contains(r.Err, "denied by egress") {
			t.Errorf("after: %+v", r)
		}
	}
	if arrived.Load() != 1 {
		t.Errorf("%d POSTs arrived", arrived.Load())
	}
}

func TestPostToOwnListenerIsDenied(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it arrived") }))
	defer server.Close()
	own := addrPort(server.Listener.Addr().String())
	guard := NewGuard(GuardOptions{Own: func() []netip.AddrPort {
		return []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), own.Port())}
	}})
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		c := clientFor(t, "http://"+host+server.URL[strings.LastIndexByte(server.URL, ':'):], func(o *Options) { o.Guard = guard })
		if r := c.Post(t.Context(), message()); r.Reason != ReasonDenied {
			t.Errorf("%s: %+v", host, r)
		}
	}
}

// TestGuardedTransport uses the DialContext of a guard, and of a nil guard, in another transport.
func TestGuardedTransport(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	for _, test := range []struct {
		guard *Guard
		open  bool
	}{{nil, true}, {NewGuard(GuardOptions{}), true}, {NewGuard(GuardOptions{Deny: prefixes("127.0.0.0/8")}), false}} {
		client := &http.Client{Transport: &http.Transport{DialContext: test.guard.DialContext, DisableKeepAlives: true}}
		resp, err := client.Get(server.URL)
		if err == nil {
			resp.Body.Close()
		}
		if (err == nil) != test.open || err != nil && !errors.Is(err, ErrDenied) {
			t.Errorf("%v", err)
		}
	}
}

func TestCheckHost(t *testing.T) {
	deny := prefixes("10.0.0.0/8")
	for _, test := range []struct {
		host, answer string
		open         bool
	}{
		{"10.1.2.3", "", false}, {"8.8.8.8", "", true}, {"fe80::1", "", false},
		{"inside.example", "10.1.2.3", false}, {"outside.example", "8.8.8.8", true}, {"metadata.example", "169.254.169.254", false},
	} {
		g := NewGuard(GuardOptions{Deny: deny, Resolver: resolver.Of(test.answer)})
		if _, err := g.CheckHost(t.Context(), test.host, 443); (err == nil) != test.open {
			t.Errorf("%s: %v", test.host, err)
		}
	}
	broken := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no DNS here") }}
	g := NewGuard(GuardOptions{Resolver: broken})
	if _, err := g.CheckHost(t.Context(), "unknown.example", 443); err != nil {
		t.Errorf("a name that only the proxy resolves: %v", err)
	}
	if _, err := g.Restricted().CheckHost(t.Context(), "unknown.example", 443); !errors.Is(err, ErrDenied) {
		t.Errorf("the same, restricted: %v", err)
	}
}

// FuzzCarriedIPv4: an IPv6 address that carries a denied IPv4 address is denied.
func FuzzCarriedIPv4(f *testing.F) {
	f.Add([]byte{169, 254, 169, 254}, byte(0))
	f.Add([]byte{10, 0, 0, 1}, byte(3))
	f.Fuzz(func(t *testing.T, v4 []byte, form byte) {
		if len(v4) != 4 {
			t.Skip()
		}
		a, b, c, d := v4[0], v4[1], v4[2], v4[3]
		ip := netip.AddrFrom4([4]byte(v4))
		if ip == ipv4(0, 0, 0, 1) { // ::1 is loopback, not 0.0.0.1
			t.Skip()
		}
		forms := [][16]byte{
			{10: 0xff, 11: 0xff, 12: a, 13: b, 14: c, 15: d},
			{12: a, 13: b, 14: c, 15: d},
			{8: 0xff, 9: 0xff, 12: a, 13: b, 14: c, 15: d},
			{1: 0x64, 2: 0xff, 3: 0x9b, 12: a, 13: b, 14: c, 15: d},
			{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1, 12: a, 13: b, 14: c, 15: d},
			{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1, 6: a, 7: b, 9: c, 10: d},
			{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1, 7: a, 9: b, 10: c, 11: d},
			{1: 0x64, 2: 0xff, 3: 0x9b, 5: 1, 9: a, 10: b, 11: c, 12: d},
			{0: 0x20, 1: 0x02, 2: a, 3: b, 4: c, 5: d},
			{0: 0x20, 1: 0x01, 4: a, 5: b, 6: c, 7: d, 12: 0xf7, 13: 0xf7, 14: 0xf7, 15: 0xf7},
			{0: 0x20, 1: 0x01, 4: 8, 5: 8, 6: 8, 7: 8, 12: ^a, 13: ^b, 14: ^c, 15: ^d},
		}
		g := NewGuard(GuardOptions{Deny: []netip.Prefix{netip.PrefixFrom(ip, 32)}})
		six := netip.AddrFrom16(forms[int(form)%len(forms)])
		if ip.IsUnspecified() {
			t.Skip() // carries nothing
		}
		if err := g.Check(netip.AddrPortFrom(six, 80)); !errors.Is(err, ErrDenied) {
			t.Errorf("%v as %v: %v", ip, six, err)
		}
	})
}

// TestRestrictedErrorsNameNoResolver: limited accounts do not learn the resolver's address.
func TestRestrictedErrorsNameNoResolver(t *testing.T) {
	broken := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("broken") }}
	open := NewGuard(GuardOptions{Resolver: broken})
	for guard, names := range map[*Guard]bool{open: true, open.Restricted(): false} {
		_, err := guard.DialContext(t.Context(), "tcp", "receiver.example.com.:443")
		var dns *net.DNSError
		if !errors.As(err, &dns) || strings.Contains(err.Error(), " on ") != names {
			t.Errorf("restricted %v: %v", guard.restricted, err)
		}
	}
}
