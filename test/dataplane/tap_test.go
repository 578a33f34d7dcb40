package dataplane

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A tap is a relay between bellbuoy and an upstream that records the bytes that bellbuoy sends.
type tap struct {
	URL, Host string

	mu    sync.Mutex
	conns []*tapped
}

// tapped is one connection from bellbuoy.
type tapped struct {
	sent   []byte
	taken  int  // how many bytes of sent
	closed bool // by bellbuoy
}

// arrived is a request as the upstream got it.
type arrived struct {
	Raw    string // its head
	Method string
	Target string
	Header http.Header
	Host   string
	Body   string
	Broken bool // bellbuoy closed the connection in the middle of it
}

func newTap(t testing.TB, upstream string) *tap {
	t.Helper()
	p := &tap{}
	byConn := map[net.Conn]*tapped{}
	relay := harness.NewRelay(t, upstream, func(conn net.Conn, sent []byte, err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		kept := byConn[conn]
		if kept == nil {
			kept = &tapped{}
			byConn[conn], p.conns = kept, append(p.conns, kept)
		}
		kept.sent, kept.closed = append(kept.sent, sent...), err != nil
		if kept.closed {
			delete(byConn, conn)
		}
	})
	p.Host, p.URL = relay.Addr, "http://"+relay.Addr
	return p
}

// take returns the requests of clients that arrived since the last call, without bellbuoy's own
// look-ups. Bytes that are no sequence of well-formed requests fail the test.
func (p *tap) take(t testing.TB) (all []arrived) {
	t.Helper()
	harness.Eventually(soon, p.whole)
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		for c.taken < len(c.sent) {
			r, n, err := parse(c.sent[c.taken:])
			if errors.Is(err, io.ErrUnexpectedEOF) {
				if !c.closed {
					t.Errorf("the upstream got an incomplete request: %q", c.sent[c.taken:])
				}
				r.Broken, n, err = true, len(c.sent)-c.taken, nil
			}
			if err != nil {
				t.Errorf("not a request at the upstream: %v: %q", err, c.sent[c.taken:])
				n = len(c.sent) - c.taken
			}
			c.taken += n
			if r.Raw != "" && !strings.HasPrefix(r.Header.Get("User-Agent"), "bellbuoy/") {
				all = append(all, r)
			}
		}
	}
	p.conns = slices.DeleteFunc(p.conns, func(c *tapped) bool { return c.closed && c.taken == len(c.sent) })
	return all
}

// whole reports whether all requests have arrived completely.
func (p *tap) whole() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		for at := c.taken; at < len(c.sent) && !c.closed; {
			_, n, err := parse(c.sent[at:])
			if errors.Is(err, io.ErrUnexpectedEOF) {
				return false
			}
			if at += n; err != nil {
				break
			}
		}
	}
	return true
}

// parse reads one request strictly: what net/http would correct is an error.
func parse(b []byte) (r arrived, n int, err error) {
	head, _, whole := bytes.Cut(b, []byte("\r\n\r\n"))
	if !whole {
		return r, 0, io.ErrUnexpectedEOF
	}
	r.Raw = string(head)
	if err := strict(r.Raw); err != nil {
		return r, 0, err
	}
	source := bytes.NewReader(b)
	br := bufio.NewReader(source)
	req, err := http.ReadRequest(br)
	if err != nil {
		return r, 0, err
	}
	r.Method, r.Target, r.Header, r.Host = req.Method, req.RequestURI, req.Header, req.Host
	body, err := io.ReadAll(req.Body)
	r.Body = string(body)
	for name, values := range req.Trailer {
		r.Header["Trailer: "+name] = values
	}
	return r, len(b) - source.Len() - br.Buffered(), err
}

// strict returns an error if two servers could understand the head of a request differently.
func strict(head string) error {
	lines := strings.Split(head, "\r\n")
	if f := strings.Split(lines[0], " "); len(f) != 3 || f[2] != "HTTP/1.1" || !strings.HasPrefix(f[1], "/") {
		return fmt.Errorf("request line %q", lines[0])
	}
	seen := map[string]int{}
	for _, line := range lines[1:] {
		name, _, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t") || strings.ContainsFunc(line, func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }) {
			return fmt.Errorf("header line %q", line)
		}
		seen[strings.ToLower(name)]++
	}
	switch {
	case seen["host"] != 1:
		return fmt.Errorf("%d Host headers", seen["host"])
	case seen["content-length"]+seen["transfer-encoding"] > 1:
		return errors.New("its length is told twice")
	}
	return nil
}
