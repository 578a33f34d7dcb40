package dataplane

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A virtual host passes requests on to a registry. It counts all of them, and those that came
// through bellbuoy.
type virtualHost struct {
	URL  string
	Host string
	only bool // answers only its own name, and trusts no forwarding headers

	external string // bellbuoy's external_url for it; "": none

	mu            sync.Mutex
	seen, carried int
}

func newVirtualHost(t *testing.T, registry string, only bool) *virtualHost {
	t.Helper()
	v := &virtualHost{only: only}
	target, err := url.Parse(registry)
	if err != nil {
		t.Fatal(err)
	}
	next := &httputil.ReverseProxy{Rewrite: func(p *httputil.ProxyRequest) {
		p.Out.URL.Scheme, p.Out.URL.Host = target.Scheme, target.Host
		for _, name := range []string{"X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-For"} {
			if !only {
				p.Out.Header[name] = p.In.Header[name]
			}
		}
	}}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v.mu.Lock()
		v.seen++
		if r.Header.Get("X-Forwarded-For") != "" || strings.HasPrefix(r.UserAgent(), "bellbuoy/") {
			v.carried++
		}
		v.mu.Unlock()
		if only && r.Host != v.Host {
			http.Error(w, "no such host: "+r.Host, http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	}))
	t.Cleanup(srv.Close)
	v.URL, v.Host = srv.URL, strings.TrimPrefix(srv.URL, "http://")
	return v
}

// allCarried fails the test if a request went around bellbuoy, or if fewer came than a number.
func (v *virtualHost) allCarried(t *testing.T, atLeast int) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.carried != v.seen || v.seen < atLeast {
		t.Errorf("of %d requests at the registry bellbuoy carried %d; want all, and at least %d", v.seen, v.carried, atLeast)
	}
}

// A place is where TLS is terminated.
type place string

const (
	nowhereAtAll place = "nowhere"
	atBellbuoy   place = "at bellbuoy"
	inFront      place = "in front"
)

// stand starts bellbuoy in front of a virtual host, with TLS terminated at a place, and returns the
// address for clients.
func stand(t *testing.T, a *authority.Authority, where place, v *virtualHost, config string) (b *harness.Buoy, address string) {
	t.Helper()
	upstream := ""
	if v.only {
		upstream = ", host: upstream"
	}
	if v.external != "" {
		upstream += fmt.Sprintf(", external_url: %q", v.external)
	}
	switch where {
	case atBellbuoy:
		config += fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", a.File("server.pem"), a.File("server.key"))
	case inFront:
		config += "trusted_proxies: [127.0.0.1]\n"
	}
	b = front(t, v.URL, config, upstream)
	if where == inFront {
		return b, haproxy(t, "  server b "+b.Host+"\n", "ssl crt "+a.File("server.both")+" alpn h2,http/1.1",
			"option forwardfor", "http-request set-header X-Forwarded-Proto https")
	}
	return b, b.Host
}

// TestClientsOverTLS pushes and pulls with every client, with TLS terminated in each place, at
// upstreams that trust forwarding headers and at those that know only their own name. No request
// goes around bellbuoy.
func TestClientsOverTLS(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	for i, tc := range []struct {
		where place
		only  bool
	}{{atBellbuoy, false}, {atBellbuoy, true}, {inFront, false}, {inFront, true}, {nowhereAtAll, true}} {
		t.Run(fmt.Sprintf("%s own host %t", tc.where, tc.only), func(t *testing.T) {
			t.Parallel()
			v := newVirtualHost(t, registry.URL, tc.only)
			b, address := stand(t, a, tc.where, v, "")
			p := player{T: t, address: address, secure: tc.where != nowhereAtAll, ca: a.File("ca.pem")}
			repository := fmt.Sprintf("tls/%d", i)
			for _, play := range []func(harness.Artifact, string){p.crane, p.skopeo, p.oras, p.regctl, p.helm, p.curl} {
				before := v.count()
				play(harness.NewImage(harness.ImageOptions{Layers: 2}), repository)
				if n := v.count() - before; n < 8 {
					t.Errorf("a client's push and pull were %d requests", n)
				}
			}
			v.allCarried(t, 48)
			sound(t, b)
		})
	}
}

func (v *virtualHost) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.seen
}

// A player is a user of clients.
type player struct {
	*testing.T
	address, ca string
	secure      bool
}

func (p player) env() []string { return harness.Env(p, "SSL_CERT_FILE="+p.ca) }

// flag adds a client's flag for plain HTTP, if it is needed.
func (p player) flag(flag string, args ...string) []string {
	if p.secure {
		return args
	}
	return append(args, flag)
}

func (p player) crane(a harness.Artifact, repository string) {
	ref, out := p.address+"/"+repository+"/crane:v1", filepath.Join(p.TempDir(), "out")
	harness.Run(p, p.env(), "crane", p.flag("--insecure", "push", a.Layout(p, "x"), ref)...)
	harness.Run(p, p.env(), "crane", p.flag("--insecure", "pull", "--format=oci", ref, out)...)
	p.same(a, out)
}

func (p player) skopeo(a harness.Artifact, repository string) {
	ref, out := "docker://"+p.address+"/"+repository+"/skopeo:v1", p.TempDir()
	harness.Run(p, p.env(), "skopeo", p.flag("--dest-tls-verify=false", "--insecure-policy", "copy", "oci:"+a.Layout(p, "x")+":x", ref)...)
	harness.Run(p, p.env(), "skopeo", p.flag("--src-tls-verify=false", "--insecure-policy", "copy", ref, "oci:"+out+":x")...)
	p.same(a, out)
}

func (p player) oras(a harness.Artifact, repository string) {
	ref, out := p.address+"/"+repository+"/oras:v1", p.TempDir()
	harness.Run(p, p.env(), "oras", p.flag("--to-plain-http", "cp", "--from-oci-layout", a.Layout(p, "x")+":x", ref)...)
	harness.Run(p, p.env(), "oras", p.flag("--from-plain-http", "cp", ref, "--to-oci-layout", out+":x")...)
	p.same(a, out)
}

func (p player) regctl(a harness.Artifact, repository string) {
	ref, out := p.address+"/"+repository+"/regctl:v1", p.TempDir()
	host := []string{"--host", "reg=" + p.address + ",tls=enabled"}
	if !p.secure {
		host = []string{"--host", "reg=" + p.address + ",tls=disabled"}
	}
	harness.Run(p, p.env(), "regctl", append(host, "image", "copy", "ocidir://"+a.Layout(p, "x")+":x", ref)...)
	harness.Run(p, p.env(), "regctl", append(host, "image", "copy", ref, "ocidir://"+out+":x")...)
	p.same(a, out)
}

func (p player) helm(_ harness.Artifact, repository string) {
	for i, helm := range []string{"helm3", "helm4"} {
		at, version, out := "oci://"+p.address+"/"+repository, fmt.Sprintf("1.0.%d", i), p.TempDir()
		harness.Run(p, p.env(), helm, p.flag("--plain-http", "push", harness.ChartFile(p, "demo", version, harness.ChartOptions{}), at)...)
		harness.Run(p, p.env(), helm, p.flag("--plain-http", "pull", at+"/demo", "--version", version, "-d", out)...)
		if _, err := os.Stat(filepath.Join(out, "demo-"+version+".tgz")); err != nil {
			p.Errorf("%s pulled nothing: %v", helm, err)
		}
	}
}

func (p player) curl(a harness.Artifact, repository string) {
	base := "http://" + p.address
	if p.secure {
		base = "https://" + p.address
	}
	dir, repository := p.TempDir(), "/v2/"+repository+"/curl"
	curl := func(args ...string) string {
		return strings.TrimSpace(harness.Run(p, p.env(), "curl", append([]string{"-sS", "--fail", "--cacert", p.ca}, args...)...))
	}
	for _, d := range append(a.Layers, a.Config) {
		location := curl("-X", "POST", "-o", filepath.Join(dir, "x"), "-w", "%header{location}", base+repository+"/blobs/uploads/")
		if !strings.HasPrefix(location, base+"/") {
			p.Errorf("an upload's Location is %s", location)
		}
		if err := os.WriteFile(filepath.Join(dir, "blob"), a.Blob(d.Digest), 0o600); err != nil {
			p.Fatal(err)
		}
		curl("-T", filepath.Join(dir, "blob"), "-H", "Content-Type: application/octet-stream", location+"&digest="+d.Digest.String())
	}
	if err := os.WriteFile(filepath.Join(dir, "manifest"), a.Manifest, 0o600); err != nil {
		p.Fatal(err)
	}
	curl("-T", filepath.Join(dir, "manifest"), "-H", "Content-Type: "+a.MediaType, base+repository+"/manifests/v1")
	curl("-T", filepath.Join(dir, "manifest"), "-H", "Content-Type: "+a.MediaType, base+repository+"/manifests/v2")
	if got := curl("-H", "Accept: "+a.MediaType, base+repository+"/manifests/v1"); got != string(a.Manifest) {
		p.Errorf("the manifest came back as %q", got)
	}
	blob := a.Layers[0].Digest
	curl("-o", filepath.Join(dir, "blob"), base+repository+"/blobs/"+blob.String())
	if got, _ := os.ReadFile(filepath.Join(dir, "blob")); string(got) != string(a.Blob(blob)) {
		p.Errorf("a blob came back as %d bytes", len(got))
	}
	link := curl("-o", filepath.Join(dir, "x"), "-w", "%header{link}", base+repository+"/tags/list?n=1")
	if !strings.Contains(link, repository+"/tags/list?") || strings.Contains(link, "://") && !strings.Contains(link, "<"+base) {
		p.Errorf("the next page of tags is %s", link)
	}
}

// same fails the test if an image layout lacks the artifact's manifest or its first layer.
func (p player) same(a harness.Artifact, layout string) {
	p.Helper()
	for _, d := range []string{a.Digest.Encoded(), a.Layers[0].Digest.Encoded()} {
		if _, err := os.Stat(filepath.Join(layout, "blobs", "sha256", d)); err != nil {
			p.Errorf("what was pulled lacks %s", d)
		}
	}
}

// The conformance program has the same result over each protocol as at the registry itself, and all
// of its requests pass through bellbuoy.
func TestConformanceOverTLS(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	direct := harness.ConformanceDirect(t, harness.DistributionLacks...)
	for _, tc := range []struct {
		where    place
		only     bool
		protocol string
		settings string
	}{
		{atBellbuoy, true, "HTTP/1.1", "GODEBUG=http2client=0"},
		{atBellbuoy, false, "HTTP/2.0", "GODEBUG=http2client=1"},
		{inFront, false, "HTTP/1.1", "GODEBUG=http2client=1"},
	} {
		t.Run(fmt.Sprintf("%s, %s, own host %t", tc.where, tc.protocol, tc.only), func(t *testing.T) {
			v := newVirtualHost(t, harness.Registry(t, harness.RegistryOptions{Delete: true}).URL, tc.only)
			b, address := stand(t, a, tc.where, v, "log: {access: true}\n")
			settings := append([]string{"OCI_TLS=enabled", "SSL_CERT_FILE=" + a.File("ca.pem"), tc.settings}, harness.DistributionLacks...)
			through := harness.Conformance(t, address, settings...)
			if through.Passed != direct.Passed || through.Failed != direct.Failed || through.Skipped != direct.Skipped || direct.Passed < 300 {
				t.Errorf("passed, failed, skipped: %d %d %d through bellbuoy, %d %d %d directly\n%s", through.Passed, through.Failed, through.Skipped,
					direct.Passed, direct.Failed, direct.Skipped, through.Output)
			}
			v.allCarried(t, 300)
			if seen := b.Metric("bellbuoy_requests_total"); int(seen) < v.count()*9/10 {
				t.Errorf("bellbuoy counted %v requests, %d reached the registry", seen, v.count())
			}
			logs := b.Logs()
			if all, of := strings.Count(logs, `"message":"request"`), strings.Count(logs, `"protocol":"`+tc.protocol+`"`); all != of || all < 300 {
				t.Errorf("of %d requests %d were of %s", all, of, tc.protocol)
			}
			sound(t, b)
		})
	}
}

// With client_ca_file a client needs a certificate, and its CN is the operator.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	a.Issue("ann")
	other := authority.New(t)
	other.Issue("eve")
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	b := harness.Bellbuoy(t, fmt.Sprintf("tls: {cert_file: %q, key_file: %q, client_ca_file: %q}\n", a.File("server.pem"), a.File("server.key"), a.File("ca.pem"))+
		"upstreams: [{type: registry, url: "+registry.URL+", external_url: \"https://registry.example.com\"}]\n"+
		"webhooks: [{name: w, url: \""+hooks.URL("/w")+"\", format: bellbuoy}, {name: h, url: \""+hooks.URL("/h")+"\"}]\n")
	image := harness.NewImage(harness.ImageOptions{})
	p := player{T: t, address: b.Host, secure: true, ca: a.File("ca.pem")}
	bare := harness.Env(t)
	if _, err := harness.Try(t, bare, "curl", "-sS", "--fail", "--cacert", a.File("ca.pem"), "https://"+b.Host+"/v2/"); err == nil {
		t.Error("curl needed no certificate")
	}
	if _, err := harness.Try(t, bare, "curl", "-sS", "--fail", "--cacert", a.File("ca.pem"), "--cert", other.File("eve.both"), "https://"+b.Host+"/v2/"); err == nil {
		t.Error("a certificate of anybody's was good")
	}
	if _, err := harness.Try(t, p.env(), "crane", "push", image.Layout(t, "x"), b.Host+"/mtls/app:v0"); err == nil {
		t.Error("crane needed no certificate")
	}
	// crane itself presents no certificate: its users put a proxy beside it that does.
	beside := haproxy(t, fmt.Sprintf("  server b %s ssl crt %s ca-file %s verify required\n", b.Host, a.File("ann.both"), a.File("ca.pem")), "ssl crt "+a.File("server.both")+" alpn h2,http/1.1",
		"http-request set-header Host "+b.Host)
	pushOver(t, overTLS(t, a, false, "ann"), "https://"+b.Host, "mtls/app", "v1", image)
	pushOver(t, overTLS(t, a, true, "ann"), "https://"+b.Host, "mtls/app", "v2", image)
	harness.Run(t, p.env(), "crane", "push", image.Layout(t, "x"), beside+"/mtls/app:v3")
	harness.Run(t, bare, "curl", "-sS", "--fail", "--cacert", a.File("ca.pem"), "--cert", a.File("ann.both"), "-T", file(t, "manifest", string(image.Manifest)),
		"-H", "Content-Type: "+image.MediaType, "https://"+b.Host+"/v2/mtls/app/manifests/v4")
	for _, post := range hooks.WaitAt("/w", 4, soon) {
		if got := post.Text("operator"); got != "ann" {
			t.Errorf("the operator is %q: %s", got, post.Body)
		}
	}
	for _, post := range hooks.WaitAt("/h", 4, soon) {
		if got := post.Text("event_data.resources.0.resource_url"); !strings.HasPrefix(got, "registry.example.com/mtls/app:v") {
			t.Errorf("the webhook names %s", got)
		}
	}
	sound(t, b)
}

// pushOver pushes an image with a client of net/http.
func pushOver(t *testing.T, c *http.Client, base, repository, tag string, image harness.Artifact) {
	t.Helper()
	for _, d := range append(image.Layers, image.Config) {
		start := must(t, c, http.StatusAccepted, http.MethodPost, base+"/v2/"+repository+"/blobs/uploads/", nil)
		location := start.Header.Get("Location")
		if strings.HasPrefix(location, "/v2/") {
			location = base + location
		}
		if !strings.HasPrefix(location, base+"/") {
			t.Fatalf("an upload's Location is %s, not below %s", location, base)
		}
		join := "?"
		if strings.Contains(location, "?") {
			join = "&"
		}
		must(t, c, http.StatusCreated, http.MethodPut, location+join+"digest="+d.Digest.String(), strings.NewReader(string(image.Blob(d.Digest))))
	}
	must(t, c, http.StatusCreated, http.MethodPut, base+"/v2/"+repository+"/manifests/"+tag, strings.NewReader(string(image.Manifest)), "Content-Type", image.MediaType)
}

// After the files change, new connections get the new certificate. Open connections continue.
func TestCertificatesChange(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	up := &halves{size: 1 << 20, release: make(chan struct{})}
	srv := httptest.NewServer(up)
	t.Cleanup(srv.Close)
	release := sync.OnceFunc(func() { close(up.release) })
	t.Cleanup(release)
	b := front(t, srv.URL, fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", a.File("server.pem"), a.File("server.key")))
	serial := func() int64 {
		c, err := tls.Dial("tcp", b.Host, a.Trusting(""))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
	}
	before := serial()
	var transfers sync.WaitGroup
	for _, http2 := range []bool{false, true} {
		c := overTLS(t, a, http2, "")
		transfers.Go(func() {
			for range 2 { // the second on an open connection
				got, err := send(c, http.MethodGet, "https://"+b.Host+"/v2/app/blobs/sha256:"+strings.Repeat("ab", 32), nil)
				if err != nil || len(got.Body) != up.size {
					t.Errorf("HTTP/2 %t: %d bytes, %v", http2, len(got.Body), err)
				}
			}
		})
	}
	harness.Eventually(soon, func() bool { return up.come.Load() == 2 })
	if err := os.WriteFile(a.File("server.key"), []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(600 * time.Millisecond) // longer than the watch needs: a changed certificate without its key must not count
	if got := serial(); got != before {
		t.Errorf("got the serial number %d", got)
	}
	a.Issue("server")
	if !harness.Eventually(soon, func() bool { return serial() != before }) {
		t.Error("new connections still see the old certificate")
	}
	release()
	transfers.Wait()
	b.Signal(os.Interrupt)
	<-b.Exited()
}
