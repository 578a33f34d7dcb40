package dataplane

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestRawRequests sends ambiguous requests, each followed by a plain request on the same
// connection. An ambiguous request ends in an error, or arrives as exactly one well-formed request
// with the meaning that bellbuoy gave it. The plain one gets its own answer, or none.
func TestRawRequests(t *testing.T) {
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	p := newTap(t, registry.URL)
	b := front(t, p.URL, "limits: {header_size: 16KiB}\n")
	const gone = "GET /v2/smuggled/tags/list HTTP/1.1\r\nHost: h\r\n\r\n"
	long := strings.Repeat("x", 20<<10)
	for _, c := range []struct {
		name string
		raw  string
		want string // what reaches the upstream: method, target and body; "": nothing
		is   []int  // statuses of bellbuoy's answer
		not  string // must not be in the head at the upstream
		has  string // must be in it
	}{
		{name: "plain", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /v2/ ", is: []int{200}},

		{name: "CL and TE", raw: "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", want: "POST /v2/a/blobs/uploads/ ", is: []int{202}, not: "Content-Length: 4"},
		{name: "TE and CL", raw: "POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n3\r\nabc\r\n0\r\n\r\n", want: "POST /v2/a/blobs/uploads/ abc", is: []int{202}, not: "Content-Length: 100"},
		{name: "CL twice", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 60\r\n\r\n{}" + gone, is: []int{400}},
		{name: "CL twice, equal", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", want: "PUT /v2/a/manifests/x {}", is: []int{400}},
		{name: "CL as a list", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2, 60\r\n\r\n{}" + gone, is: []int{400}},
		{name: "CL in hexadecimal", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 0x2\r\n\r\n{}", is: []int{400}},
		{name: "CL with a sign", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: +2\r\n\r\n{}", is: []int{400}},
		{name: "CL with a space inside", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2 0\r\n\r\n{}", is: []int{400}},
		{name: "CL behind a space", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length : 2\r\n\r\n{}", is: []int{400}},
		{name: "CL too long to be", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n{}", is: []int{400}},
		{name: "CL empty", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: \r\n\r\n", is: []int{400}},
		{name: "CL of a GET", raw: "GET /v2/a/tags/list HTTP/1.1\r\nHost: h\r\nContent-Length: 48\r\n\r\n" + gone[:48], want: "GET /v2/a/tags/list " + gone[:48], is: []int{404}},
		{name: "a DELETE with a body", raw: "DELETE /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 48\r\n\r\n" + gone[:48], want: "DELETE /v2/a/manifests/x " + gone[:48], is: []int{404}},
		{name: "a HEAD with chunks", raw: "HEAD /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", want: "HEAD /v2/a/manifests/x abc", is: []int{404}},

		{name: "TE unknown", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + gone, is: []int{501}},
		{name: "TE list", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n" + gone, is: []int{501}},
		{name: "TE twice", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + gone, is: []int{501, 400}},
		{name: "TE identity", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}", is: []int{501, 400}},
		{name: "TE with a tab", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\tchunked\r\nContent-Length: 3\r\n\r\n2\r\n{}\r\n0\r\n\r\n", want: "PUT /v2/a/manifests/x {}", is: []int{400}},
		{name: "TE with a vertical tab", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", is: []int{400, 501}},
		{name: "TE behind a space", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", is: []int{400}},
		{name: "TE, HTTP/1.0", raw: "PUT /v2/a/manifests/x HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", is: []int{400, 501, 411}, want: "?"},
		{name: "chunk extensions", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;a=\"b\\\"\r\n{}\r\n0;x\r\n\r\n", want: "PUT /v2/a/manifests/x {}", is: []int{400}},
		{name: "chunk extension with a bare LF", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2;\n{}\r\n0\r\n\r\n" + gone, is: []int{400}, want: "?"},
		{name: "chunk without its end", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}xx0\r\n\r\n" + gone, is: []int{400}, want: "?"},
		{name: "chunk size negative", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n0\r\n\r\n", is: []int{400}, want: "?"},
		{name: "chunk size with 0x", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", is: []int{400}, want: "?"},
		{name: "chunk size too great", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000002\r\n{}\r\n0\r\n\r\n", is: []int{400}, want: "?"},
		{name: "trailers", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n2\r\n{}\r\n0\r\nX-T: 1\r\n\r\n", want: "PUT /v2/a/manifests/x {}", is: []int{400}},
		{name: "a trailer that would decide", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length\r\n\r\n2\r\n{}\r\n0\r\nContent-Length: 60\r\n\r\n", is: []int{400}, want: "?", not: "Content-Length"},
		{name: "a trailer nobody announced", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nAuthorization: Basic eDp5\r\n\r\n", want: "PUT /v2/a/manifests/x {}", is: []int{400}, not: "Authorization"},

		{name: "obs-fold", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nX-A: b\r\n c: d\r\n\r\n", want: "GET /v2/ ", is: []int{200}},
		{name: "obs-fold of TE", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\nContent-Length: 3\r\n\r\n2\r\n{}\r\n0\r\n\r\n", want: "PUT /v2/a/manifests/x {}", is: []int{400}},
		{name: "a first header that is folded", raw: "GET /v2/ HTTP/1.1\r\n X: y\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "a header without a name", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\n: y\r\n\r\n", is: []int{400}},
		{name: "a header without a colon", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nfoo\r\n\r\n", is: []int{400}},
		{name: "a name with a space", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nX Y: z\r\n\r\n", is: []int{400}},
		{name: "a name with a control character", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nX\x01Y: z\r\n\r\n", is: []int{400}},
		{name: "a name that is no ASCII", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nXé: z\r\n\r\n", is: []int{400}},
		{name: "NUL in a header", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", is: []int{400}},
		{name: "a bare CR in a header", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n", is: []int{400}},
		{name: "bare LFs", raw: "GET /v2/ HTTP/1.1\nHost: h\n\n", want: "GET /v2/ ", is: []int{200}},

		{name: "Connection: Authorization", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nAuthorization: Basic eDp5\r\nConnection: Authorization\r\n\r\n", is: []int{400}},
		{name: "Connection: Content-Length", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nConnection: keep-alive, Content-Length\r\n\r\n{}", is: []int{400}},
		{name: "Connection: X-Forwarded-For", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: X-Forwarded-For\r\n\r\n", is: []int{400}},
		{name: "Connection: Transfer-Encoding", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: Transfer-Encoding\r\n\r\n2\r\n{}\r\n0\r\n\r\n", is: []int{400}, want: "?"},
		{name: "Connection: X-Mine", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nX-Mine: 1\r\nConnection: X-Mine\r\n\r\n", want: "GET /v2/ ", is: []int{200}, not: "Mine"},
		{name: "Keep-Alive and Proxy-Authorization", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nKeep-Alive: 1\r\nProxy-Authorization: Basic eDp5\r\n\r\n", want: "GET /v2/ ", is: []int{200}, not: "Proxy-Auth"},
		{name: "TE: trailers", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nTE: trailers, deflate\r\nConnection: TE\r\n\r\n", want: "GET /v2/ ", is: []int{200}, not: "deflate"},

		{name: "Upgrade: websocket", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13\r\n\r\n", want: "GET /v2/ ", is: []int{200}, not: "Upgrade"},
		{name: "Upgrade: h2c", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n", want: "GET /v2/ ", is: []int{200}, not: "2"},
		{name: "Upgrade of a push", raw: "PUT /v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}", want: "PUT /v2/a/manifests/x {}", is: []int{400}, not: "pgrade"},
		{name: "h2c by prior knowledge", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", is: []int{400, 505, 501}},

		{name: "absolute form", raw: "GET http://evil:1/v2/a/tags/list?n=1 HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /v2/a/tags/list?n=1 ", is: []int{404}, has: "Host: evil:1"},
		{name: "absolute form of https", raw: "GET https://evil/v2/ HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /v2/ ", is: []int{200}, not: "https://"},
		{name: "absolute form with a user", raw: "GET http://a:b@evil/v2/ HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /v2/ ", is: []int{200}, not: "a:b"},
		{name: "absolute form of a push", raw: "PUT http://evil/v2/a/manifests/x HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", want: "PUT /v2/a/manifests/x {}", is: []int{400}},
		{name: "absolute form of a file", raw: "GET file:///etc/passwd HTTP/1.1\r\nHost: h\r\n\r\n", want: "?", is: []int{400, 404}},
		{name: "authority form", raw: "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n", is: []int{400}},
		{name: "asterisk form", raw: "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{200, 400}},
		{name: "two slashes", raw: "GET //evil/v2/ HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET //evil/v2/ ", is: []int{301, 404}, has: "Host: h"},
		{name: "no slash", raw: "GET v2/ HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "NUL in the path", raw: "GET /v2/a\x00b HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "a control character in the path", raw: "GET /v2/a\x1bb HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "a tab in the path", raw: "GET /v2/a\tb HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "DEL in the query", raw: "GET /v2/?a\x7fb HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "a space in the path", raw: "GET /v2/a b HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "NUL escaped", raw: "GET /v2/a%00b/tags/list HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /v2/a%00b/tags/list ", is: []int{404, 400}},
		{name: "line's end escaped", raw: "GET /v2/a%0d%0aX:y/tags/list HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /v2/a%0d%0aX:y/tags/list ", is: []int{404, 400}},
		{name: "line's end escaped in a push", raw: "PUT /v2/a/manifests/x%0d%0aX:y HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", want: "PUT /v2/a/manifests/x%0d%0aX:y {}", is: []int{404, 400, 405}},
		{name: "bytes above ASCII in the path", raw: "GET /v2/\xff\xfe/tags/list HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /v2/\xff\xfe/tags/list ", is: []int{404, 400}},
		{name: "an escape cut off", raw: "GET /v2/%2 HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "a fragment", raw: "GET /v2/#a HTTP/1.1\r\nHost: h\r\n\r\n", want: "GET /v2/#a ", is: []int{200, 400, 404}},

		{name: "no version", raw: "GET /v2/\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "version 1.2", raw: "GET /v2/ HTTP/1.2\r\nHost: h\r\n\r\n", is: []int{505, 200}, want: "?"},
		{name: "version 2.0", raw: "GET /v2/ HTTP/2.0\r\nHost: h\r\n\r\n", is: []int{505, 400}},
		{name: "version 0.9", raw: "GET /v2/ HTTP/0.9\r\nHost: h\r\n\r\n", is: []int{505, 400}},
		{name: "version in small letters", raw: "GET /v2/ http/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "three parts too many", raw: "GET /v2/ HTTP/1.1 x y\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "a method with a control character", raw: "G\x01T /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "a method with a colon", raw: "GET: /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{400}},
		{name: "a method in small letters", raw: "get /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", want: "get /v2/ ", is: []int{200, 404, 405}},
		{name: "TRACE", raw: "TRACE /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", want: "TRACE /v2/ ", is: []int{200, 404, 405}},
		{name: "an empty line first", raw: "\r\nGET /v2/ HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{200, 400}, want: "?"},
		{name: "two Hosts", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n", is: []int{400}},
		{name: "no Host", raw: "GET /v2/ HTTP/1.1\r\n\r\n", is: []int{400}},
		{name: "an empty Host", raw: "GET /v2/ HTTP/1.1\r\nHost:\r\n\r\n", want: "GET /v2/ ", is: []int{200}},
		{name: "a Host with a path", raw: "GET /v2/ HTTP/1.1\r\nHost: h/x\r\n\r\n", is: []int{400}},
		{name: "a Host with a user", raw: "GET /v2/ HTTP/1.1\r\nHost: a@h\r\n\r\n", is: []int{400}},
		{name: "a Host that is two", raw: "GET /v2/ HTTP/1.1\r\nHost: h, i\r\n\r\n", is: []int{400}},
		{name: "a long header", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nX: " + long + "\r\n\r\n", is: []int{431}},
		{name: "many headers", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\n" + strings.Repeat("X: y\r\n", 4000) + "\r\n", is: []int{431}},
		{name: "a long path", raw: "GET /v2/" + long + " HTTP/1.1\r\nHost: h\r\n\r\n", is: []int{431, 414}},
		{name: "Expect: other", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\n\r\n", is: []int{417}},
		{name: "Expect of no body", raw: "GET /v2/ HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\n\r\n", want: "GET /v2/ ", is: []int{200}},
	} {
		t.Run(c.name, func(t *testing.T) {
			row := "X-Row: " + strings.ReplaceAll(c.name, " ", "-") + "\r\n"
			c.raw = strings.Replace(c.raw, " HTTP/1.1\r\nHost", " HTTP/1.1\r\n"+row+"Host", 1)
			next := fmt.Sprintf("next-%d", time.Now().UnixNano())
			behind := "HEAD /v2/" + next + "/manifests/x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
			got := talk(t, b.Host, c.raw+behind, soon)
			method, _, _ := strings.Cut(c.raw, " ")
			answers := answersIn(t, got, method, "HEAD")
			if len(answers) == 0 || !slices.Contains(c.is, answers[0].Status) {
				t.Errorf("answered %q, want %d", got, c.is)
			}
			all := slices.DeleteFunc(p.take(t), func(r arrived) bool { // an incomplete request may arrive after its client has its answer
				other := r.Header.Get("X-Row")
				return other != "" && !strings.Contains(c.raw, "X-Row: "+other+"\r\n")
			})
			for _, r := range all {
				if strings.Contains(r.Target, "smuggled") {
					t.Errorf("an unexpected request reached the upstream: %q", r.Raw)
				}
			}
			if i := slices.IndexFunc(all, func(r arrived) bool { return strings.Contains(r.Target, next) }); i >= 0 {
				all = slices.Delete(all, i, i+1) // on another connection: in any order
				if len(answers) < 2 || answers[1].Status != 404 {
					t.Errorf("the request that followed was answered with %q", got)
				}
			} else if len(answers) > 1 {
				t.Errorf("%d answers although nothing more arrived: %q", len(answers), got)
			}
			if c.want == "?" && len(all) <= 1 {
				return
			}
			if (c.want == "") != (len(all) == 0) || len(all) > 1 {
				t.Fatalf("%d requests arrived: %+v", len(all), all)
			}
			if c.want == "" {
				return
			}
			r := all[0]
			if is := r.Method + " " + r.Target + " " + r.Body; is != c.want || r.Broken || !strings.Contains(r.Raw, c.has) || c.not != "" && strings.Contains(headersOf(r.Raw), c.not) {
				t.Errorf("arrived as %q with %q; want %q without %q", r.Raw, r.Body, c.want, c.not)
			}
		})
	}
	t.Run("half a header", func(t *testing.T) {
		hasty := front(t, p.URL, "limits: {header_read: 1s}\n")
		began := time.Now()
		got := talk(t, hasty.Host, "GET /v2/ HTTP/1.1\r\nHost: h\r\nX-", soon)
		if took := time.Since(began); took < 500*time.Millisecond || took >= soon || strings.Contains(got, " 200 ") {
			t.Errorf("after %v: got %q", took, got)
		}
	})
	sound(t, b)
}

// headersOf returns the headers of a request without Host and those that bellbuoy adds.
func headersOf(head string) string {
	lines := strings.Split(head, "\r\n")[1:]
	return strings.Join(slices.DeleteFunc(lines, func(l string) bool {
		return strings.HasPrefix(l, "Host:") || strings.HasPrefix(l, "X-Row:") || strings.HasPrefix(l, "X-Forwarded-") || strings.HasPrefix(l, "X-Request-Id:")
	}), "\r\n")
}
