package proxy

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// After Leave, each answer ends its connection: with both carriers, and only once.
func TestLeave(t *testing.T) {
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(w, r.Body)
		_, _ = io.WriteString(w, "hello")
	}), nil)
	for _, leaving := range []bool{false, true} {
		if leaving {
			s.handler.Leave()
		}
		for _, request := range []string{
			"GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
			"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
			"PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}",
		} {
			c, err := net.Dial("tcp", strings.TrimPrefix(s.front.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.WriteString(c, request)
			_ = c.SetReadDeadline(time.Now().Add(patience))
			b := make([]byte, 4<<10)
			for n := 0; ; { // the answer, and then perhaps the end of the connection
				var more int
				if more, err = c.Read(b[n:]); err != nil {
					b = b[:n]
					break
				}
				if n += more; !leaving && strings.HasSuffix(string(b[:n]), "hello") {
					_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
				}
			}
			c.Close()
			if ended := err == io.EOF; ended != leaving || strings.Count(string(b), "Connection: close") != map[bool]int{true: 1}[leaving] || !strings.Contains(string(b), "hello") {
				t.Errorf("leaving %t: ended %t with %q", leaving, ended, b)
			}
		}
	}
}
