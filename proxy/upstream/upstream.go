// Package upstream sends bellbuoy's own requests to an upstream, a registry or a ChartMuseum. They
// look up the digest of a tag, whether a digest exists, the tags of a repository, and whether a
// path needs a login. Requests of clients do not pass through this package; package proxy forwards
// them.
//
// Start with [Client]. Three larger parts use it: settling a write whose outcome is unknown
// ([Client.Stands], [Client.Present], [Client.ChartStands]), looking up what a delete is about to
// remove ([Client.BeforeDelete], [Client.BeforeChartDelete]), and reading all repositories and tags
// ([Client.Walk]).
//
// Three rules hold everywhere:
//
//   - Credentials are sent to known hosts only. bellbuoy's own go to the upstream's host and to the
//     token servers in Options.Realms. Those of a client go to the upstream only. Neither are sent
//     to another host after a redirect, and no error contains them.
//   - Something counts as missing only if the upstream says so in its own protocol ([ErrNotFound]).
//     After every other error the state is unknown.
//   - Every answer is bounded: 4 MiB for a manifest, 8 MiB for a page, 256 MiB for a chart. The
//     caller bounds an index.yaml.
//
// The package does not log, and imports no other package of bellbuoy.
package upstream

import (
	"cmp"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

const (
	maxManifest  = 4 << 20  // bytes of a manifest that are read
	maxPage      = 8 << 20  // bytes of one page of tags or repositories
	maxRefusal   = 64 << 10 // bytes of an error's body that are read
	maxDrained   = 4 << 10  // bytes read from an unused answer, so that its connection can be reused
	maxRedirects = 3        // within the upstream's own host

	defaultTimeout = 30 * time.Second
	fileTimeout    = 5 * time.Minute // an index.yaml or a chart
)

// Options contain the address of the upstream and bellbuoy's credentials there.
type Options struct {
	// URL is the address of the upstream: scheme, host, port, and an optional path below which
	// its API is. Required.
	URL *url.URL
	// Paths are sent to the upstream unchanged: the URL's path is not added to them.
	Paths []string
	// External is the URL by which users name the upstream. A token server at that host belongs
	// to the upstream. May be nil.
	External *url.URL
	// Host is sent as Host: the name that a virtual-hosted upstream answers to. "": the URL's.
	Host string
	// PathPrefix is the path below which the upstream is mounted (ChartMuseum's
	// --context-path): "" or "/x".
	PathPrefix string
	// Transport sends the requests. It is configured with the upstream's CA and client
	// certificate. Nil: http.DefaultTransport.
	Transport http.RoundTripper
	// Username and Password are bellbuoy's own credentials. Without a Username, tokens are
	// requested anonymously.
	Username, Password string
	// Realms are further token servers that may see these credentials: a host
	// ("auth.docker.io", at any port), a host and port, or a URL
	// ("https://auth.docker.io/token"). An entry that cannot be parsed matches nothing. A host
	// without a scheme may be used over plain HTTP only if the upstream is.
	Realms []string
	// RealmTransport carries requests to token servers that are not the upstream's own host.
	// Nil: Transport.
	RealmTransport http.RoundTripper
	// UserAgent is sent with every request. "": bellbuoy.
	UserAgent string
	// Timeout bounds one request, including the body of its answer. Zero: 30 s.
	Timeout time.Duration
}

// As selects the credentials of a look-up: bellbuoy's own, or the unchanged Authorization header of
// a client ("" if it sent none).
type As struct {
	Authorization string
	Own           bool
}

var (
	// Anonymous sends no credentials and fetches no token.
	Anonymous = As{}
	// Own sends bellbuoy's own credentials, and fetches a token if the upstream requires one.
	Own = As{Own: true}
)

// Client sends look-ups to one upstream. It is safe for concurrent use. It starts no goroutine and
// holds no file, so it needs no Close.
type Client struct {
	base      *url.URL // scheme and host only
	host      string   // what is sent as Host
	prefix    string   // of the URL's path and PathPrefix: "" or "/x"
	transport http.RoundTripper
	userAgent string
	timeout   time.Duration
	own       *credentials
	noHead    atomic.Bool // this ChartMuseum does not support HEAD for a chart's file
}

// New returns a client for the upstream of o.
func New(o Options) *Client {
	base := &url.URL{Scheme: o.URL.Scheme, Host: o.URL.Host}
	c := &Client{
		base:      base,
		host:      cmp.Or(o.Host, base.Host),
		prefix:    strings.TrimRight(o.URL.Path, "/") + strings.TrimRight(o.PathPrefix, "/"),
		transport: o.Transport,
		userAgent: cmp.Or(o.UserAgent, "bellbuoy"),
		timeout:   cmp.Or(o.Timeout, defaultTimeout),
	}
	if c.transport == nil {
		c.transport = http.DefaultTransport
	}
	c.own = newCredentials(o, c)
	return c
}

// HasCredentials reports whether bellbuoy has credentials for this upstream.
func (c *Client) HasCredentials() bool { return c.own.username != "" }

// request describes a look-up before its credentials are known.
type request struct {
	method  string
	target  *url.URL
	accept  string
	scope   string // the scope of the token that it needs; also the key of the token cache
	as      As
	asIs    bool          // do not follow redirects
	timeout time.Duration // zero: the client's
}

// Below returns the path that is sent upstream for the path of a client's request, raw or decoded.
// base is the path of the upstream's URL. It is added in front, unless path is already at or below
// base or one of paths.
func Below(base string, paths []string, path string) string {
	if base == "" || lies(path, base) {
		return path
	}
	for _, further := range paths {
		if lies(path, strings.TrimRight(further, "/")) {
			return path
		}
	}
	return base + path
}

// lies reports whether path equals below or is below it.
func lies(path, below string) bool {
	rest, ok := strings.CutPrefix(path, below)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '?')
}

// at returns the URL of a decoded path below the prefix.
func (c *Client) at(path, query string) *url.URL {
	return &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: c.prefix + path, RawQuery: query}
}

// ask sends q and returns the response, whatever its status. The caller closes its body, which
// releases the context.
func (c *Client) ask(ctx context.Context, q request) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(q.timeout, c.timeout))
	resp, err := c.converse(ctx, q)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("sending %s %s: %w", q.method, q.target.EscapedPath(), err)
	}
	resp.Body = &answer{ReadCloser: resp.Body, done: cancel}
	return resp, nil
}

// converse sends q, and sends it again with credentials if the upstream answers 401.
func (c *Client) converse(ctx context.Context, q request) (*http.Response, error) {
	if !q.as.Own {
		return c.send(ctx, q, q.as.Authorization)
	}
	first := c.own.remembered(q.scope)
	resp, err := c.send(ctx, q, first)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	second, err := c.own.answer(ctx, parseChallenges(resp.Header.Values("Www-Authenticate")), q.scope)
	if err != nil {
		discard(resp)
		return nil, err
	}
	if second == "" || second == first {
		return resp, nil
	}
	discard(resp)
	return c.send(ctx, q, second)
}

// send follows redirects within the upstream's own host. It returns any other redirect as the
// response.
func (c *Client) send(ctx context.Context, q request, authorization string) (*http.Response, error) {
	target := q.target
	for hop := 0; ; hop++ {
		req, err := http.NewRequestWithContext(ctx, q.method, "/", nil)
		if err != nil {
			return nil, err
		}
		req.URL, req.Host = target, c.host
		c.dress(req, q.accept, authorization)
		resp, err := c.transport.RoundTrip(req)
		if err != nil {
			return nil, err
		}
		resp.Request = req
		next := c.homeward(resp, target)
		if next == nil || q.asIs || hop == maxRedirects {
			return resp, nil
		}
		discard(resp)
		target = next
	}
}

func (c *Client) dress(req *http.Request, accept, authorization string) {
	req.Header.Set("User-Agent", c.userAgent)
	// The length and the digest must be those of the uncompressed manifest. (Some servers
	// compress it all the same.)
	req.Header.Set("Accept-Encoding", "identity")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
}

// homeward returns the target of a redirect that stays at the upstream, else nil.
func (c *Client) homeward(resp *http.Response, from *url.URL) *url.URL {
	switch resp.StatusCode {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
	default:
		return nil
	}
	to, err := from.Parse(resp.Header.Get("Location"))
	if err != nil || to.Scheme != c.base.Scheme || to.User != nil {
		return nil
	}
	if !strings.EqualFold(to.Host, c.base.Host) && !strings.EqualFold(to.Host, c.host) {
		return nil
	}
	to.Host = c.base.Host
	return to
}

// answer is the body of a response. Close reads a bounded rest, so that the connection can be
// reused, and cancels the request's context.
type answer struct {
	io.ReadCloser
	done context.CancelFunc
}

func (a *answer) Close() error {
	_, _ = io.CopyN(io.Discard, a.ReadCloser, maxDrained)
	err := a.ReadCloser.Close()
	a.done()
	return err
}

// discard reads a bounded rest of a response and closes its body.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrained)
	_ = resp.Body.Close()
}

func success(status int) bool { return status >= 200 && status <= 299 }

// Probe repeats a client's request without credentials, to learn whether the upstream checks them.
// It returns the status. A read is probed with HEAD or GET, the upload of a chart with a POST
// without a body, and a write to a repository with a PUT to an upload that does not exist, without
// body and digest. uri is the path and query as a client sends them. Redirects are not followed.
// Probe refuses a request that could open an upload session or change anything.
func (c *Client) Probe(ctx context.Context, method, uri string) (int, error) {
	target, err := c.probed(method, uri)
	if err != nil {
		return 0, err
	}
	resp, err := c.ask(ctx, request{method: method, target: target, accept: acceptManifest, asIs: true})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

var errProbe = errors.New("not a harmless request")

func (c *Client) probed(method, uri string) (*url.URL, error) {
	target, err := url.ParseRequestURI(Below(c.own.root, c.own.paths, uri))
	if err != nil || !strings.HasPrefix(uri, "/") {
		return nil, fmt.Errorf("probing %s: %w", method, errProbe)
	}
	path, inRegistry := strings.CutPrefix(target.Path, c.prefix+"/v2/")
	harmless := method == http.MethodHead || method == http.MethodGet
	switch method {
	case http.MethodPost:
		harmless = !inRegistry && strings.HasSuffix(target.Path, "/charts")
	case http.MethodPut:
		i := strings.LastIndex(path, "/blobs/uploads/")
		harmless = inRegistry && i > 0 && isUUID(path[i+len("/blobs/uploads/"):]) && target.RawQuery == ""
	}
	if !harmless {
		return nil, fmt.Errorf("probing %s %s: %w", method, target.EscapedPath(), errProbe)
	}
	target.Scheme, target.Host, target.User = c.base.Scheme, c.base.Host, nil
	return target, nil
}

// Refuses reports whether a token server of the upstream refuses a random login. uri is the path
// and query of a token request as a client sends it.
func (c *Client) Refuses(ctx context.Context, uri string) (bool, error) {
	target, err := c.probed(http.MethodGet, uri)
	if err != nil {
		return false, err
	}
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte("bellbuoy-"+uuid.NewString()+":"+uuid.NewString()))
	resp, err := c.ask(ctx, request{method: http.MethodGet, target: target, asIs: true, as: As{Authorization: login}})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden, nil
}

// isUUID reports whether s is a UUID in its usual form.
func isUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
