// Package webhook makes one signed POST to one receiver, and guards where it may go.
//
// A [Client] is made from the [Options] of one webhook and posts [Message]s; every attempt ends in a
// [Result], a value that says whether the message was delivered, is to be tried again, and when. There are
// no retries, no queue and no log here: those belong to the dispatcher. The bytes of Message.Body are what
// is signed and what is sent, untouched.
//
// A [Guard] decides which addresses may be dialled. It looks at the address that a connection is about to
// be made to, after DNS, so that a name that changes its answer gains nothing. It serves every outbound
// caller of bellbuoy but the proxy itself: give its DialContext to an http.Transport.
//
// Secrets (the path of the URL, credentials, keys, header values) never appear in an error of [New] or in
// Result.Err, and are blotted out of Result.Response where a receiver echoes them. [Redact] does the same
// for a URL that is to be shown.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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

// Options is all that one receiver needs. Zero values mean the defaults named with each field.
type Options struct {
	// URL is where to POST to: http or https. User and password in it are sent as Basic credentials
	// unless AuthHeader or Headers say otherwise. Path and query may have placeholders, which each message
	// fills in: {tag} {digest} {repository} {namespace} {name} {type}. Required.
	URL string
	// AuthHeader is sent verbatim as Authorization; "" sends none.
	AuthHeader string
	// Headers are sent with every POST and win over Content-Type, User-Agent and Message.Header. They may
	// not set webhook-*, Content-Length or a hop-by-hop header. "Host" sets the request's host.
	Headers map[string]string
	// SigningSecrets are Standard Webhooks secrets (whsec_…, or whsk_… for ed25519); each adds a signature.
	SigningSecrets []string
	// Signatures are further schemes that receivers know.
	Signatures []Signature
	TLS        TLS
	// Proxy is the URL of an HTTP, HTTPS or SOCKS5 proxy. "" uses HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
	Proxy string
	// Timeout bounds a whole attempt; 0 means 15 s.
	Timeout time.Duration
	// Concurrency bounds the connections to the receiver; 0 means 8.
	Concurrency int
	// UserAgent is "bellbuoy/<version>"; "" means "bellbuoy".
	UserAgent string
	// Guard is shared by all clients; nil forbids only what is always forbidden.
	Guard *Guard
}

// Message is one delivery. The body must not be changed afterwards, not even when Post has returned.
type Message struct {
	ID          string            // webhook-id: the same for every attempt. Required.
	ContentType string            // "" means application/json
	Header      http.Header       // what the payload's format adds, e.g. ce-*; may be nil
	Values      map[string]string // of the URL's placeholders; may be nil where it has none
	Body        []byte
}

// Client posts to one receiver. It is safe for concurrent use.
type Client struct {
	url         *url.URL // without user and fragment
	raw         string   // the URL as configured
	filled      bool     // it has placeholders, which each message fills in
	host        string   // of Options.Headers; "" means that of the URL
	header      http.Header
	overrides   http.Header // win over the message's own
	standard    []standardKey
	signatures  []signer
	timeout     time.Duration
	concurrency int
	route       route
	blot        *blot
	files       tlsFiles

	mu        sync.Mutex
	transport *http.Transport // replaced when the TLS files change
}

// New checks o and makes its client; no connection is made. An error begins with the field's key, as in
// the configuration file, and holds no secret.
func New(o Options) (*Client, error) {
	c := &Client{
		timeout:     orDefault(o.Timeout, defaultTimeout),
		concurrency: orDefault(o.Concurrency, defaultConcurrency),
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
	c.blot = newBlot(o, target, c.route.proxy)
	c.url = withoutUser(target)
	c.files = tlsFiles{options: o.TLS}
	config, err := c.files.load()
	if err != nil {
		return nil, fmt.Errorf("tls.%w", err)
	}
	c.transport = c.newTransport(config)
	return c, nil
}

// Close closes the idle connections; attempts under way end on their own.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.transport.CloseIdleConnections()
}

// Post makes one attempt and returns within the timeout. When ctx is cancelled before an answer came, the
// result is Retry with ReasonCanceled, and the receiver may or may not have got the message.
func (c *Client) Post(ctx context.Context, m Message) Result {
	start := time.Now()
	req, err := c.request(m, start)
	if err != nil {
		return Result{Outcome: Permanent, Reason: ReasonBody, Err: c.blot.text(err.Error())}
	}
	attempt, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	way := &trail{}
	resp, err := c.roundTrip(req.WithContext(way.observe(attempt)))
	if err != nil {
		return c.failed(ctx, attempt, err, way.stage(), time.Since(start))
	}
	result := answered(resp, c.url, time.Now())
	result.Latency = time.Since(start)
	result.Err = c.blot.text(result.Err)
	result.Response = c.readResponse(resp, cancel)
	return result
}

func (c *Client) roundTrip(req *http.Request) (*http.Response, error) {
	if err := c.route.check(req.Context()); err != nil {
		return nil, err
	}
	return c.currentTransport().RoundTrip(req) // not http.Client: no redirects, no cookies, no URL in errors
}

// failed is the result of an attempt that got no answer.
func (c *Client) failed(ctx, attempt context.Context, err error, ended stage, latency time.Duration) Result {
	reason := reasonOf(err, ended)
	text := err.Error()
	switch {
	case ctx.Err() == context.Canceled:
		reason, text = ReasonCanceled, "canceled before an answer came"
	case attempt.Err() == context.DeadlineExceeded && ctx.Err() == nil:
		reason, text = ReasonTimeout, fmt.Sprintf("no answer within %v", c.timeout)
	}
	return Result{Latency: latency, Outcome: Retry, Reason: reason, Err: c.blot.text(text)}
}

// request builds the POST, signed for now. An error means that the message can never be sent.
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

// headers are those of the POST in rising order of precedence, without the signatures.
func (c *Client) headers(m Message) http.Header {
	h := c.header.Clone()
	h.Set("Content-Type", orDefault(m.ContentType, defaultContentType))
	for name, values := range m.Header {
		h[http.CanonicalHeaderKey(name)] = values
	}
	for name, values := range c.overrides {
		h[name] = values
	}
	if _, ok := h["Idempotency-Key"]; !ok {
		// Sends nothing, but lets the transport try again at once on a fresh connection when the receiver
		// had closed an idle one: webhook-id makes a repeat harmless.
		h["Idempotency-Key"] = []string{}
	}
	return h
}

// sendable reports what HTTP forbids in m.
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

func orDefault[T comparable](value, byDefault T) T {
	var zero T
	if value == zero {
		return byDefault
	}
	return value
}
