// Package upstream asks an upstream, a registry or a ChartMuseum, bellbuoy's own questions: what does this tag stand
// on, is that digest there, which tags are there, does this place ask for a login. Clients' requests never pass
// through here; they are package proxy's.
//
// Start with [Client], which asks one question at a time. On it stand three larger pieces: settling a write whose
// outcome is not known ([Client.Stands], [Client.Present], [Client.ChartStands]), looking at what a delete is about
// to remove ([Client.BeforeDelete], [Client.BeforeChartDelete]), and reading all that is there ([Client.Walk]).
//
// Three rules hold everywhere:
//
//   - Credentials stay at home. bellbuoy's own go to the upstream's own host and to token servers that are named in
//     Options.Realms, a client's own go to the upstream only, and neither follows a redirect to another host. No error
//     contains one.
//   - "It is gone" is believed only where the upstream says so in its own protocol ([ErrNotFound]). Every other error
//     means "it does not say".
//   - Every answer is bounded: 4 MiB of a manifest, 8 MiB of a page, 64 MiB of an index.yaml (which is not kept).
//
// The package does not log and imports nothing of ours.
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
	maxDrained   = 4 << 10  // bytes read of an answer that is not wanted, so that its connection can be used again
	maxRedirects = 3        // within the upstream's own host

	defaultTimeout = 30 * time.Second
	fileTimeout    = 5 * time.Minute // an index.yaml or a chart
)

// Options say where the upstream is and whose credentials bellbuoy has there.
type Options struct {
	// URL is the upstream: scheme, host and port, and perhaps the path below which its API lies. Required.
	URL *url.URL
	// Paths are sent to the upstream as they are: the URL's path is not put before them.
	Paths []string
	// External is how users name the upstream: a token server there is the upstream's own. Nil: none is.
	External *url.URL
	// Host is sent as Host: the name that a virtual-hosted upstream answers to. "": the URL's.
	Host string
	// PathPrefix is the path below which the upstream is mounted (ChartMuseum's --context-path): "" or "/x".
	PathPrefix string
	// Transport carries the questions; it knows the upstream's CA and client certificate. Nil: http.DefaultTransport.
	Transport http.RoundTripper
	// Username and Password are bellbuoy's own credentials. Without a Username, tokens are asked for anonymously.
	Username, Password string
	// Realms are further token servers that may see these credentials: a host ("auth.docker.io", at any port), a
	// host and port, or a URL ("https://auth.docker.io/token"). One that cannot be read matches nothing. A host
	// without a scheme is spoken to in plain HTTP only if the upstream itself is.
	Realms []string
	// RealmTransport carries requests to token servers that are not the upstream's own host. Nil: Transport.
	RealmTransport http.RoundTripper
	// UserAgent is sent with every question. "": bellbuoy.
	UserAgent string
	// Timeout bounds one question, its answer's body included. Zero: 30 s.
	Timeout time.Duration
}

// As says whose credentials a question carries: bellbuoy's own, or, verbatim, the Authorization that a client sent
// ("" if it sent none).
type As struct {
	Authorization string
	Own           bool
}

var (
	// Anonymous asks without credentials, and fetches no token either.
	Anonymous = As{}
	// Own asks with bellbuoy's own credentials, fetching a token where the upstream wants one.
	Own = As{Own: true}
)

// Client asks questions of one upstream. It is safe for concurrent use and holds no goroutine and no file: there is
// nothing to close.
type Client struct {
	base      *url.URL // scheme and host only
	host      string   // what is sent as Host
	prefix    string   // of the URL's path and PathPrefix: "" or "/x"
	transport http.RoundTripper
	userAgent string
	timeout   time.Duration
	own       *credentials
	noHead    atomic.Bool // this ChartMuseum answers no HEAD for a chart's file
}

// New returns a client of the upstream that o names.
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

// HasCredentials reports whether bellbuoy has a name of its own at this upstream.
func (c *Client) HasCredentials() bool { return c.own.username != "" }

// question is one request of ours, before it is known which credentials it needs.
type question struct {
	method  string
	target  *url.URL
	accept  string
	scope   string // what a token for it will have to cover; the key under which the token is kept
	as      As
	asIs    bool          // a redirect is an answer
	timeout time.Duration // zero: the client's
}

// Below is the path, raw or decoded, under which an upstream whose URL has the path base knows what clients ask for as path:
// base is put before it, unless path lies below base already or is one of paths, or below one.
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

// lies reports whether a path is another one, or below it.
func lies(path, below string) bool {
	rest, ok := strings.CutPrefix(path, below)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == '?')
}

// at is the address of a decoded path below the prefix.
func (c *Client) at(path, query string) *url.URL {
	return &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: c.prefix + path, RawQuery: query}
}

// ask sends q and returns the answer, whatever its status. Closing its body ends the question.
func (c *Client) ask(ctx context.Context, q question) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(q.timeout, c.timeout))
	resp, err := c.converse(ctx, q)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("asking %s %s: %w", q.method, q.target.EscapedPath(), err)
	}
	resp.Body = &answer{ReadCloser: resp.Body, done: cancel}
	return resp, nil
}

// converse asks, and asks once more where the upstream wants to know who bellbuoy is.
func (c *Client) converse(ctx context.Context, q question) (*http.Response, error) {
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

// send follows redirects within the upstream's own host only; any other is returned as the answer.
func (c *Client) send(ctx context.Context, q question, authorization string) (*http.Response, error) {
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
	// A length or a digest must be that of the manifest, not of its packing. (Some answer packed all the same.)
	req.Header.Set("Accept-Encoding", "identity")
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
}

// homeward is where a redirect leads if that is the upstream itself; else nil.
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

// answer is a response's body; closing it drains a little, so that the connection can be used again, and ends the
// question's context.
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

// discard throws an answer away.
func discard(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxDrained)
	_ = resp.Body.Close()
}

func success(status int) bool { return status >= 200 && status <= 299 }

// Probe asks without credentials what a client asked with them, to learn whether the upstream would have let anybody:
// HEAD or GET for a read, POST with an empty body for a chart's upload, and for a write to a repository PUT of an upload that
// nobody began, without body and digest. uri is a path and query as a client sends them. Redirects are answers. What could
// open an upload session, or change anything, is refused.
func (c *Client) Probe(ctx context.Context, method, uri string) (int, error) {
	target, err := c.probed(method, uri)
	if err != nil {
		return 0, err
	}
	resp, err := c.ask(ctx, question{method: method, target: target, accept: acceptManifest, asIs: true})
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, nil
}

var errProbe = errors.New("not a question that may be asked without credentials")

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

// Refuses reports whether a token server of the upstream refuses a login that nobody has. uri is a path and query as a client
// sends them for a token.
func (c *Client) Refuses(ctx context.Context, uri string) (bool, error) {
	target, err := c.probed(http.MethodGet, uri)
	if err != nil {
		return false, err
	}
	login := "Basic " + base64.StdEncoding.EncodeToString([]byte("bellbuoy-"+uuid.NewString()+":"+uuid.NewString()))
	resp, err := c.ask(ctx, question{method: http.MethodGet, target: target, asIs: true, as: As{Authorization: login}})
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden, nil
}

// isUUID reports whether s is a UUID in its usual form.
func isUUID(s string) bool { return len(s) == 36 && uuid.Validate(s) == nil }
