package adapter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect/scan"
)

// recording has the answers of a real adapter, exchange by exchange.
type recording struct {
	API []struct {
		Request struct {
			Line    string
			Headers []string
			Body    string
		}
		Response struct {
			Line    string
			Headers []string
			Body    string
		}
	} `json:"adapter_api"`
}

func load(t *testing.T, name string) recording {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", "recordings", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var r recording
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r
}

func header(lines []string) http.Header {
	h := http.Header{}
	for _, l := range lines {
		name, value, _ := strings.Cut(l, ": ")
		h.Add(name, value)
	}
	return h
}

// player answers as recorded, byte for byte, and requires the recorded requests. The recordings are
// of Harbor's requests. If one has no metadata, that of 01-metadata is used.
type player struct {
	t        *testing.T
	record   recording
	metadata recording
	next     int
}

func (p *player) RoundTrip(req *http.Request) (*http.Response, error) {
	if strings.HasSuffix(req.URL.Path, "/metadata") {
		return answer(req, p.metadata.API[0].Response.Line, p.metadata.API[0].Response.Headers, p.metadata.API[0].Response.Body), nil
	}
	for ; p.next < len(p.record.API); p.next++ {
		x := p.record.API[p.next]
		words := strings.Fields(x.Request.Line)
		if words[0] != req.Method || words[1] != req.URL.Path {
			continue
		}
		p.next++
		for _, name := range []string{"Accept", "Content-Type"} {
			if got, want := req.Header.Get(name), header(x.Request.Headers).Get(name); got != want {
				p.t.Errorf("%s %s: %s %q, and Harbor sends %q", req.Method, req.URL.Path, name, got, want)
			}
		}
		return answer(req, x.Response.Line, x.Response.Headers, x.Response.Body), nil
	}
	return nil, errors.New("the recording is over")
}

func answer(req *http.Request, line string, headers []string, body string) *http.Response {
	var status int
	_, _ = fmt.Sscanf(line, "HTTP/1.1 %d", &status)
	return &http.Response{StatusCode: status, Header: header(headers), Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body)), Request: req}
}

func TestRecordingsOfARealAdapter(t *testing.T) {
	for name, want := range map[string]string{
		"02-scan-completed":        "Critical 3 2 map[Critical:1 Low:1 Unknown:1] Trivy v0.74.0",
		"04-scan-no-vulnerability": "None 0 0 map[] Trivy v0.74.0",
		"07-scan-debian":           "Critical 2 1 map[Critical:1 Low:1] Trivy v0.74.0",
		"40-duplicate-findings":    "High 1 1 map[High:1] Trivy v0.74.0",
		"41-unknown-severity-only": "None 1 1 map[Unknown:1] Trivy v0.74.0",
		"11-image-missing":         "refused: the scanner answered 500: running trivy wrapper: creating scan target: fetching image: GET http://",
		"12-broken-layer":          "refused: the scanner answered 500: running trivy wrapper: ",
		"30-redis-back":            "Critical 3 2 map[Critical:1 Low:1 Unknown:1] Trivy v0.74.0",
	} {
		t.Run(name, func(t *testing.T) {
			p := &player{t: t, record: load(t, name), metadata: load(t, "01-metadata")}
			got := follow(t, newClient(t, p, Auth{}))
			t.Log(got)
			if !strings.HasPrefix(got, want) {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			if strings.ContainsAny(got, "\n\t") {
				t.Error("a reason is one line")
			}
		})
	}
}

func newClient(t *testing.T, rt http.RoundTripper, a Auth) *Client {
	t.Helper()
	c, err := New(Options{URL: "http://adapter:8080/", Auth: a, Transport: rt, UserAgent: "bellbuoy/test"})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// follow submits a scan and requests its report until it is ready.
func follow(t *testing.T, c *Client) string {
	t.Helper()
	ctx := context.Background()
	id, err := c.Submit(ctx, scan.Request{RegistryURL: "http://registry", Repository: "lab/bell", Digest: "sha256:1", MediaType: "m"})
	if err != nil {
		t.Fatal(err)
	}
	for {
		r, err := c.Report(ctx, id)
		var pending *scan.Pending
		var refusal *scan.Refusal
		switch {
		case errors.As(err, &pending):
		case errors.As(err, &refusal):
			return "refused: " + refusal.Reason
		case err != nil:
			return "error: " + err.Error()
		default:
			return fmt.Sprint(r.Severity, " ", r.Total, " ", r.Fixable, " ", r.By, " ", r.Scanner.Name, " ", r.Scanner.Version)
		}
	}
}

func TestAdapterWhoseStoreIsDown(t *testing.T) {
	p := &player{t: t, record: load(t, "30-redis-down"), metadata: load(t, "01-metadata")}
	c := newClient(t, p, Auth{})
	var refusal *scan.Refusal
	if _, err := c.Submit(context.Background(), scan.Request{}); err == nil || errors.As(err, &refusal) {
		t.Errorf("a POST that is answered 500: %v", err)
	}
	if _, err := c.Report(context.Background(), "4711f0df5cd504d4675c5a15"); err == nil || errors.As(err, &refusal) || errors.Is(err, scan.ErrLost) {
		t.Errorf("a report that fails because of the adapter's store: %v", err)
	}
}

func TestAnswersThatEndAScan(t *testing.T) {
	for _, name := range []string{"15-request-legacy-mime", "15-request-no-digest"} {
		p := &player{t: t, record: load(t, name), metadata: load(t, "01-metadata")}
		var refusal *scan.Refusal
		_, err := newClient(t, p, Auth{}).Submit(context.Background(), scan.Request{})
		if !errors.As(err, &refusal) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	p := &player{t: t, record: load(t, "16-report-unknown-id"), metadata: load(t, "01-metadata")}
	if _, err := newClient(t, p, Auth{}).Report(context.Background(), "0123456789abcdef01234567"); !errors.Is(err, scan.ErrLost) {
		t.Errorf("an unknown scan: %v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

const metadata = `{"scanner":{"name":"S"},"capabilities":[{"type":"vulnerability","produces_mime_types":[%q]}]}`

// fixed answers every request but metadata with one answer.
func fixed(status int, headers []string, body string) roundTripper {
	return func(req *http.Request) (*http.Response, error) {
		if strings.HasSuffix(req.URL.Path, "/metadata") {
			return answer(req, "HTTP/1.1 200 OK", nil, fmt.Sprintf(metadata, mimeReport)), nil
		}
		return answer(req, fmt.Sprintf("HTTP/1.1 %d X", status), headers, body), nil
	}
}

func TestAnswersToAReport(t *testing.T) {
	for name, tc := range map[string]struct {
		status  int
		headers []string
		body    string
		want    string
	}{
		"302":                {302, []string{"Location: /elsewhere"}, "", "pending 0s"},
		"302 with a time":    {302, []string{"Refresh-After: 200"}, "", "pending 3m20s"},
		"302 with nonsense":  {302, []string{"Refresh-After: soon"}, "", "pending 0s"},
		"404 as HTML":        {404, nil, "<html>404</html>", "lost"},
		"500 as HTML":        {500, nil, "<html><body><h1>Oh</h1>\n<p>no</p></html>", "refused: the scanner answered 500: Oh no"},
		"500 without a body": {500, nil, "", "refused: the scanner answered 500"},
		"415":                {415, nil, "", "refused: the scanner answered 415"},
		"503 of a gateway":   {503, nil, "", "error: asking for the report: the scanner answered 503"},
		"401":                {401, nil, "", "error: asking for the report: the scanner answered 401"},
		"200 without JSON":   {200, nil, "ok", "refused: reading the report: invalid character 'o' looking for beginning of value"},
	} {
		_, err := newClient(t, fixed(tc.status, tc.headers, tc.body), Auth{}).Report(context.Background(), "1")
		var pending *scan.Pending
		var refusal *scan.Refusal
		got := "nothing"
		switch {
		case errors.As(err, &pending):
			got = "pending " + pending.After.String()
		case errors.As(err, &refusal):
			got = "refused: " + refusal.Reason
		case errors.Is(err, scan.ErrLost):
			got = "lost"
		case err != nil:
			got = "error: " + err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: got %q, want %q", name, got, tc.want)
		}
	}
}

func TestRequestedTypeOfReport(t *testing.T) {
	for produces, want := range map[string]string{mimeReport: mimeReport, mimeLegacy: mimeLegacy, strings.ReplaceAll(mimeReport, " ", ""): mimeReport} {
		var asked, sent string
		c := newClient(t, roundTripper(func(req *http.Request) (*http.Response, error) {
			switch {
			case strings.HasSuffix(req.URL.Path, "/metadata"):
				return answer(req, "HTTP/1.1 200 OK", nil, fmt.Sprintf(metadata, produces)), nil
			case req.Method == http.MethodPost:
				body, _ := io.ReadAll(req.Body)
				sent = string(body)
				return answer(req, "HTTP/1.1 202 Accepted", nil, `{"id":"1"}`), nil
			}
			asked = req.Header.Get("Accept")
			return answer(req, "HTTP/1.1 200 OK", nil, `{"scanner":{}}`), nil
		}), Auth{})
		follow(t, c)
		if asked != want || !strings.Contains(sent, want) {
			t.Errorf("%s: requested the report %q, submitted %s", produces, asked, sent)
		}
	}
	var refusal *scan.Refusal
	_, err := newClient(t, roundTripper(func(req *http.Request) (*http.Response, error) {
		return answer(req, "HTTP/1.1 200 OK", nil, fmt.Sprintf(metadata, "application/x-sbom")), nil
	}), Auth{}).Submit(context.Background(), scan.Request{})
	if err == nil || errors.As(err, &refusal) {
		t.Errorf("a scanner without a known report: %v", err)
	}
}

func TestRequestOfASubmission(t *testing.T) {
	for _, tc := range []struct {
		auth          Auth
		authorization string
		key           string
	}{
		{Auth{Type: "none"}, "", ""},
		{Auth{Type: "basic", Username: "u", Password: "p"}, "Basic dTpw", ""},
		{Auth{Type: "bearer", Token: "t"}, "Bearer t", ""},
		{Auth{Type: "api_key", Token: "k"}, "", "k"},
	} {
		c := newClient(t, roundTripper(func(req *http.Request) (*http.Response, error) {
			if a, k := req.Header.Get("Authorization"), req.Header.Get("X-ScannerAdapter-API-Key"); a != tc.authorization || k != tc.key {
				t.Errorf("%s: got %q and %q", tc.auth.Type, a, k)
			}
			return nil, errors.New("that is all")
		}), tc.auth)
		_, _ = c.Submit(context.Background(), scan.Request{})
	}
}

func TestScannerThatNeverAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newClient(t, roundTripper(func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}), Auth{})
		begun := time.Now()
		if _, err := c.Submit(context.Background(), scan.Request{}); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > callTimeout {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}

func TestErrorsDoNotContainTheURL(t *testing.T) {
	c, err := New(Options{URL: "http://user:secret@adapter/token-in-path", Transport: roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, errors.New("connection refused")
	})})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Submit(context.Background(), scan.Request{}); err == nil || strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "token-in-path") {
		t.Errorf("got the error %v", err)
	}
	if _, err := New(Options{URL: "http://u:secret@%zz"}); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("got the error %v", err)
	}
}
