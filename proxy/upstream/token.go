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

// credentials are bellbuoy's own, with the tokens that they were exchanged for. A token is kept under the scope that
// the question will need, so that the next one of its kind need not be refused first.
type credentials struct {
	base               *url.URL
	host               string   // sent as Host to the upstream's own token server
	external           *url.URL // how users name the upstream; nil: not known
	root               string   // the path of the upstream's URL
	paths              []string // that it is not put before
	username, password string
	realms             []realm
	transport          http.RoundTripper // to the upstream's own host
	realmTransport     http.RoundTripper // to any other
	userAgent          string
	basic              atomic.Bool // the upstream takes Basic
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

// remembered is the Authorization that a question of this scope will probably need; "" if that is not known.
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

// answer is the Authorization that one of the challenges asks for; "" if bellbuoy has none to give.
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

// fetch exchanges the credentials for a token: GET with Basic, and where the server knows no GET, the OAuth2 form.
func (c *credentials) fetch(ctx context.Context, bearer challenge) (token, error) {
	address, err := c.base.Parse(bearer.params["realm"])
	if err != nil || bearer.params["realm"] == "" || address.User != nil || address.Host == "" {
		return token{}, errors.New("the upstream asks for a token and names no usable realm")
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

// inside is where the upstream itself serves an address at the name that users know it by; nil for any other address. From
// here that name leads to bellbuoy, or nowhere.
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

// exchange sends a request for a token. A redirect is not followed.
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

var errToken = errors.New("the answer holds no token")

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

// lifetime is for how long a token is used: a tenth less than it lives, and never more than an hour. Its issued_at is
// not asked, as the two clocks may differ.
func lifetime(seconds float64) time.Duration {
	d := defaultExpiry
	if seconds >= 1 {
		d = time.Duration(min(seconds, maxExpiry.Seconds()) * float64(time.Second))
	}
	return d - d/10
}

// usable refuses what cannot stand in a header.
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

// trusts reports whether a token server may see bellbuoy's credentials.
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

// isHome reports whether an address is at the upstream's own host: the same name and port, or the same name at both
// schemes' usual ports, and never plain where the upstream is not.
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

// unusualHost is an address's host, without a port that is its scheme's: who made the address may not know by which scheme
// users come.
func unusualHost(u *url.URL) string {
	if port(u) == port(&url.URL{Scheme: u.Scheme}) {
		return u.Hostname()
	}
	return u.Host
}

// port is an address's port, its scheme's where it names none.
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
