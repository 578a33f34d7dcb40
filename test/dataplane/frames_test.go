package dataplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// refused lists the ways in which an HTTP/2 server refuses a request.
const refused = "400 RST GOAWAY closed"

// TestRawFrames is TestRawRequests over HTTP/2: an ambiguous request ends in an error, or arrives
// as exactly one well-formed request with the meaning that bellbuoy gave it. If only a stream has a
// fault, the connection continues.
func TestRawFrames(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	a := authority.New(t)
	a.Issue("server")
	p := newTap(t, registry.URL)
	b := front(t, p.URL, "limits: {header_size: 16KiB}\n"+secured(a))
	const list, push = "/v2/a/tags/list", "/v2/a/manifests/x"
	long := strings.Repeat("x", 20<<10)
	for _, c := range []struct {
		name    string
		fields  []string
		data    []string // pieces of the body; nil: the header ends the stream
		trailer []string
		want    string // what reaches the upstream: method, target and body; "": nothing; "?": nothing, or an incomplete request
		is      string // ends, one of which must happen
		not     string // must not be in the head at the upstream
		has     string // must be in it
	}{
		{name: "plain", fields: request("GET", "/v2/"), want: "GET /v2/ ", is: "200", has: "Host: h\r\n"},
		{name: "plain push", fields: request("PUT", push, "content-length", "2"), data: []string{"{}"}, want: "PUT " + push + " {}", is: "400"},
		{name: "push without a length", fields: request("PUT", push), data: []string{"{", "}"}, want: "PUT " + push + " {}", is: "400"},

		{name: "no path", fields: []string{":method", "GET", ":scheme", "https", ":authority", "h"}, is: refused},
		{name: "no method", fields: []string{":path", "/v2/", ":scheme", "https", ":authority", "h"}, is: refused},
		{name: "no scheme", fields: []string{":method", "GET", ":path", "/v2/", ":authority", "h"}, is: refused},
		{name: "no pseudo-header", fields: []string{"x-a", "b"}, is: refused},
		{name: "two paths", fields: request("GET", "/v2/", ":path", list), is: refused},
		{name: "two methods", fields: request("GET", "/v2/", ":method", "PUT"), is: refused},
		{name: "two authorities", fields: request("GET", "/v2/", ":authority", "evil"), is: refused},
		{name: "two schemes", fields: request("GET", "/v2/", ":scheme", "http"), is: refused},
		{name: "a pseudo-header behind a header", fields: []string{":method", "GET", ":scheme", "https", ":authority", "h", "x-a", "b", ":path", "/v2/"}, is: refused},
		{name: "a pseudo-header of answers", fields: request("GET", "/v2/", ":status", "200"), is: refused},
		{name: "a pseudo-header that is none", fields: request("GET", "/v2/", ":x", "y"), is: refused},
		{name: "an empty path", fields: request("GET", ""), is: refused},
		{name: "path without a slash", fields: request("GET", "v2/"), is: refused},
		{name: "path in absolute form", fields: request("GET", "http://evil/v2/"), is: refused},
		{name: "path in absolute form, push", fields: request("PUT", "https://evil"+push), data: []string{"{}"}, is: refused},
		{name: "asterisk", fields: request("GET", "*"), is: refused},
		{name: "asterisk of OPTIONS", fields: request("OPTIONS", "*"), is: "200 " + refused},
		{name: "path of two slashes", fields: request("GET", "//evil/v2/"), want: "GET //evil/v2/ ", is: "301 404", has: "Host: h\r\n"},
		{name: "path with a line's end", fields: request("GET", "/v2/ HTTP/1.1\r\nX-Evil: y\r\n\r\n"), is: refused},
		{name: "path with a space", fields: request("GET", "/v2/ HTTP/1.1"), is: refused},
		{name: "path with a tab", fields: request("GET", "/v2/a\tb"), is: refused},
		{name: "path with NUL", fields: request("GET", "/v2/a\x00b"), is: refused},
		{name: "path with DEL", fields: request("GET", "/v2/?a\x7fb"), is: refused},
		{name: "push to a path with a line's end", fields: request("PUT", push+"\r\nX-Evil: y"), data: []string{"{}"}, is: refused},
		{name: "line's end escaped", fields: request("GET", "/v2/a%0d%0aX:y/tags/list"), want: "GET /v2/a%0d%0aX:y/tags/list ", is: "404 400"},
		{name: "an escape cut off", fields: request("GET", "/v2/%2"), is: refused},
		{name: "bytes above ASCII in the path", fields: request("GET", "/v2/\xff\xfe/tags/list"), want: "GET /v2/\xff\xfe/tags/list ", is: "404 400"},
		{name: "method with a space", fields: request("GET /v2/evil HTTP/1.1\r\nX:", "/v2/"), is: refused},
		{name: "method with a line's end", fields: request("GET\r\n", "/v2/"), is: refused},
		{name: "an empty method", fields: request("", "/v2/"), is: refused},
		{name: "method in small letters", fields: request("get", "/v2/"), want: "get /v2/ ", is: "200 404 405"},
		{name: "CONNECT", fields: []string{":method", "CONNECT", ":authority", "h:80"}, is: refused},
		{name: "CONNECT with a path", fields: request("CONNECT", "/v2/"), is: refused},
		{name: "extended CONNECT", fields: request("CONNECT", "/v2/", ":protocol", "websocket"), is: refused},
		{name: "scheme http", fields: []string{":method", "GET", ":scheme", "http", ":authority", "h", ":path", "/v2/"}, want: "GET /v2/ ", is: "200", has: "X-Forwarded-Proto: https\r\n"},
		{name: "scheme file", fields: []string{":method", "GET", ":scheme", "file:///etc/passwd#", ":authority", "h", ":path", "/v2/"}, is: refused},

		{name: "authority with a path", fields: []string{":method", "GET", ":scheme", "https", ":authority", "h/x", ":path", "/v2/"}, is: refused},
		{name: "authority with a user", fields: []string{":method", "GET", ":scheme", "https", ":authority", "a@h", ":path", "/v2/"}, is: refused},
		{name: "authority with a query", fields: []string{":method", "GET", ":scheme", "https", ":authority", "h?x", ":path", "/v2/"}, is: refused},
		{name: "authority with a line's end", fields: []string{":method", "GET", ":scheme", "https", ":authority", "h\r\nX-Evil: y", ":path", "/v2/"}, is: refused},
		{name: "authority with a space", fields: []string{":method", "GET", ":scheme", "https", ":authority", "h i", ":path", "/v2/"}, is: refused},
		{name: "no authority", fields: []string{":method", "GET", ":scheme", "https", ":path", "/v2/"}, want: "GET /v2/ ", is: "200"},
		{name: "Host instead of an authority", fields: []string{":method", "GET", ":scheme", "https", ":path", "/v2/", "host", "i"}, want: "GET /v2/ ", is: "200", has: "Host: i\r\n"},
		{name: "Host that differs", fields: request("GET", "/v2/", "host", "evil"), want: "GET /v2/ ", is: "200", has: "Host: h\r\n", not: "evil"},
		{name: "two Hosts", fields: request("GET", "/v2/", "host", "h", "host", "evil"), want: "GET /v2/ ", is: "200", has: "Host: h\r\n", not: "evil"},

		{name: "a name with a capital", fields: request("GET", "/v2/", "X-Evil", "y"), is: refused},
		{name: "an empty name", fields: request("GET", "/v2/", "", "y"), is: refused},
		{name: "a name with a colon", fields: request("GET", "/v2/", "x:evil", "y"), is: refused},
		{name: "a name with a space", fields: request("GET", "/v2/", "x evil", "y"), is: refused},
		{name: "a name with a line's end", fields: request("GET", "/v2/", "x\r\nevil", "y"), is: refused},
		{name: "a value with CRLF", fields: request("GET", "/v2/", "x-a", "b\r\nX-Evil: y"), is: refused},
		{name: "a value with CR", fields: request("GET", "/v2/", "x-a", "b\rX-Evil: y"), is: refused},
		{name: "a value with LF", fields: request("PUT", push, "x-a", "b\nX-Evil: y"), data: []string{"{}"}, is: refused},
		{name: "a value with NUL", fields: request("GET", "/v2/", "x-a", "b\x00c"), is: refused},
		{name: "User-Agent with CRLF", fields: request("GET", "/v2/", "user-agent", "b\r\nX-Evil: y"), is: refused},
		{name: "Connection", fields: request("GET", "/v2/", "connection", "authorization", "authorization", "Basic eDp5"), is: refused},
		{name: "Connection: close", fields: request("GET", "/v2/", "connection", "close"), is: refused},
		{name: "Keep-Alive", fields: request("GET", "/v2/", "keep-alive", "1"), is: refused},
		{name: "Proxy-Connection", fields: request("GET", "/v2/", "proxy-connection", "keep-alive"), is: refused},
		{name: "Upgrade", fields: request("GET", "/v2/", "upgrade", "websocket"), is: refused},
		{name: "Transfer-Encoding", fields: request("PUT", push, "transfer-encoding", "chunked"), data: []string{"0\r\n\r\nGET /v2/smuggled HTTP/1.1\r\n\r\n"}, is: refused},
		{name: "Transfer-Encoding and a length", fields: request("PUT", push, "transfer-encoding", "chunked", "content-length", "5"), data: []string{"0\r\n\r\n"}, is: refused},
		{name: "TE: trailers", fields: request("GET", "/v2/", "te", "trailers"), want: "GET /v2/ ", is: "200"},
		{name: "TE: gzip", fields: request("GET", "/v2/", "te", "gzip"), is: refused},
		{name: "X-Forwarded-For", fields: request("GET", "/v2/", "x-forwarded-for", "1.2.3.4"), want: "GET /v2/ ", is: "200", not: "1.2.3.4"},
		{name: "Expect", fields: request("PUT", push, "expect", "100-continue"), data: []string{"{}"}, want: "PUT " + push + " {}", is: "400"},

		{name: "less than the length", fields: request("PUT", push, "content-length", "60"), data: []string{"{}"}, want: "?", is: refused},
		{name: "more than the length", fields: request("PUT", push, "content-length", "2"), data: []string{"{}GET /v2/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"}, want: "?", is: refused},
		{name: "more than the length, later", fields: request("PUT", push, "content-length", "2"), data: []string{"{}", "GET /v2/smuggled HTTP/1.1\r\nHost: h\r\n\r\n"}, want: "?", is: refused},
		{name: "a length without a body", fields: request("PUT", push, "content-length", "2"), is: refused},
		{name: "a length of a GET without a body", fields: request("GET", list, "content-length", "48"), is: refused},
		{name: "a length of 0 and a body", fields: request("POST", "/v2/a/blobs/uploads/", "content-length", "0"), data: []string{"GET /v2/smuggled HTTP/1.1\r\n\r\n"}, want: "?", is: "202 RST"},
		{name: "two lengths", fields: request("PUT", push, "content-length", "2", "content-length", "60"), data: []string{"{}"}, is: refused},
		{name: "a length as a list", fields: request("PUT", push, "content-length", "2, 60"), data: []string{"{}"}, is: refused},
		{name: "a length with a sign", fields: request("PUT", push, "content-length", "+2"), data: []string{"{}"}, is: refused},
		{name: "a length below zero", fields: request("PUT", push, "content-length", "-2"), data: []string{"{}"}, is: refused},
		{name: "a length too long to be", fields: request("PUT", push, "content-length", "99999999999999999999"), data: []string{"{}"}, is: refused},
		{name: "a GET with a body", fields: request("GET", list), data: []string{"GET /v2/smuggled HTTP/1.1\r\n\r\n"}, want: "GET " + list + " GET /v2/smuggled HTTP/1.1\r\n\r\n", is: "404"},
		{name: "a DELETE with a body", fields: request("DELETE", push), data: []string{"abc"}, want: "DELETE " + push + " abc", is: "404"},
		{name: "a HEAD with a body", fields: request("HEAD", push), data: []string{"abc"}, want: "HEAD " + push + " abc", is: "404"},
		{name: "an empty body", fields: request("GET", "/v2/"), data: []string{""}, want: "GET /v2/ ", is: "200"},

		{name: "trailer", fields: request("PUT", push, "trailer", "x-t"), data: []string{"{}"}, trailer: []string{"x-t", "1"}, want: "PUT " + push + " {}", is: "400"},
		{name: "a trailer nobody announced", fields: request("PUT", push), data: []string{"{}"}, trailer: []string{"authorization", "Basic eDp5"}, want: "PUT " + push + " {}", is: "400", not: "Authorization"},
		{name: "a trailer that would decide", fields: request("PUT", push, "trailer", "content-length"), data: []string{"{}"}, trailer: []string{"content-length", "60"}, want: "PUT " + push + " {}", is: "400", not: "Content-Length"},
		{name: "a trailer with a pseudo-header", fields: request("PUT", push), data: []string{"{}"}, trailer: []string{":path", "/v2/evil"}, want: "?", is: refused},
		{name: "a trailer with a line's end", fields: request("PUT", push, "trailer", "x-t"), data: []string{"{}"}, trailer: []string{"x-t", "1\r\nX-Evil: y"}, want: "?", is: refused},
		{name: "a trailer with a capital", fields: request("PUT", push, "trailer", "X-T"), data: []string{"{}"}, trailer: []string{"X-T", "1"}, want: "?", is: refused},

		{name: "a long header", fields: request("GET", "/v2/", "x", long), is: "431 " + refused},
		{name: "many headers", fields: request("GET", "/v2/", slices.Repeat([]string{"x", "y"}, 4000)...), is: "431 " + refused},
		{name: "a long path", fields: request("GET", "/v2/"+long), is: "431 414 " + refused},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := strings.ReplaceAll(c.name, " ", "-")
			h := newH2(t, a, b.Host)
			go h.listen()
			h.headers(1, c.data == nil, append(c.fields, "x-row", row)...)
			for i, piece := range c.data {
				_ = h.WriteData(1, i == len(c.data)-1 && c.trailer == nil, []byte(piece))
			}
			if c.trailer != nil {
				h.headers(1, true, c.trailer...)
			}
			h.flush()
			got := h.outcome(1)
			if kind, _, _ := strings.Cut(got, " "); !slices.Contains(strings.Fields(c.is), kind) {
				t.Errorf("ended with %s, want one of %s", got, c.is)
			}
			next := fmt.Sprintf("/v2/next-%d/manifests/x", time.Now().UnixNano())
			h.headers(3, true, request("HEAD", next, "x-row", row)...)
			h.flush()
			late := strings.HasPrefix(got, "RST") && c.data != nil // the rest reaches a stream that may not exist: that ends the connection
			if after := h.outcome(3); after != "404" && !strings.HasPrefix(got, "GOAWAY") && got != "closed" && !late {
				t.Errorf("after %s, the next request ends with %s", got, after)
			}
			all := slices.DeleteFunc(p.take(t), func(r arrived) bool { return r.Header.Get("X-Row") != row || r.Target == next })
			for _, r := range all {
				if strings.Contains(r.Target, "smuggled") || strings.Contains(r.Raw, "Evil") {
					t.Errorf("an unexpected request reached the upstream: %q", r.Raw)
				}
			}
			if (c.want == "") != (len(all) == 0) && c.want != "?" || len(all) > 1 {
				t.Fatalf("%s, and %d requests arrived: %+v", got, len(all), all)
			}
			if len(all) == 0 {
				return
			}
			r := all[0]
			whole := r.Method + " " + r.Target + " " + r.Body
			if c.want == "?" && !r.Broken && (c.trailer != nil || r.Body != "" && r.Body != "{}") || c.want != "?" && (whole != c.want || r.Broken) {
				t.Errorf("%s, and arrived as %q with %q; want %q", got, r.Raw, r.Body, c.want)
			}
			if !strings.Contains(r.Raw, c.has) || c.not != "" && strings.Contains(headersOf(r.Raw), c.not) {
				t.Errorf("%s, and arrived as %q; want %q in it, and not %q", got, r.Raw, c.has, c.not)
			}
		})
	}
	sound(t, b)
}

// TestBrokenFrames breaks the rules of the connection. The connection or the stream ends with the
// code of the standard, and only whole requests arrive.
func TestBrokenFrames(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	a := authority.New(t)
	a.Issue("server")
	b := front(t, registry.URL, secured(a))
	get := request("GET", "/v2/")
	for _, c := range []struct {
		name   string
		stream uint32
		is     string
		say    func(h *h2)
	}{
		{"DATA on an idle stream", 1, "GOAWAY PROTOCOL_ERROR", func(h *h2) { _ = h.WriteData(1, true, []byte("x")) }},
		{"DATA behind the end", 3, "GOAWAY STREAM_CLOSED|RST STREAM_CLOSED|200", func(h *h2) {
			h.headers(1, true, get...)
			_ = h.WriteData(1, true, []byte("x"))
			h.headers(3, true, get...)
		}},
		{"HEADERS behind the end", 1, "GOAWAY STREAM_CLOSED|RST STREAM_CLOSED|GOAWAY PROTOCOL_ERROR|200", func(h *h2) {
			h.headers(1, true, get...)
			h.headers(1, true, get...)
		}},
		{"a header twice that is no trailer", 1, "RST PROTOCOL_ERROR|GOAWAY PROTOCOL_ERROR", func(h *h2) {
			h.headers(1, false, request("PUT", "/v2/a/manifests/x")...)
			h.headers(1, false, "x-t", "1")
		}},
		{"a stream of an even number", 2, "GOAWAY PROTOCOL_ERROR", func(h *h2) { h.headers(2, true, get...) }},
		{"a stream of number 0", 0, "GOAWAY PROTOCOL_ERROR", func(h *h2) { h.headers(0, true, get...) }},
		{"a stream that counts back", 1, "GOAWAY PROTOCOL_ERROR|GOAWAY STREAM_CLOSED", func(h *h2) {
			h.headers(5, false, request("PUT", "/v2/a/manifests/x")...)
			h.headers(1, true, get...)
		}},
		{"CONTINUATION of nothing", 1, "GOAWAY PROTOCOL_ERROR", func(h *h2) { _ = h.WriteContinuation(1, true, h.fields(get...)) }},
		{"something before CONTINUATION", 1, "GOAWAY PROTOCOL_ERROR", func(h *h2) {
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: h.fields(get...), EndStream: true})
			_ = h.WritePing(false, [8]byte{})
		}},
		{"a header that is no HPACK", 1, "GOAWAY COMPRESSION_ERROR", func(h *h2) {
			_ = h.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EndStream: true, EndHeaders: true})
		}},
		{"a frame too long", 1, "GOAWAY FRAME_SIZE_ERROR", func(h *h2) { _ = h.WriteRawFrame(http2.FrameData, 0, 1, make([]byte, 70<<10)) }},
		{"more padding than frame", 1, "GOAWAY PROTOCOL_ERROR", func(h *h2) {
			h.headers(1, false, request("PUT", "/v2/a/manifests/x")...)
			_ = h.WriteRawFrame(http2.FrameData, http2.FlagDataPadded, 1, []byte{200, 'x'})
		}},
		{"PUSH_PROMISE", 1, "GOAWAY PROTOCOL_ERROR", func(h *h2) {
			_ = h.WritePushPromise(http2.PushPromiseParam{StreamID: 1, PromiseID: 2, BlockFragment: h.fields(get...), EndHeaders: true})
		}},
		{"a window that opens by nothing", 1, "RST PROTOCOL_ERROR|GOAWAY PROTOCOL_ERROR", func(h *h2) {
			h.headers(1, false, request("PUT", "/v2/a/manifests/x")...)
			_ = h.WriteWindowUpdate(1, 0)
		}},
		{"a connection's window too wide", 1, "GOAWAY FLOW_CONTROL_ERROR", func(h *h2) { _ = h.WriteWindowUpdate(0, 1<<31-1) }},
		{"a stream's window too wide", 1, "RST FLOW_CONTROL_ERROR", func(h *h2) {
			h.headers(1, false, request("PUT", "/v2/a/manifests/x")...)
			_ = h.WriteWindowUpdate(1, 1<<31-1)
		}},
		{"an initial window too wide", 1, "GOAWAY FLOW_CONTROL_ERROR", func(h *h2) {
			_ = h.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 31})
		}},
		{"settings of no length", 1, "GOAWAY FRAME_SIZE_ERROR", func(h *h2) { _ = h.WriteRawFrame(http2.FrameSettings, 0, 0, []byte{1, 2, 3}) }},
		{"RST_STREAM of an idle stream", 1, "GOAWAY PROTOCOL_ERROR", func(h *h2) { _ = h.WriteRSTStream(1, http2.ErrCodeCancel) }},
		{"a frame of an unknown type", 1, "200", func(h *h2) {
			_ = h.WriteRawFrame(0x99, 0xff, 0, []byte("x"))
			h.headers(1, true, get...)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newH2(t, a, b.Host)
			go h.listen()
			c.say(h)
			h.flush()
			got := h.outcome(c.stream)
			if !slices.Contains(strings.Split(c.is, "|"), got) {
				t.Errorf("ended with %s, want %s", got, c.is)
			}
			if strings.HasPrefix(got, "GOAWAY") {
				h.ended()
			}
		})
	}
	sound(t, b)
}
