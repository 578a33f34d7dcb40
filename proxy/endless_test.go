package proxy

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
)

// When an upstream's answer has no end where it must have one, the request fails at once and
// without memory for the bytes. The client gets an error or an answer that is cut, and never one
// that looks complete.
func TestEndlessUpstreams(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tc := range []struct{ name, first, endless string }{
		{"status line", "HTTP/1.1 200 ", "x"},
		{"header", "HTTP/1.1 200 OK\r\n", "X-Header: of some length\r\n"},
		{"header's line", "HTTP/1.1 200 OK\r\nX: ", "x"},
		{"1xx", "", "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"},
		{"100 Continue", "", "HTTP/1.1 100 Continue\r\n\r\n"},
		{"chunk's length", ok, "0"},
		{"chunk's extension", ok + "5;x=", "y"},
		{"extensions", ok, "1;" + strings.Repeat("x", 2000) + "\r\ny\r\n"},
		{"trailer", ok + "1\r\ny\r\n0\r\n", "X-Trailer: of some length\r\n"},
		{"trailer's line", ok + "1\r\ny\r\n0\r\nX: ", "x"},
		{"no HTTP", "SSH-2.0-OpenSSH", "\x00"},
	} {
		for _, way := range []string{"fast", "plain"} {
			for _, method := range []string{"GET", "PATCH"} {
				t.Run(tc.name+", "+way+" "+method, func(t *testing.T) {
					sent := make(chan int, 1)
					s := newRawStand(t, serveRaw(t, func(c net.Conn) { sent <- tell(c, tc.first, tc.endless) }), nil)
					if way == "plain" {
						s.handler.now.Load().routes[0].carriers.Fast = nil
					}
					whole, err := try(s, method)
					if err == nil && whole.StatusCode < 500 {
						t.Errorf("answered %s, all of it", whole.Status)
					}
					if n := <-sent; n > 32<<20 {
						t.Errorf("%d MiB were taken", n>>20)
					}
				})
			}
		}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if m.HeapSys > 256<<20 {
		t.Errorf("%d MiB were in use", m.HeapSys>>20)
	}
}

// tell answers a request with bytes that never end, and returns how many were read.
func tell(c net.Conn, first, endless string) (n int) {
	if _, err := http.ReadRequest(bufio.NewReader(c)); err != nil {
		return 0
	}
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err := io.WriteString(c, first)
	for piece := []byte(strings.Repeat(endless, 1+8<<10/len(endless))); err == nil; {
		var m int
		m, err = c.Write(piece)
		n += m
	}
	return n
}

// try makes a request. It returns an error if the answer was cut.
func try(s *stand, method string) (*http.Response, error) {
	body := io.Reader(nil)
	if method == "PATCH" {
		body = strings.NewReader("a piece")
	}
	r, err := http.NewRequest(method, s.front.URL+"/v2/a/blobs/uploads/1", body)
	if err != nil {
		s.Fatal(err)
	}
	res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return res, err
}
