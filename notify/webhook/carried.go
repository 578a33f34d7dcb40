package webhook

import "net/netip"

var (
	nat64      = netip.MustParsePrefix("64:ff9b::/96")    // RFC 6052
	nat64Local = netip.MustParsePrefix("64:ff9b:1::/48")  // RFC 8215
	compatible = netip.MustParsePrefix("::/96")           // RFC 4291, deprecated
	translated = netip.MustParsePrefix("::ffff:0:0:0/96") // RFC 2765
	sixToFour  = netip.MustParsePrefix("2002::/16")       // RFC 3056
	teredo     = netip.MustParsePrefix("2001::/32")       // RFC 4380
	loopback6  = netip.IPv6Loopback()
)

// carriedIPv4 returns the IPv4 addresses to which a translator or tunnel may forward a packet for
// ip. It is empty for an IPv4 address and for most IPv6 addresses.
func carriedIPv4(ip netip.Addr) []netip.Addr {
	if !ip.Is6() || ip == loopback6 || ip.IsUnspecified() {
		return nil
	}
	b := ip.As16()
	switch {
	case isISATAP(b):
		return []netip.Addr{ipv4(b[12], b[13], b[14], b[15])}
	case nat64.Contains(ip), compatible.Contains(ip), translated.Contains(ip):
		return []netip.Addr{ipv4(b[12], b[13], b[14], b[15])}
	case nat64Local.Contains(ip):
		return localNAT64(b)
	case sixToFour.Contains(ip):
		return []netip.Addr{ipv4(b[2], b[3], b[4], b[5])}
	// The server's address, and the client's with inverted bits.
	case teredo.Contains(ip):
		return []netip.Addr{ipv4(b[4], b[5], b[6], b[7]), ipv4(^b[12], ^b[13], ^b[14], ^b[15])}
	}
	return nil
}

// isISATAP reports whether the interface identifier is one of RFC 5214, below any prefix.
func isISATAP(b [16]byte) bool {
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// localNAT64 tries every prefix length of RFC 6052 within a /48, because the operator of the
// translator chooses one. A shorter one fits only if nothing follows the address.
func localNAT64(b [16]byte) []netip.Addr {
	forms := []struct {
		end int // where the address ends
		ip  netip.Addr
	}{
		{11, ipv4(b[6], b[7], b[9], b[10])},
		{12, ipv4(b[7], b[9], b[10], b[11])},
		{13, ipv4(b[9], b[10], b[11], b[12])},
		{16, ipv4(b[12], b[13], b[14], b[15])},
	}
	var found []netip.Addr
	for _, form := range forms {
		if zero(b[form.end:]) && !form.ip.IsUnspecified() {
			found = append(found, form.ip)
		}
	}
	return found
}

func ipv4(a, b, c, d byte) netip.Addr { return netip.AddrFrom4([4]byte{a, b, c, d}) }

func zero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}
