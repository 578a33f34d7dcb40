package proxy

import (
	"strings"
	"testing"
)

// A request that can be read in two ways ends in an error, or arrives so that only one is left.
func TestAmbiguousRequests(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
	for _, c := range []struct {
		name    string
		request string
		status  string // of bellbuoy's answer
		arrives string // a part of the request at the upstream; "": nothing may arrive
		not     string // must not arrive
	}{
		{"CL and TE", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "200", "Transfer-Encoding: chunked", "Content-Length"},
		{"CL twice, different", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", "400", "", ""},
		{"CL twice, equal", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "200", "Content-Length: 3\r\n", "Content-Length: 3\r\nContent-Length"},
		{"CL list", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", "400", "", ""},
		{"CL signed", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", "400", "", ""},
		{"CL negative", "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n", "400", "", ""},
		{"TE unknown", "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "501", "", ""},
		{"TE twice", "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", "501", "", ""},
		{"TE with a space before the colon", "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", "400", "", ""},
		{"chunk size overflow", "POST /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\nx\r\n0\r\n\r\n", "400", "partial", ""},
		{"obs-fold", "GET /x HTTP/1.1\r\nHost: h\r\nX-A: b\r\n c: d\r\n\r\n", "", "", "\r\n c: d"},
		{"Connection: Authorization", "GET /x HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\nConnection: close, Authorization\r\n\r\n", "400", "", ""},
		{"Connection: x-forwarded-for", "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close, x-forwarded-for\r\n\r\n", "400", "", ""},
		{"Connection: content-length", "POST /x HTTP/1.1\r\nHost: h\r\nConnection: close, content-length\r\nContent-Length: 3\r\n\r\nabc", "400", "", ""},
		{"Connection: x-hop", "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close, x-hop\r\nX-Hop: 1\r\n\r\n", "200", "GET /x", "X-Hop"},
		{"absolute form", "GET http://other:99/x?y HTTP/1.1\r\nHost: h\r\n\r\n", "200", "GET /x?y HTTP/1.1\r\nHost: other:99\r\n", "http://"},
		{"absolute form, no path", "GET http://other HTTP/1.1\r\nHost: h\r\n\r\n", "200", "GET / HTTP/1.1\r\nHost: other\r\n", "http://"},
		{"NUL in the path", "GET /a\x00b HTTP/1.1\r\nHost: h\r\n\r\n", "400", "", ""},
		{"NUL in a header", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: a\x00b\r\n\r\n", "400", "", ""},
		{"CR in a header", "GET /a HTTP/1.1\r\nHost: h\r\nX-A: a\rX-B: c\r\n\r\n", "400", "", ""},
		{"two hosts", "GET /a HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", "400", "", ""},
		{"no host", "GET /a HTTP/1.1\r\n\r\n", "400", "", ""},
		{"bad host", "GET /a HTTP/1.1\r\nHost: a b\r\n\r\n", "400", "", ""},
		{"Upgrade", "GET /x HTTP/1.1\r\nHost: h\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n", "200", "GET /x HTTP/1.1", "pgrade"},
		{"CONNECT", "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", "400", "", ""},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "400", "", ""},
		{"escape cut off", "GET /v2/a%2 HTTP/1.1\r\nHost: h\r\n\r\n", "400", "", ""},
		{"TRACE", "TRACE /x HTTP/1.1\r\nHost: h\r\nAuthorization: Basic YTpi\r\n\r\n", "200", "TRACE /x", ""},
		{"HTTP/1.0 without Host", "GET /x HTTP/1.0\r\n\r\n", "200", "GET /x HTTP/1.1\r\nHost: 127.0.0.1:", ""},
		{"bare LF", "GET /x HTTP/1.1\nHost: h\nConnection: close\n\n", "200", "GET /x HTTP/1.1\r\nHost: h\r\n", ""},
		{"a GET with a body", "GET /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "200", "Content-Length: 3\r\n", ""},
		{"two requests", "GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", "200", "GET /1", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			rec := newRecorder(t, ok)
			s := newRawStand(t, rec.Addr().String(), nil)
			request := c.request
			if !strings.Contains(request, "onnection:") && strings.Contains(request, " HTTP/1.1\r\n") {
				request = strings.Replace(request, " HTTP/1.1\r\n", " HTTP/1.1\r\nConnection: close\r\n", 1)
			}
			answer := s.raw(request)
			if !strings.HasPrefix(answer, "HTTP/1.1 "+c.status) && !strings.HasPrefix(answer, "HTTP/1.0 "+c.status) {
				t.Errorf("got the answer %q", answer)
			}
			all := strings.Join(rec.requests(), "---")
			if c.arrives == "" && c.status != "" && all != "" {
				t.Errorf("the upstream got %q", all)
			}
			if c.arrives != "partial" && !strings.Contains(all, c.arrives) || c.not != "" && strings.Contains(all, c.not) {
				t.Errorf("the upstream got %q", all)
			}
		})
	}
}

func TestIncompleteChunksAreNoWholeBody(t *testing.T) {
	rec := newRecorder(t, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
	s := newRawStand(t, rec.Addr().String(), nil)
	s.raw("PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n0\r\n\r\n")
	for _, r := range rec.requests() {
		if strings.HasSuffix(r, "0\r\n\r\n") {
			t.Errorf("the upstream got a clean end: %q", r)
		}
	}
	if len(s.tracker.intended) != 0 {
		t.Error("an intent for a broken body")
	}
}

// The bytes after a malformed body are no request. If the connection stayed open, they would be
// read as one.
func TestNothingFollowsABrokenBody(t *testing.T) {
	for _, method := range []string{"PUT /v2/a/manifests/v1", "PATCH /v2/a/blobs/uploads/1", "GET /v2/a/tags/list"} {
		rec := newRecorder(t, "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
		s := newRawStand(t, rec.Addr().String(), nil)
		answer := s.raw(method + " HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\n\nGET /behind HTTP/1.1\r\nHost: h\r\n\r\n")
		if !strings.HasPrefix(answer, "HTTP/1.1 400 ") || strings.Count(answer, "HTTP/1.1") != 1 || !strings.Contains(answer, "Connection: close\r\n") {
			t.Errorf("%s: got the answer %q", method, answer)
		}
		for _, r := range rec.requests() {
			if strings.Contains(r, "/behind") {
				t.Errorf("%s: the upstream got %q", method, r)
			}
		}
	}
}

func TestCredentialsStayOutOfErrors(t *testing.T) {
	s := newRawStand(t, "127.0.0.1:1", nil)
	_, body := s.do("GET", "/v2/a/manifests/v1?token=hunter2", nil, "Authorization", "Basic aHVudGVyMg==")
	for _, secret := range []string{"hunter2", "aHVudGVyMg", "127.0.0.1"} {
		if strings.Contains(body, secret) {
			t.Errorf("the error contains %q: %q", secret, body)
		}
	}
}
