package upstream

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

const (
	keptTokens     = 1024
	maxTokenAnswer = 1 << 20
	maxToken       = 64 << 10
	maxShownRealm  = 256
	defaultExpiry  = time.Minute // the token specification's
	maxExpiry      = time.Hour
)

// credentials are bellbuoy's own, with the tokens that were fetched with them. A token is cached
// under the scope of its look-up, so that the next look-up with that scope avoids a 401.
type credentials struct {
	base               *url.URL
	host               string   // sent as Host to the upstream's own token server
	external           *url.URL // the URL by which users name the upstream; nil: unknown
	root               string   // the path of the upstream's URL
	paths              []string // to which root is not added
	username, password string
	realms             []realm
	transport          http.RoundTripper // to the upstream's own host
	realmTransport     http.RoundTripper // to any other
	userAgent          string
	basic              atomic.Bool // the upstream accepts Basic
	tokens             *lru.Cache[string, token]
}

type token struct {
	value string
	until time.Time
}

func newCredentials(o Options, of *Client) *credentials {
	tokens, err := lru.New[string, token](keptTokens)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	c := &credentials{
		base: of.base, host: of.host, external: o.External, root: strings.TrimRight(o.URL.Path, "/"), paths: o.Paths,
		username: o.Username, password: o.Password, userAgent: of.userAgent, tokens: tokens,
		transport: of.transport, realmTransport: o.RealmTransport,
	}
	if c.realmTransport == nil {
		c.realmTransport = of.transport
	}
	for _, text := range o.Realms {
		if r, ok := parseRealm(text); ok {
			c.realms = append(c.realms, r)
		}
	}
	return c
}

// remembered returns the Authorization that the last look-up with this scope used, or "" if there
// is none or it has expired.
func (c *credentials) remembered(scope string) string {
	if c.basic.Load() {
		return c.basicAuth()
	}
	kept, ok := c.tokens.Get(scope)
	if !ok || !time.Now().Before(kept.until) {
		return ""
	}
	return "Bearer " + kept.value
}

func (c *credentials) basicAuth() string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.username+":"+c.password))
}

// answer returns the Authorization for one of the challenges, or "" if bellbuoy has no credentials
// for them.
func (c *credentials) answer(ctx context.Context, challenges []challenge, scope string) (string, error) {
	_, basic := offer(challenges, "basic")
	basic = basic && c.username != ""
	if bearer, ok := offer(challenges, "bearer"); ok {
		fetched, err := c.fetch(ctx, bearer)
		if err == nil {
			c.basic.Store(false)
			c.tokens.Add(scope, fetched)
			return "Bearer " + fetched.value, nil
		}
		if !basic {
			return "", err
		}
	}
	if !basic {
		return "", nil
	}
	c.basic.Store(true)
	return c.basicAuth(), nil
}

// fetch fetches a token: by GET with Basic, and by POST of the OAuth2 form if the server does not
// support GET.
func (c *credentials) fetch(ctx context.Context, bearer challenge) (token, error) {
	address, err := c.base.Parse(bearer.params["realm"])
	if err != nil || bearer.params["realm"] == "" || address.User != nil || address.Host == "" {
		return token{}, errors.New("the upstream requires a token but its challenge has no usable realm")
	}
	host := address.Host
	if own := c.inside(address); own != nil {
		address, host = own, c.host
	}
	if !c.trusts(address) {
		shown := address.Scheme + "://" + address.Host + address.EscapedPath()
		return token{}, &RealmError{Realm: shown[:min(len(shown), maxShownRealm)]}
	}
	fetched, err := c.get(ctx, address, host, bearer)
	var status *StatusError
	if errors.As(err, &status) && c.username != "" &&
		(status.Status == http.StatusMethodNotAllowed || status.Status == http.StatusNotFound) {
		fetched, err = c.post(ctx, address, host, bearer)
	}
	if err != nil {
		return token{}, fmt.Errorf("fetching a token from %s: %w", address.Host, err)
	}
	return fetched, nil
}

// inside translates the address of a token server at the external URL's host into one at the
// upstream, because the external name leads to bellbuoy. It returns nil for any other address.
func (c *credentials) inside(address *url.URL) *url.URL {
	if c.external == nil || !strings.EqualFold(unusualHost(address), unusualHost(c.external)) {
		return nil
	}
	return &url.URL{Scheme: c.base.Scheme, Host: c.base.Host, Path: Below(c.root, c.paths, address.Path), RawQuery: address.RawQuery}
}

func (c *credentials) get(ctx context.Context, address *url.URL, host string, bearer challenge) (token, error) {
	query := address.Query()
	if service := bearer.params["service"]; service != "" {
		query.Set("service", service)
	}
	for scope := range strings.FieldsSeq(bearer.params["scope"]) {
		query.Add("scope", scope)
	}
	query.Set("client_id", "bellbuoy")
	if c.username != "" {
		query.Set("account", c.username)
	}
	target := *address
	target.RawQuery, target.Fragment = query.Encode(), ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if err != nil {
		return token{}, err
	}
	req.URL, req.Host = &target, host
	if c.username != "" {
		req.Header.Set("Authorization", c.basicAuth())
	}
	return c.exchange(req)
}

func (c *credentials) post(ctx context.Context, address *url.URL, host string, bearer challenge) (token, error) {
	form := url.Values{
		"grant_type": {"password"}, "username": {c.username}, "password": {c.password},
		"client_id": {"bellbuoy"}, "access_type": {"online"},
	}
	for _, name := range []string{"service", "scope"} {
		if value := bearer.params[name]; value != "" {
			form.Set(name, value)
		}
	}
	body := form.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "/", strings.NewReader(body))
	if err != nil {
		return token{}, err
	}
	target := *address
	target.Fragment = ""
	req.URL, req.Host = &target, host
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return c.exchange(req)
}

// exchange sends a request for a token. It does not follow redirects.
func (c *credentials) exchange(req *http.Request) (token, error) {
	req.Header.Set("User-Agent", c.userAgent)
	req.Header.Set("Accept-Encoding", "identity")
	carrier := c.realmTransport
	if c.isHome(req.URL) {
		carrier = c.transport
	}
	resp, err := carrier.RoundTrip(req)
	if err != nil {
		return token{}, err
	}
	resp.Request = req
	defer discard(resp)
	if !success(resp.StatusCode) {
		return token{}, refusal(resp, saysOCI)
	}
	return readToken(resp)
}

var errToken = errors.New("no token in the answer")

func readToken(resp *http.Response) (token, error) {
	body, err := readAll(resp, maxTokenAnswer)
	if err != nil {
		return token{}, err
	}
	var parsed struct {
		Token       string  `json:"token"`
		AccessToken string  `json:"access_token"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if json.Unmarshal(body, &parsed) != nil {
		return token{}, errToken
	}
	value := parsed.Token
	if value == "" {
		value = parsed.AccessToken
	}
	if !usable(value) {
		return token{}, errToken
	}
	return token{value: value, until: time.Now().Add(lifetime(parsed.ExpiresIn))}, nil
}

// lifetime returns how long a token is used: nine tenths of its expires_in, at most of an hour. It
// ignores issued_at, because the two clocks may differ.
func lifetime(seconds float64) time.Duration {
	d := defaultExpiry
	if seconds >= 1 {
		d = time.Duration(min(seconds, maxExpiry.Seconds()) * float64(time.Second))
	}
	return d - d/10
}

// usable reports whether a token is valid in a header.
func usable(value string) bool {
	if value == "" || len(value) > maxToken {
		return false
	}
	return strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }) < 0
}

// realm is one entry of Options.Realms.
type realm struct {
	scheme string // "": https, or as the upstream
	host   string // lower case
	port   string // "": any if there is no scheme, else the scheme's
	path   string // "": any
}

func parseRealm(text string) (realm, bool) {
	text = strings.TrimSpace(text)
	bare := !strings.Contains(text, "://")
	if bare {
		text = "//" + text
	}
	parsed, err := url.Parse(text)
	if err != nil || parsed.Hostname() == "" || parsed.User != nil {
		return realm{}, false
	}
	r := realm{
		scheme: strings.ToLower(parsed.Scheme), host: strings.ToLower(parsed.Hostname()),
		port: parsed.Port(), path: strings.TrimRight(parsed.Path, "/"),
	}
	if !bare {
		r.port = port(parsed)
	}
	return r, bare || r.scheme == "http" || r.scheme == "https"
}

// trusts reports whether bellbuoy's credentials may be sent to a token server.
func (c *credentials) trusts(address *url.URL) bool {
	if address.Scheme != "http" && address.Scheme != "https" {
		return false
	}
	if c.isHome(address) {
		return true
	}
	for _, r := range c.realms {
		if r.covers(address, c.base.Scheme) {
			return true
		}
	}
	return false
}

func (r realm) covers(address *url.URL, upstreamScheme string) bool {
	schemeFits := address.Scheme == r.scheme
	if r.scheme == "" {
		schemeFits = address.Scheme == "https" || address.Scheme == upstreamScheme
	}
	return schemeFits && r.host == strings.ToLower(address.Hostname()) &&
		(r.port == "" || r.port == port(address)) &&
		(r.path == "" || address.Path == r.path || strings.HasPrefix(address.Path, r.path+"/"))
}

// isHome reports whether an address is at the upstream's own host: the same name and port, or port
// 443 where the upstream has port 80. An http address is not at the host of an https upstream.
func (c *credentials) isHome(address *url.URL) bool {
	if !strings.EqualFold(address.Hostname(), c.base.Hostname()) {
		return false
	}
	if address.Scheme != c.base.Scheme && address.Scheme != "https" {
		return false
	}
	usual := port(c.base) == "80" && port(address) == "443"
	return port(address) == port(c.base) || usual
}

// unusualHost returns the host of a URL without the default port of its scheme. The server that
// built the URL may not know the scheme that users use.
func unusualHost(u *url.URL) string {
	if port(u) == port(&url.URL{Scheme: u.Scheme}) {
		return u.Hostname()
	}
	return u.Host
}

// port returns the port of a URL, or the default port of its scheme.
func port(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	switch u.Scheme {
	case "http":
		return "80"
	case "https":
		return "443"
	}
	return ""
}
