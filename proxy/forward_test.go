package proxy

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/bellbuoy/bellbuoy/detect"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("10.0.0.0/8")}

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// echo records the request that arrives.
type echo struct{ host, uri, xff, proto, xfh, forwarded, realIP, user, id, trace, authorization string }

func (e *echo) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := r.Header
	*e = echo{r.Host, r.RequestURI, strings.Join(h["X-Forwarded-For"], "|"), strings.Join(h["X-Forwarded-Proto"], "|"), strings.Join(h["X-Forwarded-Host"], "|"),
		strings.Join(h["Forwarded"], "|"), h.Get("X-Real-Ip"), h.Get("X-Forwarded-User"), h.Get("X-Request-Id"), h.Get("Traceparent"), h.Get("Authorization")}
}

func TestForwardingHeaders(t *testing.T) {
	spoofed := []string{"X-Forwarded-For", "1.2.3.4, 10.0.0.9", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "pub.example.com", "X-Real-IP", "1.2.3.4",
		"X-Forwarded-User", "eve", "Forwarded", "for=5.6.7.8;proto=https", "Host", "front:5080", "X-Request-Id", "abc-1", "Traceparent", "00-1"}
	for _, c := range []struct {
		name    string
		edit    func(*Options)
		headers []string
		want    echo
		address string
		ext     detect.External
	}{
		{"nothing", nil, []string{"Host", "front:5080", "X-Request-Id", "a", "Authorization", "Basic x"},
			echo{host: "front:5080", uri: "/v2/a/manifests/v1", xff: "127.0.0.1", proto: "http", xfh: "front:5080", id: "a", authorization: "Basic x"},
			"127.0.0.1", detect.External{Scheme: "http", Host: "front:5080"}},
		{"a stranger's", nil, spoofed,
			echo{host: "front:5080", uri: "/v2/a/manifests/v1", xff: "127.0.0.1", proto: "http", xfh: "front:5080", id: "abc-1", trace: "00-1"},
			"127.0.0.1", detect.External{Scheme: "http", Host: "BACK"}},
		{"a trusted proxy's", func(o *Options) { o.TrustedProxies = loopback; o.Upstreams[0].Hosts = []string{"pub.example.com"} }, spoofed,
			echo{host: "front:5080", uri: "/v2/a/manifests/v1", xff: "1.2.3.4, 10.0.0.9, 127.0.0.1", proto: "https", xfh: "pub.example.com", realIP: "1.2.3.4", user: "eve",
				forwarded: "for=5.6.7.8;proto=https, for=127.0.0.1", id: "abc-1", trace: "00-1"},
			"1.2.3.4", detect.External{Scheme: "https", Host: "pub.example.com"}},
		{"Forwarded alone", func(o *Options) { o.TrustedProxies = loopback }, []string{"Forwarded", `for="[2001:db8::1]:4711";proto=https;host=pub.example.com, for=10.1.1.1`, "Host", "x:1", "X-Request-Id", "a"},
			echo{host: "x:1", uri: "/v2/a/manifests/v1", xff: "127.0.0.1", proto: "https", xfh: "pub.example.com", id: "a",
				forwarded: `for="[2001:db8::1]:4711";proto=https;host=pub.example.com, for=10.1.1.1, for=127.0.0.1`},
			"2001:db8::1", detect.External{Scheme: "http", Host: "BACK"}},
		{"external_url", func(o *Options) { o.Upstreams[0].External = mustURL("https://pub.example.com/path/") }, []string{"Host", "pub.example.com:443", "X-Request-Id", "a"},
			echo{host: "pub.example.com:443", uri: "/v2/a/manifests/v1", xff: "127.0.0.1", proto: "https", xfh: "pub.example.com:443", id: "a"},
			"127.0.0.1", detect.External{Scheme: "https", Host: "pub.example.com/path"}},
		{"external_url, another Host", func(o *Options) { o.Upstreams[0].External = mustURL("https://pub.example.com") }, []string{"Host", "x:1", "X-Request-Id", "a"},
			echo{host: "x:1", uri: "/v2/a/manifests/v1", xff: "127.0.0.1", proto: "http", xfh: "x:1", id: "a"},
			"127.0.0.1", detect.External{Scheme: "https", Host: "pub.example.com"}},
		{"host: upstream", func(o *Options) { o.Upstreams[0].OwnHost = true }, []string{"Host", "x:1", "X-Request-Id", "a"},
			echo{host: "BACK", uri: "/v2/a/manifests/v1", xff: "127.0.0.1", proto: "http", xfh: "x:1", id: "a"},
			"127.0.0.1", detect.External{Scheme: "http", Host: "x:1"}},
	} {
		for _, method := range []string{"GET", "PATCH"} { // the fast path, if there is one, and the reverse proxy
			var got echo
			s := newStand(t, &got, func(o *Options) {
				o.Identity.Header = "X-Forwarded-User"
				if c.edit != nil {
					c.edit(o)
				}
			})
			var body io.Reader
			if method == "PATCH" {
				body = strings.NewReader("x")
			}
			s.do(method, "/v2/a/manifests/v1", body, c.headers...)
			back := strings.TrimPrefix(s.back.URL, "http://")
			if c.want.host == "BACK" || strings.HasPrefix(c.want.host, back) {
				c.want.host = back
			}
			if got != c.want {
				t.Errorf("%s, %s:\n got %+v\nwant %+v", c.name, method, got, c.want)
			}
			op := s.tracker.lastEnded(1)
			ext := c.ext
			if ext.Host == "BACK" {
				ext.Host = back
			}
			if op.Client.Address != c.address || op.External != ext {
				t.Errorf("%s, %s: address %s, external %+v, want %s, %+v", c.name, method, op.Client.Address, op.External, c.address, ext)
			}
			if c.want.host == back {
				c.want.host = "BACK"
			}
		}
	}
}

func TestSpoofedHeadersAreCounted(t *testing.T) {
	s := newStand(t, &echo{}, nil)
	s.do("GET", "/v2/", nil, "X-Real-IP", "1.1.1.1")
	s.do("GET", "/v2/", nil)
	if got := metric(t, s, "bellbuoy_untrusted_forwarded_headers_total"); got != 1 {
		t.Errorf("got the counts %v", got)
	}
}

// metric returns the sum of a metric's values; of a histogram, of its counts.
func metric(t *testing.T, s *stand, name string) (sum float64) {
	t.Helper()
	families, err := s.metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.Metric {
			if f.GetName() == name {
				sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	return sum
}

func TestClientAddress(t *testing.T) {
	for _, c := range []struct{ list, want string }{
		{"1.2.3.4", "1.2.3.4"},
		{"6.6.6.6, 1.2.3.4, 10.0.0.1", "1.2.3.4"},
		{"10.0.0.2, 10.0.0.1", "10.0.0.2"},
		{"1.2.3.4:5678", "1.2.3.4"},
		{"[2001:db8::1]:99", "2001:db8::1"},
		{"::ffff:1.2.3.4", "1.2.3.4"},
		{"1.2.3.4, garbage", "peer"},
		{"garbage, 10.0.0.1", "10.0.0.1"},
		{"", "peer"},
	} {
		if got := clientAddress(strings.Split(c.list, ","), loopback, "peer"); got != c.want {
			t.Errorf("%q: got %s, want %s", c.list, got, c.want)
		}
	}
}

func TestLocations(t *testing.T) {
	const upload = "/v2/a/blobs/uploads/"
	type row struct{ path, location, want string }
	for _, c := range []struct {
		name  string
		edit  func(*Options)
		https bool // TLS ends at bellbuoy
		front string
		rows  []row
	}{
		{name: "TLS nowhere", front: "http://front:5080", rows: []row{
			{upload, "http://BACK/v2/a/blobs/uploads/1?_state=a%2Fb", "http://front:5080/v2/a/blobs/uploads/1?_state=a%2Fb"},
			{upload, "http://front:5080/x", "http://front:5080/x"},
			{upload, "/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1"},
			{upload, "//BACK/x", "http://front:5080/x"},
			{upload, "http://storage.example.com/x", "http://storage.example.com/x"},
			{upload, "https://front:5080", "http://front:5080"},
			{"/v2/a/blobs/sha256:aa", "http://BACK/data?x", "http://front:5080/data?x"},
			{"/v2/a/blobs/sha256:aa", "https://BACK/data?x", "https://BACK/data?x"},
			{"/v2/a/blobs/sha256:aa", "http://BACK/b?a=1&X-Amz-Signature=2", "http://BACK/b?a=1&X-Amz-Signature=2"},
			{"/v2/a/blobs/sha256:aa", "http://BACK/b?X-Goog-Signature=2", "http://BACK/b?X-Goog-Signature=2"},
			{"/v2/a/blobs/sha256:aa", "http://BACK/b?se=1&sig=2", "http://BACK/b?se=1&sig=2"},
			{"/v2/a/blobs/sha256:aa", "http://BACK/b?design=2", "http://front:5080/b?design=2"},
			{"/v2/a/blobs/sha256:aa", "ftp://BACK/x", "ftp://BACK/x"},
			{"/v2/a/blobs/sha256:aa", "http://ann@BACK/x", "http://ann@BACK/x"},
			{"/v2/a/blobs/sha256:aa", "https://s3.example.com/signed?x", "https://s3.example.com/signed?x"},
			{upload, "http://BACK.evil.example.com/x", "http://BACK.evil.example.com/x"},
		}},
		{name: "TLS here", https: true, front: "https://front:5080", rows: []row{
			{upload, "http://front:5080/x", "https://front:5080/x"},
			{upload, "http://BACK/x?y", "https://front:5080/x?y"},
		}},
		{name: "TLS in front", front: "https://pub.example.com", edit: func(o *Options) { o.TrustedProxies = loopback }, rows: []row{
			{upload, "http://BACK/x", "https://pub.example.com/x"},
			{upload, "http://front:5080/x", "https://pub.example.com/x"},
			{upload, "https://pub.example.com/x", "https://pub.example.com/x"},
		}},
		{name: "external_url", front: "https://front:5080", edit: func(o *Options) { o.Upstreams[0].External = mustURL("https://front:5080/some/path") }, rows: []row{
			{upload, "http://front:5080/x", "https://front:5080/x"},
		}},
		{name: "host: upstream", front: "http://front:5080", edit: func(o *Options) { o.Upstreams[0].OwnHost = true }, rows: []row{
			{upload, "http://BACK/x", "http://front:5080/x"},
			{"/v2/a/blobs/sha256:aa", "http://BACK/x", "http://front:5080/x"},
			{"/v2/a/blobs/sha256:aa", "http://BACK/x?X-Amz-Signature=2", "http://front:5080/x?X-Amz-Signature=2"}, // the upstream's name is signed, and the upstream gets that name
			{"/v2/a/blobs/sha256:aa", "http://s3.example.com/x", "http://s3.example.com/x"},
		}},
		{name: "path", front: "http://front:5080", edit: func(o *Options) {
			o.Upstreams[0].URL.Path, o.Upstreams[0].Paths = "/artifactory/api/docker/hub", []string{"/further"}
		}, rows: []row{
			{upload, "http://BACK/artifactory/api/docker/hub/v2/a/blobs/uploads/1?_state=a%2Fb", "http://front:5080/v2/a/blobs/uploads/1?_state=a%2Fb"},
			{upload, "/artifactory/api/docker/hub/v2/a/blobs/uploads/1", "/v2/a/blobs/uploads/1"},
			{upload, "http://BACK/further/x", "http://front:5080/further/x"},
			{upload, "/further/x", "/further/x"},
			{upload, "http://BACK/elsewhere", "http://BACK/elsewhere"},
			{upload, "http://BACK/artifactory/api/docker/hubble", "http://BACK/artifactory/api/docker/hubble"},
			{"/v2/a/blobs/sha256:aa", "http://BACK/artifactory/api/docker/hub", "http://front:5080/"},
		}},
		{name: "routed to another", front: "http://front:5080", edit: func(o *Options) {
			charts := Upstream{Name: "charts", Kind: detect.ChartMuseum, URL: mustURL("http://127.0.0.1:1")}
			o.Upstreams = append(o.Upstreams, charts)
		}, rows: []row{
			{upload, "http://BACK/v2/a/blobs/uploads/1", "http://front:5080/v2/a/blobs/uploads/1"},
			{upload, "http://BACK/artifacts-uploads/1", "http://BACK/artifacts-uploads/1"},
		}},
	} {
		for _, r := range c.rows {
			back := ""
			location := func(s string) string { return strings.ReplaceAll(s, "BACK", back) }
			s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
				w.Header().Set("Location", location(r.location))
				w.Header().Add("Link", "<"+location(r.location)+`>; rel="next", <other>; rel=x`)
				w.WriteHeader(307)
			}), c.edit)
			back = strings.TrimPrefix(s.back.URL, "http://")
			if c.https {
				s.front.Close()
				s.front = httptest.NewTLSServer(s.handler)
				t.Cleanup(s.front.Close)
			}
			method := "POST"
			if r.path != upload {
				method = "GET"
			}
			in, _ := http.NewRequest(method, s.front.URL+r.path, nil)
			in.Host = "front:5080"
			in.Header.Set("X-Forwarded-Proto", "https")
			in.Header.Set("X-Forwarded-Host", "pub.example.com")
			res, err := s.front.Client().Transport.RoundTrip(in)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
			if got := res.Header.Get("Location"); got != location(r.want) {
				t.Errorf("%s: %s becomes %s, want %s", c.name, r.location, got, location(r.want))
			}
			if want := "<" + location(r.want) + `>; rel="next", <other>; rel=x`; res.Header.Get("Link") != want {
				t.Errorf("%s: Link %s, want %s", c.name, res.Header.Get("Link"), want)
			}
		}
	}
}

// If an upstream's Location leads to another upstream or to no upstream, bellbuoy warns once and
// names the key that corrects it.
func TestLocationToAnotherUpstreamWarns(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	paths := []string(nil)
	back := http.HandlerFunc(func(w http.ResponseWriter, in *http.Request) {
		w.Header().Set("Location", "/artifacts-uploads/namespaces/p/uploads/AF3?upload_id=secret")
		w.WriteHeader(202)
	})
	edit := func(o *Options) {
		o.Log = zap.New(core)
		o.Upstreams[0].Paths = paths
		o.Upstreams = append(o.Upstreams, Upstream{Name: "charts", Kind: detect.ChartMuseum, URL: mustURL("http://127.0.0.1:1")})
	}
	s := newStand(t, back, edit)
	for range 3 {
		s.do("POST", "/v2/a/blobs/uploads/", nil)
	}
	warned := logs.TakeAll()
	if len(warned) != 1 || warned[0].ContextMap()["key"] != "upstreams[].paths" || warned[0].ContextMap()["path"] != "/artifacts-uploads/namespaces/p/uploads/AF3" {
		t.Errorf("got the warnings %v", warned)
	}
	paths = []string{"/artifacts-uploads"}
	newStand(t, back, edit).do("POST", "/v2/a/blobs/uploads/", nil)
	if logs.Len() != 0 {
		t.Errorf("with paths: %v", logs.All())
	}
}

// A registry whose API is below a path: requests are forwarded below that path, except those for
// paths, and those that are below it already.
func TestURLWithPath(t *testing.T) {
	for _, fast := range []bool{true, false} {
		for _, c := range []struct{ sent, want, repository string }{
			{"/v2/team/app/manifests/v1?ns=x", "/artifactory/api/docker/hub/v2/team/app/manifests/v1?ns=x", "team/app"},
			{"/v2/te%61m/app/manifests/v1", "/artifactory/api/docker/hub/v2/te%61m/app/manifests/v1", "team/app"},
			{"/artifactory/api/docker/hub/v2/team/app/manifests/v1", "/artifactory/api/docker/hub/v2/team/app/manifests/v1", "team/app"},
			{"/artifactory/api/docker/hubble/manifests/v1", "/artifactory/api/docker/hub/artifactory/api/docker/hubble/manifests/v1", ""},
			{"/further/token?service=x", "/further/token?service=x", ""},
			{"/v2/", "/artifactory/api/docker/hub/v2/", ""},
			{"//v2/x", "/artifactory/api/docker/hub//v2/x", ""},
		} {
			rec := newRecorder(t, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
			s := newRawStand(t, rec.Addr().String(), func(o *Options) {
				o.Upstreams[0].URL.Path, o.Upstreams[0].Paths = "/artifactory/api/docker/hub", []string{"/further"}
			})
			if !fast {
				s.handler.now.Load().routes[0].carriers.Fast = nil
			}
			s.raw("GET " + c.sent + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
			line, _, _ := strings.Cut(rec.requests()[0], "\r\n")
			if line != "GET "+c.want+" HTTP/1.1" {
				t.Errorf("%s was sent as %s", c.sent, line)
			}
			if got := s.tracker.lastEnded(1).Repository; got != c.repository && c.repository != "" {
				t.Errorf("%s was taken for one of %q", c.sent, got)
			}
		}
	}
}

// bellbuoy's clients reach nothing of the upstream's host outside of the path of its URL.
func TestRequestsStayBelowThePathOfTheURL(t *testing.T) {
	for _, c := range []struct {
		base, target string
		want         int
	}{
		{"/artifactory/api/docker/hub", "/v2/../../secret/v2/a/manifests/v1", 400},
		{"/artifactory/api/docker/hub", "/../../x", 400},
		{"/artifactory/api/docker/hub", "/v2/%2e%2e/%2E./x", 400},
		{"/artifactory/api/docker/hub", "/v2/..%2f..%2fx", 400},
		{"/artifactory/api/docker/hub", "/v2/..;a=b/x", 400},
		{"/artifactory/api/docker/hub", "/artifactory/api/docker/hub/../secret/v2/", 400},
		{"/artifactory/api/docker/hub", "/further/../secret", 400},
		{"/artifactory/api/docker/hub", "/v2/a/..", 400},
		{"/artifactory/api/docker/hub", "/v2/a/manifests/.hidden", 200},
		{"/artifactory/api/docker/hub", "/v2/a..b/manifests/v1?x=/../", 200},
		{"", "/v2/x/../a/manifests/v1", 200}, // without a path there is no outside
	} {
		reached := false
		s := newStand(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { reached = true }), func(o *Options) {
			o.Upstreams[0].URL.Path, o.Upstreams[0].Paths = c.base, []string{"/further"}
		})
		answer := s.raw("GET " + c.target + " HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
		if !strings.HasPrefix(answer, fmt.Sprintf("HTTP/1.1 %d ", c.want)) || reached != (c.want == 200) {
			t.Errorf("%s: reached %v, answered %.60q; want %d", c.target, reached, answer, c.want)
		}
	}
}

func TestHTTPSUpstream(t *testing.T) {
	back := httptest.NewTLSServer(http.HandlerFunc(registry))
	defer back.Close()
	s := newRawStand(t, back.Listener.Addr().String(), func(o *Options) {
		o.Upstreams[0].URL = mustURL(back.URL)
		o.Upstreams[0].TLS = &tls.Config{RootCAs: back.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
	})
	if res, body := s.do("GET", "/v2/a/manifests/v1", nil); res.StatusCode != 200 || body != manifest {
		t.Errorf("got %d %q", res.StatusCode, body)
	}
	o := s.handler.now.Load().Options
	o.Upstreams[0].TLS = nil
	if err := s.handler.Configure(o); err != nil {
		t.Fatal(err)
	}
	if res, body := s.do("GET", "/v2/a/manifests/v1", nil); res.StatusCode != 502 || strings.Contains(body, "x509") || !strings.Contains(body, "cannot be reached") {
		t.Errorf("an unknown certificate: got %d %q", res.StatusCode, body)
	}
}

func TestCallerOf(t *testing.T) {
	for _, tt := range []struct {
		name, peer string
		tls        bool
		header     http.Header
		want       string
	}{
		{"alone", "192.0.2.1:1", false, nil, "192.0.2.1 false own.example.com"},
		{"with TLS", "[2001:db8::1]:1", true, nil, "2001:db8::1 true own.example.com"},
		{"behind a trusted proxy", "127.0.0.1:1", false, http.Header{"X-Forwarded-For": {"192.0.2.1"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"front.example.com"}}, "192.0.2.1 true front.example.com"},
		{"behind one that takes no TLS", "127.0.0.1:1", true, http.Header{"X-Forwarded-Proto": {"http"}}, "127.0.0.1 false own.example.com"},
		{"a liar", "192.0.2.1:1", false, http.Header{"X-Forwarded-For": {"192.0.2.9"}, "X-Forwarded-Proto": {"https"}, "X-Forwarded-Host": {"front.example.com"}}, "192.0.2.1 false own.example.com"},
		{"a socket", "@", false, nil, "invalid IP false own.example.com"},
	} {
		r := &http.Request{RemoteAddr: tt.peer, Host: "own.example.com", RequestURI: "/", Header: tt.header}
		if tt.tls {
			r.TLS = &tls.ConnectionState{}
		}
		address, https, host := CallerOf(r, loopback)
		if got := fmt.Sprint(address, https, " ", host); got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, got, tt.want)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add("for=1.2.3.4;proto=https, for=\"[::1]:80\"", "1.2.3.4, 5.6.7.8", "h.example.com")
	f.Fuzz(func(t *testing.T, forwardedHeader, xff, xfh string) {
		g := &generation{Options: Options{TrustedProxies: loopback}}
		r := &http.Request{RemoteAddr: "127.0.0.1:99", Host: "front", Header: http.Header{"Forwarded": {forwardedHeader}, "X-Forwarded-For": {xff}, "X-Forwarded-Host": {xfh}}}
		got := g.seen(r)
		if net.ParseIP(got.address) == nil {
			t.Errorf("got the address %q", got.address)
		}
		if got.host != "front" && !plausibleHost(got.host) {
			t.Errorf("got the host %q", got.host)
		}
	})
}
