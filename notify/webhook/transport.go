package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpproxy"
)

// TLS configures how the receiver is verified and how bellbuoy authenticates. The files are read
// again when they change. With an HTTPS proxy the settings apply to the proxy too.
type TLS struct {
	CAFile             string // PEM; replaces the system's roots
	CertFile, KeyFile  string // PEM; both or none
	ServerName         string // verified instead of the URL's host, and sent as SNI
	InsecureSkipVerify bool
}

// Config reads the files now, and returns the configuration for a connection to the server. Its
// errors begin with the key within tls.
func (t TLS) Config() (*tls.Config, error) {
	config := &tls.Config{ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("ca_file: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca_file: no certificate in %s", t.CAFile)
		}
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		return nil, errors.New("cert_file: cert_file and key_file go together")
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("cert_file: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// parseTarget parses a URL. It replaces the error of url.Parse, which quotes the URL.
func parseTarget(raw string) (*url.URL, error) {
	if raw == "" {
		return nil, errors.New("is required")
	}
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("is not a URL")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("must begin with http:// or https://")
	}
	if u.Hostname() == "" {
		return nil, errors.New("has no host")
	}
	if _, err := portOf(u); err != nil {
		return nil, err
	}
	if looksNumeric(u.Hostname()) {
		return nil, errors.New("has a host that is neither a name nor a plain IP address")
	}
	return u, nil
}

// looksNumeric reports whether a host looks like a number, as 127.1, 0x7f000001 and 2130706433 do.
// Some resolvers read those as addresses, others as names, so a guard and a proxy could disagree
// about them.
func looksNumeric(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return false
	}
	host = strings.TrimSuffix(host, ".")
	last := host[strings.LastIndexByte(host, '.')+1:]
	return digits(last) || strings.HasPrefix(last, "0x") || strings.HasPrefix(last, "0X")
}

func portOf(u *url.URL) (uint16, error) {
	if u.Port() == "" {
		if u.Scheme == "https" {
			return 443, nil
		}
		return 80, nil
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if err != nil || port == 0 {
		return 0, errors.New("has an invalid port")
	}
	return uint16(port), nil
}

func withoutUser(u *url.URL) *url.URL {
	bare := *u
	bare.User, bare.Fragment, bare.RawFragment = nil, "", ""
	return &bare
}

// route is the way to the receiver: direct, or through a proxy.
type route struct {
	proxy *url.URL // nil: direct
	dial  *Guard   // for addresses that bellbuoy dials
	guard *Guard   // for the receiver
	host  string
	port  uint16
	plain bool // http
}

// pinned reports whether the proxy gets the address that was checked. It could resolve the name to
// another address.
func (r route) pinned() bool { return r.proxy != nil && r.guard != nil && r.guard.restricted }

// newRoute selects the proxy once, because the target never changes. A restricted guard does not
// deny the environment's proxy, which the operator configured.
func newRoute(raw string, target *url.URL, guard *Guard) (route, error) {
	port, err := portOf(target)
	if err != nil {
		return route{}, err
	}
	r := route{dial: guard, guard: guard, host: target.Hostname(), port: port, plain: target.Scheme == "http"}
	if raw == "" {
		r.proxy, err = httpproxy.FromEnvironment().ProxyFunc()(target)
		if r.proxy != nil {
			r.dial = guard.unrestricted()
		}
	} else {
		r.proxy, err = url.Parse(raw)
	}
	if err != nil || r.proxy != nil && r.proxy.Hostname() == "" {
		// The error of url.Parse would quote the password.
		return route{}, errors.New("is not a URL with a host")
	}
	if r.proxy == nil {
		return r, nil
	}
	switch r.proxy.Scheme {
	case "http", "https", "socks5", "socks5h":
		return r, nil
	}
	return route{}, errors.New("must begin with http://, https:// or socks5://")
}

// check asks the guard about a receiver behind a proxy, because the dial only checks the proxy. If
// the route is pinned it returns the address for the proxy.
func (r route) check(ctx context.Context) (netip.Addr, error) {
	switch {
	case r.proxy == nil:
		return netip.Addr{}, nil
	case r.pinned() && r.plain:
		return netip.Addr{}, fmt.Errorf("%w: through a proxy, webhooks of limited accounts can use https only", ErrDenied)
	}
	ip, err := r.guard.CheckHost(ctx, r.host, r.port)
	if err != nil || !r.pinned() {
		return netip.Addr{}, err
	}
	return ip, nil
}

// pin replaces the receiver's name in the URL by its address. The Host header and the name in the
// certificate stay the same.
func (r route) pin(req *http.Request, ip netip.Addr) *http.Request {
	target := *req.URL
	target.Host = netip.AddrPortFrom(ip, r.port).String()
	pinned := req.WithContext(req.Context())
	pinned.URL = &target
	if pinned.Host == "" {
		pinned.Host = req.URL.Host
	}
	return pinned
}

func (c *Client) newTransport(config *tls.Config) *http.Transport {
	if c.route.pinned() && config.ServerName == "" {
		config.ServerName = c.route.host // the URL will have its address
	}
	return &http.Transport{
		Proxy:                  http.ProxyURL(c.route.proxy),
		OnProxyConnectResponse: checkProxyAnswer,
		DialContext:            c.route.dial.DialContext,
		TLSClientConfig:        config,
		TLSHandshakeTimeout:    c.timeout,
		ForceAttemptHTTP2:      true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 5 * time.Second},
		MaxConnsPerHost:        c.concurrency,
		MaxIdleConnsPerHost:    c.concurrency,
		IdleConnTimeout:        30 * time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		DisableCompression:     true, // a small answer could decompress to a large one
	}
}

// errProxyAnswered means that the proxy refused to connect.
var errProxyAnswered = errors.New("proxy answered")

// checkProxyAnswer replaces the transport's error, whose text comes from the proxy.
func checkProxyAnswer(_ context.Context, _ *url.URL, _ *http.Request, resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return fmt.Errorf("%w %d %s", errProxyAnswered, resp.StatusCode, http.StatusText(resp.StatusCode))
}

// currentTransport returns the transport, or a new one if a TLS file has changed. If a file cannot
// be read, as during a rotation, the old transport stays in use.
func (c *Client) currentTransport() *http.Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.files.changed() {
		return c.transport
	}
	config, err := c.files.load()
	if err != nil {
		return c.transport
	}
	c.transport.CloseIdleConnections()
	c.transport = c.newTransport(config)
	return c.transport
}

// tlsFiles reads the files of a TLS and detects changes.
type tlsFiles struct {
	options TLS
	seen    [3]os.FileInfo
}

func (f *tlsFiles) stat() [3]os.FileInfo {
	var now [3]os.FileInfo
	for i, name := range []string{f.options.CAFile, f.options.CertFile, f.options.KeyFile} {
		if name != "" {
			// a missing file counts as changed, and then fails to load
			now[i], _ = os.Stat(name)
		}
	}
	return now
}

func (f *tlsFiles) changed() bool {
	for i, now := range f.stat() {
		was := f.seen[i]
		if (now == nil) != (was == nil) {
			return true
		}
		if now != nil && !(os.SameFile(now, was) && now.ModTime().Equal(was.ModTime()) && now.Size() == was.Size()) {
			return true
		}
	}
	return false
}

// load reads the files.
func (f *tlsFiles) load() (*tls.Config, error) {
	seen := f.stat()
	config, err := f.options.Config()
	if err == nil {
		f.seen = seen
	}
	return config, err
}

// attemptProgress records how far an attempt came, because the transport's errors often do not say.
type attemptProgress struct{ untrusted, connected, answering atomic.Bool }

// attemptStage is how far an attempt without an answer came.
type attemptStage int

const (
	stageEarly     attemptStage = iota // no connection
	stageHandshake                     // the TLS handshake failed
	stageSilent                        // connected, and no byte arrived
	stageAnswering                     // bytes arrived that are no answer
)

func (t *attemptProgress) observe(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		TLSHandshakeDone:     func(_ tls.ConnectionState, err error) { t.untrusted.Store(err != nil); t.connected.Store(err == nil) },
		GotConn:              func(httptrace.GotConnInfo) { t.connected.Store(true) },
		GotFirstResponseByte: func() { t.answering.Store(true) },
	})
}

func (t *attemptProgress) stage() attemptStage {
	switch {
	case t.answering.Load():
		return stageAnswering
	case t.untrusted.Load():
		return stageHandshake
	case t.connected.Load():
		return stageSilent
	}
	return stageEarly
}
