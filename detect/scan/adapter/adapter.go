// Package adapter is the client of one scanner adapter: Harbor's pluggable scanner adapter API,
// version 1. It follows no redirects (302 says that a report is not ready) and reads bounded
// answers.
package adapter

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect/scan"
)

// The media types of the API. The adapters compare them as strings, with this one space.
const (
	mimeMetadata = "application/vnd.scanner.adapter.metadata+json; version=1.0"
	mimeRequest  = "application/vnd.scanner.adapter.scan.request+json; version=1.0"
	mimeResponse = "application/vnd.scanner.adapter.scan.response+json; version=1.0"
	mimeReport   = "application/vnd.security.vulnerability.report; version=1.1"
	mimeLegacy   = "application/vnd.scanner.adapter.vuln.report.harbor+json; version=1.0"
)

const (
	callTimeout   = 10 * time.Second
	reportTimeout = 30 * time.Second // a report may have many megabytes
	maxAnswer     = 1 << 20
	maxError      = 64 << 10
	metadataFor   = time.Hour // asking costs some adapters a process
)

// Auth is the login at an adapter. Its zero value is none.
type Auth struct {
	Type               string // none, basic, bearer, api_key
	Username, Password string
	Token              string
}

// Options configure a Client.
type Options struct {
	URL       string // base of the adapter, without /api/v1
	Auth      Auth
	Transport http.RoundTripper
	UserAgent string
}

// Client speaks to one adapter. It is safe for concurrent use.
type Client struct {
	base      string
	auth      Auth
	http      http.Client
	userAgent string

	mu    sync.Mutex
	mime  string // of the reports that the scanner makes
	known time.Time
}

// New makes a Client.
func New(o Options) (*Client, error) {
	u, err := url.Parse(o.URL)
	if err != nil || u.Host == "" {
		return nil, errors.New("url: is not a URL with a host") // url.Parse would quote its password
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	base := strings.TrimSuffix(u.String(), "/")
	if !strings.HasSuffix(base, "/api/v1") {
		base += "/api/v1"
	}
	return &Client{base: base, auth: o.Auth, userAgent: o.UserAgent, http: http.Client{
		Transport:     o.Transport,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// Reach asks the adapter for its metadata, to check that it can be reached.
func (c *Client) Reach(ctx context.Context) error {
	_, err := c.askMetadata(ctx)
	return err
}

type (
	wireRequest struct {
		Registry     wireRegistry     `json:"registry"`
		Artifact     wireArtifact     `json:"artifact"`
		Capabilities []wireCapability `json:"enabled_capabilities"`
	}
	wireRegistry struct {
		URL           string `json:"url"`
		Authorization string `json:"authorization"`
		Insecure      bool   `json:"insecure"`
	}
	wireArtifact struct {
		Repository string `json:"repository"`
		Tag        string `json:"tag,omitempty"`
		Digest     string `json:"digest"`
		MediaType  string `json:"mime_type"`
		Size       int64  `json:"size,omitempty"`
	}
	wireCapability struct {
		Type     string   `json:"type"`
		Produces []string `json:"produces_mime_types"`
	}
)

// Submit implements scan.Adapter.
func (c *Client) Submit(ctx context.Context, q scan.Request) (string, error) {
	mime, err := c.reportType(ctx)
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(wireRequest{
		Registry:     wireRegistry{URL: q.RegistryURL, Authorization: q.Authorization, Insecure: q.Insecure},
		Artifact:     wireArtifact{Repository: q.Repository, Tag: q.Tag, Digest: q.Digest, MediaType: q.MediaType, Size: q.Size},
		Capabilities: []wireCapability{{Type: "vulnerability", Produces: []string{mime}}},
	})
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodPost, "/scan", mimeResponse, body)
	if err != nil {
		return "", fmt.Errorf("submitting the scan: %w", err)
	}
	defer drain(resp)
	switch resp.StatusCode {
	case http.StatusAccepted, http.StatusOK, http.StatusCreated:
		return readID(resp.Body)
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusNotImplemented:
		return "", &scan.Refusal{Reason: "the scanner refused the scan: " + said(resp)}
	}
	return "", fmt.Errorf("submitting the scan: %s", said(resp))
}

func readID(in io.Reader) (string, error) {
	var answer struct {
		ID string `json:"id"`
	}
	if err := json.NewDecoder(io.LimitReader(in, maxAnswer)).Decode(&answer); err != nil {
		return "", fmt.Errorf("submitting the scan: reading the answer: %w", err)
	}
	if answer.ID == "" || len(answer.ID) > 256 {
		return "", errors.New("submitting the scan: the answer has no usable id")
	}
	return answer.ID, nil
}

// Report implements scan.Adapter.
func (c *Client) Report(ctx context.Context, id string) (*scan.Report, error) {
	mime, err := c.reportType(ctx)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, reportTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, "/scan/"+url.PathEscape(id)+"/report", mime, nil)
	if err != nil {
		return nil, fmt.Errorf("asking for the report: %w", err)
	}
	defer drain(resp)
	switch resp.StatusCode {
	case http.StatusOK:
		return scan.ReadReport(resp.Body, mime)
	case http.StatusFound:
		return nil, &scan.Pending{After: refreshAfter(resp.Header)}
	case http.StatusNotFound, http.StatusGone:
		return nil, scan.ErrLost
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout,
		http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("asking for the report: %s", said(resp))
	}
	text := said(resp)
	if resp.StatusCode == http.StatusInternalServerError && strings.Contains(text, "getting scan job: ") {
		return nil, fmt.Errorf("asking for the report: %s", text) // the adapter's store is down, not the scan
	}
	return nil, &scan.Refusal{Reason: text}
}

// refreshAfter returns how long a scanner asks to wait before the next request, or 0.
func refreshAfter(h http.Header) time.Duration {
	n, err := strconv.Atoi(strings.TrimSpace(h.Get("Refresh-After")))
	if err != nil || n <= 0 || n > 86400 {
		return 0
	}
	return time.Duration(n) * time.Second
}

// reportType asks the scanner which of the known types of report it makes, and remembers that.
func (c *Client) reportType(ctx context.Context) (string, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.mime != "" && time.Since(c.known) < metadataFor {
		return c.mime, nil
	}
	mime, err := c.askMetadata(ctx)
	if err != nil {
		if c.mime != "" {
			return c.mime, nil
		}
		return "", fmt.Errorf("asking for the scanner's metadata: %w", err)
	}
	c.mime, c.known = mime, time.Now()
	return mime, nil
}

func (c *Client) askMetadata(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.do(ctx, http.MethodGet, "/metadata", mimeMetadata, nil)
	if err != nil {
		return "", err
	}
	defer drain(resp)
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(said(resp))
	}
	var m struct {
		Capabilities []struct {
			Type     string   `json:"type"`
			Produces []string `json:"produces_mime_types"`
		} `json:"capabilities"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&m); err != nil {
		return "", err
	}
	var produced []string
	for _, cap := range m.Capabilities {
		if cap.Type == "" || cap.Type == "vulnerability" {
			produced = append(produced, cap.Produces...)
		}
	}
	for _, known := range []string{mimeReport, mimeLegacy} {
		if slices.ContainsFunc(produced, func(p string) bool { return sameType(p, known) }) {
			return known, nil
		}
	}
	return "", fmt.Errorf("it makes no report of vulnerabilities that is known here, but %q", produced)
}

func sameType(a, b string) bool {
	return strings.EqualFold(strings.ReplaceAll(a, " ", ""), strings.ReplaceAll(b, " ", ""))
}

func (c *Client) do(ctx context.Context, method, path, accept string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, errors.New("the adapter's URL cannot be asked")
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", c.userAgent)
	if body != nil {
		req.Header.Set("Content-Type", mimeRequest)
	} else {
		req.Body = http.NoBody
	}
	switch c.auth.Type {
	case "basic":
		req.SetBasicAuth(c.auth.Username, c.auth.Password)
	case "bearer":
		req.Header.Set("Authorization", "Bearer "+c.auth.Token)
	case "api_key":
		req.Header.Set("X-ScannerAdapter-API-Key", c.auth.Token)
	}
	resp, err := c.http.Do(req)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // without the URL, which may be a secret
	}
	return resp, err
}

func drain(resp *http.Response) {
	_, _ = io.CopyN(io.Discard, resp.Body, maxError)
	_ = resp.Body.Close()
}

var tags = regexp.MustCompile(`<[^>]*>`)

// said returns the error message of an answer, whether JSON or not, on one line.
func said(resp *http.Response) string {
	body, _ := io.ReadAll(io.LimitReader(resp.Body, maxError))
	var wire struct {
		Error struct {
			Message string `json:"message"`
		} `json:"error"`
	}
	text := string(body)
	if json.Unmarshal(body, &wire) == nil && wire.Error.Message != "" {
		text = wire.Error.Message
	} else {
		text = tags.ReplaceAllString(text, " ")
	}
	if text = scan.OneLine(text); text == "" {
		return "the scanner answered " + strconv.Itoa(resp.StatusCode)
	}
	return fmt.Sprintf("the scanner answered %d: %s", resp.StatusCode, text)
}
