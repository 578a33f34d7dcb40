package dataplane

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// An h2 is the client side of an HTTP/2 connection on which any frames can be sent. Answers are
// read as they come.
type h2 struct {
	*http2.Framer // for writing; in batches until flush

	conn  *tls.Conn
	out   bytes.Buffer
	block bytes.Buffer
	hpack *hpack.Encoder

	mu      sync.Mutex
	changed *sync.Cond
	streams map[uint32]*h2stream
	goaway  string // its code; "": none
	over    bool   // the other side has closed the connection
}

// h2stream is the part of an answer that has arrived on a stream.
type h2stream struct {
	status string
	body   []byte
	reset  string // its code; "": none
	ended  bool
}

// newH2 connects, and sends the preface with some settings.
func newH2(t testing.TB, a *authority.Authority, host string, settings ...http2.Setting) *h2 {
	t.Helper()
	raw, err := net.Dial("tcp", host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	config := a.Trusting("").Clone()
	config.NextProtos, config.ServerName = []string{"h2"}, "127.0.0.1"
	c := &h2{conn: tls.Client(raw, config), streams: map[uint32]*h2stream{}}
	c.changed = sync.NewCond(&c.mu)
	c.Framer = http2.NewFramer(&c.out, nil)
	c.AllowIllegalWrites = true
	c.hpack = hpack.NewEncoder(&c.block)
	_ = raw.SetDeadline(time.Now().Add(soon))
	if err := c.conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	if p := c.conn.ConnectionState().NegotiatedProtocol; p != "h2" {
		t.Fatalf("got the protocol %q", p)
	}
	c.out.WriteString(http2.ClientPreface)
	_ = c.WriteSettings(settings...)
	c.flush()
	return c
}

// flush sends what was written. It ignores errors: the answers show whether bellbuoy has
// disconnected.
func (c *h2) flush() error {
	_, err := c.conn.Write(c.out.Bytes())
	c.out.Reset()
	return err
}

// fields encodes name, value, name, value … as they are.
func (c *h2) fields(fields ...string) []byte {
	c.block.Reset()
	for i := 0; i+1 < len(fields); i += 2 {
		_ = c.hpack.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]})
	}
	return bytes.Clone(c.block.Bytes())
}

// headers opens a stream, or sends the trailer of a stream.
func (c *h2) headers(stream uint32, end bool, fields ...string) {
	block, first := c.fields(fields...), true
	for len(block) > 0 || first {
		piece := block[:min(len(block), 16<<10)]
		block = block[len(piece):]
		if first {
			_ = c.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: piece, EndStream: end, EndHeaders: len(block) == 0})
		} else {
			_ = c.WriteContinuation(stream, len(block) == 0, piece)
		}
		first = false
	}
}

// request returns the fields of a plain request.
func request(method, path string, more ...string) []string {
	return append([]string{":method", method, ":scheme", "https", ":authority", "h", ":path", path}, more...)
}

// listen reads until the connection ends.
func (c *h2) listen() {
	in := http2.NewFramer(io.Discard, c.conn)
	in.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	for {
		f, err := in.ReadFrame()
		c.mu.Lock()
		if err != nil {
			c.over = true
		} else {
			c.hear(f)
		}
		c.changed.Broadcast()
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func (c *h2) hear(f http2.Frame) {
	s := c.streams[f.Header().StreamID]
	if s == nil {
		s = &h2stream{}
		c.streams[f.Header().StreamID] = s
	}
	switch f := f.(type) {
	case *http2.MetaHeadersFrame:
		if status := f.PseudoValue("status"); status >= "200" {
			s.status = status
		}
		s.ended = s.ended || f.StreamEnded()
	case *http2.DataFrame:
		s.body = append(s.body, f.Data()...)
		s.ended = s.ended || f.StreamEnded()
	case *http2.RSTStreamFrame:
		s.reset, s.ended = f.ErrCode.String(), true
	case *http2.GoAwayFrame:
		if f.ErrCode != http2.ErrCodeNo {
			c.goaway = f.ErrCode.String()
		}
	}
}

// outcome returns how a stream ended: its status, the code of its reset, or the code with which the
// connection ended.
func (c *h2) outcome(stream uint32) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		s := c.streams[stream]
		switch {
		case s != nil && s.ended && s.status != "":
			return s.status
		case s != nil && s.ended:
			return "RST " + s.reset
		case c.goaway != "":
			return "GOAWAY " + c.goaway
		case c.over:
			return "closed"
		}
		c.changed.Wait() // ends at the deadline of conn at the latest
	}
}

// ended waits until the other side has closed the connection, and returns its code.
func (c *h2) ended() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	for !c.over {
		c.changed.Wait()
	}
	return c.goaway
}

func secured(a *authority.Authority) string {
	return fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", a.File("server.pem"), a.File("server.key"))
}
