package main

import (
	"net/netip"
	"os"
	"testing"

	"github.com/bellbuoy/bellbuoy/config"
)

func TestUpstreamAtBellbuoyItselfIsRefused(t *testing.T) {
	c, _, err := config.Parse("bellbuoy.yaml", []byte(smallConfig), os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]string{
		"[::]:5080":      "",
		"127.0.0.1:5000": "bellbuoy.yaml:4:10: upstreams[0].url: is an address on which bellbuoy itself listens; it must be the registry's address",
		"[::]:8081":      "bellbuoy.yaml:7:10: upstreams[1].url: is an address on which bellbuoy itself listens; it must be the registry's address",
	} {
		got := ""
		w, err := wire(c, func() []netip.AddrPort { return []netip.AddrPort{netip.MustParseAddrPort(address)} }, nil)
		if err == nil {
			w.close()
		} else {
			got = err.Error()
		}
		if got != want {
			t.Errorf("own address %s: got %q, want %q", address, got, want)
		}
	}
}

func TestLoops(t *testing.T) {
	everywhere := []netip.AddrPort{netip.MustParseAddrPort("[::]:5080"), netip.MustParseAddrPort("127.0.0.1:5082")}
	one := []netip.AddrPort{netip.MustParseAddrPort("10.0.0.1:80")}
	for _, tt := range []struct {
		url  string
		own  []netip.AddrPort
		want bool
	}{
		{"http://127.0.0.1:5080", everywhere, true},
		{"http://localhost:5080", everywhere, true},
		{"http://[::1]:5080", everywhere, true},
		{"http://0.0.0.0:5080", everywhere, true},
		{"http://localhost:5082", everywhere, true},
		{"http://[::1]:5082", everywhere, false},
		{"http://127.0.0.1:5000", everywhere, false},
		{"http://10.0.0.1:5080", everywhere, false},
		{"http://registry:5080", everywhere, false},
		{"http://10.0.0.1", one, true},
		{"https://10.0.0.1", one, false},
		{"http://127.0.0.1", one, false},
		{"http://127.0.0.1:5080", declared(":5080", "", "127.0.0.1:5082"), true},
		{"http://127.0.0.1:5082", declared(":5080", "", "127.0.0.1:5082"), true},
		{"http://127.0.0.1:5081", declared(":5080", "", "127.0.0.1:5082"), false},
	} {
		if got := loops(tt.url, tt.own); got != tt.want {
			t.Errorf("loops(%s, %v): got %t, want %t", tt.url, tt.own, got, tt.want)
		}
	}
}
