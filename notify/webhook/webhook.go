// Package webhook makes one signed POST to one receiver, and guards which addresses it may reach.
//
// A [Client] is made from the [Options] of one webhook. [Client.Post] sends a [Message] and returns
// a [Result], which says whether the message was delivered, should be sent again, and when. The
// package does not retry, queue or log; the dispatcher in notify does. The bytes of Message.Body
// are signed and sent unchanged.
//
// A [Guard] decides which addresses may be dialled. It checks the address after DNS, so that a name
// cannot change its answer after the check. Other callers can use its DialContext in an
// http.Transport.
//
// Secrets (the URL's path, credentials, keys, header values) appear neither in errors of [New] nor
// in Result.Err, and are removed from Result.Response. [Redact] makes a URL safe to show.
package webhook

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/net/http/httpguts"
)

const (
	defaultTimeout     = 15 * time.Second
	defaultConcurrency = 8
	defaultUserAgent   = "bellbuoy"
	defaultContentType = "application/json"
)

// Options configures the client of one receiver. A zero field has the default that its comment
// names.
type Options struct {
	// URL is the receiver's http or https URL. User and password in it are sent as Basic
	// credentials, unless AuthHeader or Headers replace them. Path and query may have the
	// placeholders {tag} {digest} {repository} {namespace} {name} {type}, which each message
	// fills in. Required.
	URL string
	// AuthHeader is sent verbatim as Authorization; "" sends none.
	AuthHeader string
	// Headers are sent with every POST. They replace Content-Type, User-Agent and
	// Message.Header. They may not set webhook-*, Content-Length or a hop-by-hop header. "Host"
	// sets the request's host.
	Headers map[string]string
	// SigningSecrets are Standard Webhooks secrets (whsec_…, or whsk_… for ed25519). Each adds
	// a signature.
	SigningSecrets []string
	// Signatures are other signatures that receivers verify.
	Signatures []Signature
	TLS        TLS
	// Proxy is the URL of an HTTP, HTTPS or SOCKS5 proxy. "" uses HTTPS_PROXY, HTTP_PROXY and
	// NO_PROXY.
	Proxy string
	// Timeout bounds an attempt; 0 means 15 s.
	Timeout time.Duration
	// Concurrency bounds the connections to the receiver; 0 means 8.
	Concurrency int
	// UserAgent is sent as User-Agent; "" means "bellbuoy".
	UserAgent string
	// Guard checks addresses; nil denies only what is always denied.
	Guard *Guard
}

// Message is one delivery. Its body must never be changed, even after Post has returned.
type Message struct {
	ID          string            // webhook-id, the same for every attempt. Required.
	ContentType string            // "" means application/json
	Header      http.Header       // the format's own headers, such as ce-*; may be nil
	Values      map[string]string // of the URL's placeholders; may be nil if it has none
	Body        []byte
}

// Client posts to one receiver. It is safe for concurrent use.
type Client struct {
	url         *url.URL // without user and fragment
	raw         string   // the URL as configured
	filled      bool     // it has placeholders, which each message fills in
	host        string   // the Host of Options.Headers; "" means the URL's
	header      http.Header
	overrides   http.Header // replace the message's own
	standard    []standardKey
	signatures  []signer
	timeout     time.Duration
	concurrency int
	route       route
	redactor    *redactor
	files       tlsFiles

	mu        sync.Mutex
	transport *http.Transport // replaced when the TLS files change
}

// New validates o and returns its client. It makes no connection. An error begins with the key of
// the configuration file and contains no secret.
func New(o Options) (*Client, error) {
	c := &Client{
		timeout:     cmp.Or(o.Timeout, defaultTimeout),
		concurrency: cmp.Or(o.Concurrency, defaultConcurrency),
	}
	if o.Timeout < 0 || o.Concurrency < 0 {
		return nil, errors.New("timeout, concurrency: must not be negative")
	}
	names, err := Placeholders(o.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	target, err := parseTarget(o.URL)
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	c.raw, c.filled = o.URL, len(names) > 0
	if err := c.setHeaders(o, target.User); err != nil {
		return nil, err
	}
	if err := c.setSigners(o); err != nil {
		return nil, err
	}
	if c.route, err = newRoute(o.Proxy, target, o.Guard); err != nil {
		return nil, fmt.Errorf("proxy: %w", err)
	}
	c.redactor = newRedactor(o, target, c.route.proxy)
	c.url = withoutUser(target)
	c.files = tlsFiles{options: o.TLS}
	config, err := c.files.load()
	if err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	c.transport = c.newTransport(config)
	return c, nil
}

// Close closes idle connections. Attempts in flight end on their own.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport.CloseIdleConnections()
}

// Post makes one attempt and returns within the timeout. If ctx is cancelled before an answer, the
// result is Retry with ReasonCanceled, and the receiver may have got the message.
func (c *Client) Post(ctx context.Context, m Message) Result {
	start := time.Now()
	req, err := c.request(m, start)
	if err != nil {
		return Result{Outcome: Permanent, Reason: ReasonBody, Err: c.redactor.text(err.Error())}
	}
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	way := &attemptProgress{}
	resp, err := c.roundTrip(req.WithContext(way.observe(attempt)))
	if err != nil {
		return c.failed(ctx, attempt, err, way.stage(), time.Since(start))
	}
	result := resultOf(resp, c.url, time.Now())
	result.Latency = time.Since(start)
	result.Err = c.redactor.text(result.Err)
	result.Response = c.readResponse(resp, cancel)
	return result
}

func (c *Client) roundTrip(req *http.Request) (*http.Response, error) {
	ip, err := c.route.check(req.Context())
	if err != nil {
		return nil, err
	}
	if ip.IsValid() {
		req = c.route.pin(req, ip)
	}
	// http.Client would follow redirects, keep cookies and put the URL into errors.
	return c.currentTransport().RoundTrip(req)
}

// failed returns the result of an attempt without an answer.
func (c *Client) failed(ctx, attempt context.Context, err error, ended attemptStage, latency time.Duration) Result {
	reason := reasonOf(err, ended)
	text := err.Error()
	switch {
	case ctx.Err() == context.Canceled:
		reason, text = ReasonCanceled, "canceled before an answer came"
	case attempt.Err() == context.DeadlineExceeded && ctx.Err() == nil:
		reason, text = ReasonTimeout, fmt.Sprintf("no answer within %v", c.timeout)
	case isUnknownAuthority(err):
		text += "; tls.ca_file names the CA of a private certificate"
	}
	return Result{Latency: latency, Outcome: Retry, Reason: reason, Err: c.redactor.text(text)}
}

// request builds the signed POST. An error means that the message can never be sent.
func (c *Client) request(m Message, now time.Time) (*http.Request, error) {
	if err := sendable(m); err != nil {
		return nil, err
	}
	target, err := c.target(m)
	if err != nil {
		return nil, err
	}
	req := &http.Request{
		Method:        http.MethodPost,
		URL:           target,
		Host:          c.host,
		Proto:         "HTTP/1.1",
		ProtoMajor:    1,
		ProtoMinor:    1,
		Header:        c.headers(m),
		ContentLength: int64(len(m.Body)),
		Body:          http.NoBody,
	}
	if len(m.Body) > 0 {
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(m.Body)), nil }
		req.Body, _ = req.GetBody()
	}
	c.sign(req.Header, m, now)
	return req, nil
}

// headers returns the headers of the POST without signatures. Later sources replace earlier ones.
func (c *Client) headers(m Message) http.Header {
	h := c.header.Clone()
	h.Set("Content-Type", cmp.Or(m.ContentType, defaultContentType))
	for name, values := range m.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	for name, values := range c.overrides {
		h[name] = values
	}
	if _, ok := h["Idempotency-Key"]; !ok {
		// An empty Idempotency-Key is not sent. It lets the transport retry at once on a
		// new connection if the receiver had closed an idle one. webhook-id makes a
		// repetition harmless.
		h["Idempotency-Key"] = []string{}
	}
	return h
}

// sendable returns an error if HTTP forbids a part of m.
func sendable(m Message) error {
	if m.ID == "" || !httpguts.ValidHeaderFieldValue(m.ID) {
		return errors.New("message has no valid id")
	}
	if !httpguts.ValidHeaderFieldValue(m.ContentType) {
		return errors.New("message has an invalid content type")
	}
	for name, values := range m.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return errors.New("message has a header with an invalid name")
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				return fmt.Errorf("message has an invalid value in header %s", name)
			}
		}
	}
	return nil
}

// Reach connects to the receiver's host or its proxy, with a TLS handshake for an https receiver.
// It sends no request. The error contains no URL.
func (c *Client) Reach(ctx context.Context) error {
	if _, err := c.route.check(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	dial, config := c.transport.DialContext, c.transport.TLSClientConfig
	c.mu.Unlock()
	if c.route.proxy != nil {
		conn, err := dial(ctx, "tcp", withPort(c.route.proxy))
		if err != nil {
			return err
		}
		return conn.Close()
	}
	conn, err := dial(ctx, "tcp", withPort(c.url))
	if err != nil {
		return err
	}
	defer conn.Close()
	if c.url.Scheme != "https" {
		return nil
	}
	config = config.Clone()
	if config.ServerName == "" {
		config.ServerName = c.url.Hostname()
	}
	return tls.Client(conn, config).HandshakeContext(ctx)
}

// withPort returns the host and port of a URL.
func withPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443", "socks5": "1080", "socks5h": "1080"}[u.Scheme]
	}
	return net.JoinHostPort(u.Hostname(), port)
}

// shownAsIs lists headers whose values are never secrets.
var shownAsIs = []string{"Content-Type", "User-Agent", "Webhook-Id"}

// Shown returns the headers of m for people. A mark replaces secrets and signatures; a description
// replaces values that differ in each attempt.
func (c *Client) Shown(m Message) http.Header {
	shown := c.headers(m)
	c.sign(shown, m, time.Now())
	shown.Del("Idempotency-Key") // it is not sent
	for name, values := range shown {
		if slices.Contains(shownAsIs, name) || strings.HasPrefix(name, "Ce-") || m.Header[name] != nil && c.overrides[name] == nil {
			continue
		}
		shown[name] = make([]string, len(values))
		for i := range values {
			shown[name][i] = hiddenText
		}
	}
	shown.Set("Webhook-Timestamp", "(seconds at each attempt)")
	return shown
}
