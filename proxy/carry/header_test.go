package carry

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Both carriers send the same header to the upstream: the fast path writes it, the reverse proxy
// changes a copy of the client's.
func TestBothCarriersSendTheSameHeader(t *testing.T) {
	in := http.Header{
		"Accept":            {"a", "b"},
		"Forwarded":         {"for=1.2.3.4"},
		"X-Forwarded-For":   {"1.2.3.4"},
		"X-Forwarded-Port":  {"443"},
		"X-Forwarded-Proto": {"https"},
		"X-Real-Ip":         {"1.2.3.4"},
		"X-Request-Id":      {"theirs"},
		"X-User":            {"root"},
	}
	set := []Field{{"X-Forwarded-For", "5.6.7.8"}, {"X-Forwarded-Proto", "http"}, {"X-Request-Id", "ours"}}
	for name, c := range map[string]struct {
		header Header
		want   http.Header
	}{
		"a stranger": {Header{Host: "h", Set: set, Dropped: "x-user"}, http.Header{
			"Accept": {"a", "b"}, "X-Forwarded-For": {"5.6.7.8"}, "X-Forwarded-Proto": {"http"}, "X-Request-Id": {"ours"},
		}},
		"a trusted proxy": {Header{Host: "h", Set: set, Forwarding: true}, http.Header{
			"Accept": {"a", "b"}, "X-Forwarded-For": {"5.6.7.8"}, "X-Forwarded-Proto": {"http"}, "X-Request-Id": {"ours"},
			"Forwarded": {"for=1.2.3.4"}, "X-Forwarded-Port": {"443"}, "X-Real-Ip": {"1.2.3.4"}, "X-User": {"root"},
		}},
	} {
		head := c.header.appendTo([]byte("GET / HTTP/1.1\r\n"), in)
		written, err := http.ReadRequest(bufio.NewReader(strings.NewReader(string(head) + "\r\n")))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, written.Header); diff != "" || written.Host != "h" {
			t.Errorf("%s, written for %s: -want +got\n%s", name, written.Host, diff)
		}
		applied := in.Clone()
		for _, gone := range []string{"Forwarded", "X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto"} {
			applied.Del(gone) // as httputil.ReverseProxy does
		}
		c.header.apply(applied, in)
		if diff := cmp.Diff(c.want, applied); diff != "" {
			t.Errorf("%s, applied: -want +got\n%s", name, diff)
		}
	}
}

// Hop-by-hop headers, and those that Connection names, are not written.
func TestHopByHopHeadersAreNotWritten(t *testing.T) {
	in := http.Header{"Connection": {"close, X-Hop"}, "X-Hop": {"1"}, "Te": {"trailers"}, "Content-Length": {"3"}, "Accept": {"a"}}
	h := Header{Host: "h"}
	if got := string(h.appendTo(nil, in)); got != "Host: h\r\nAccept: a\r\n" {
		t.Errorf("got %q", got)
	}
}
