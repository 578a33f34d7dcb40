package dataplane

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// from returns a client with an address of this machine.
func from(c *http.Client, address string) *http.Client {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c.Transport.(*http.Transport).DialContext = dialer.DialContext
	return c
}

// HAProxy in front sends the address of the client in the PROXY protocol, in both versions and
// around TLS. Other clients may not use it.
func TestProxyProtocol(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	registry := harness.Registry(t, harness.RegistryOptions{})
	image := harness.NewImage(harness.ImageOptions{LayerSize: 1 << 20})
	pushOver(t, plain(t), registry.URL, "app", "v1", image)
	const config = "proxy_protocol: true\ntrusted_proxies: [127.0.0.1]\n"
	for _, version := range []string{"send-proxy", "send-proxy-v2"} {
		for _, secure := range []string{"", "HTTP/1.1", "HTTP/2.0"} {
			t.Run(version+" "+secure, func(t *testing.T) {
				t.Parallel()
				p, settings, scheme, c := newTap(t, registry.URL), config, "http://", plain(t)
				if secure != "" {
					settings += fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", a.File("server.pem"), a.File("server.key"))
					scheme, c = "https://", overTLS(t, a, secure == "HTTP/2.0", "")
				}
				b := front(t, p.URL, settings)
				address := haproxy(t, "  mode tcp\n  server b "+b.Host+" "+version+"\n", "", "mode tcp")
				from(c, "127.0.0.2")
				layer := image.Layers[0].Digest
				got := must(t, c, http.StatusOK, http.MethodGet, scheme+address+"/v2/app/blobs/"+layer.String(), nil, "X-Forwarded-For", "6.6.6.6")
				if got.Body != string(image.Blob(layer)) {
					t.Errorf("a blob came as %d bytes", len(got.Body))
				}
				pushOver(t, c, scheme+address, "app", "v-"+version, harness.NewImage(harness.ImageOptions{}))
				for _, r := range p.take(t) {
					if got := r.Header.Get("X-Forwarded-For"); got != "127.0.0.2" {
						t.Errorf("%s %s arrived from %q", r.Method, r.Target, got)
					}
				}
				if _, err := send(c, http.MethodGet, scheme+b.Host+"/v2/", nil); err != nil { // from 127.0.0.2, which is no trusted proxy
					t.Errorf("a client that is no trusted proxy: %v", err)
				}
				if got := talk(t, b.Host, "GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", soon); got != "" {
					t.Errorf("a trusted proxy without a PROXY header got %q", got)
				}
				sound(t, b)
			})
		}
	}
	b := front(t, registry.URL, "proxy_protocol: true\ntrusted_proxies: [127.0.0.9]\n")
	if got := talk(t, b.Host, "PROXY TCP4 6.6.6.6 127.0.0.1 1 2\r\nGET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", soon); !strings.HasPrefix(got, "HTTP/1.1 400 ") {
		t.Errorf("a PROXY header of anybody's was answered with %q", got)
	}
}
