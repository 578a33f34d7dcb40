package listen

import (
	"bytes"
	"io"
	"net"
	"testing"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// newReadAhead returns a ReadAhead and the client's end of it.
func newReadAhead(t *testing.T) (*ReadAhead, net.Conn) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	in, ok := newConn(c).(*ReadAhead)
	if !ok {
		t.Fatal("a TCP connection is no ReadAhead")
	}
	t.Cleanup(func() { in.Close() })
	return in, client
}

// Bytes that were read ahead are returned by Read in any pieces, also after reading ahead has
// ended. Then the buffer is returned.
func TestReadAheadReturnsEveryByte(t *testing.T) {
	before := buffers.Ahead.Lent()
	in, client := newReadAhead(t)
	sent := bytes.Repeat([]byte("0123456789"), 1000)
	_, _ = client.Write(sent)
	in.Begin()
	var got []byte
	piece := make([]byte, 7)
	for len(got) < len(sent) {
		n, err := in.Read(piece)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, piece[:n]...)
		if len(got) == 70 {
			in.End()
		}
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes than were sent")
	}
	if n := buffers.Ahead.Lent(); n != before {
		t.Errorf("%d buffers are still lent", n-before)
	}
	client.Close()
	if n, err := in.Read(piece); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

// The byte that net/http waits for between requests uses no buffer, however long the client waits.
func TestReadAheadOfASingleByteUsesNoBuffer(t *testing.T) {
	in, client := newReadAhead(t)
	in.Begin()
	_, _ = io.WriteString(client, "abc")
	one := make([]byte, 1)
	if n, err := in.Read(one); n != 1 || err != nil || len(in.rest) != 0 {
		t.Errorf("%d, %v, and %q read ahead", n, err, in.rest)
	}
}

// A closed connection keeps no buffer, even if bytes are left in it. With many connections there
// are no buffers.
func TestReadAheadBuffersAreFew(t *testing.T) {
	before := buffers.Ahead.Lent()
	var all []*ReadAhead
	for range buffers.Ahead.Most() + 3 {
		in, client := newReadAhead(t)
		in.Begin()
		_, _ = io.WriteString(client, "more than is asked for")
		if _, err := io.ReadFull(in, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	if n := buffers.Ahead.Lent(); n > buffers.Ahead.Most() {
		t.Errorf("%d buffers are lent", n)
	}
	for _, in := range all {
		in.Close()
		in.End()
	}
	if n := buffers.Ahead.Lent(); n != before {
		t.Errorf("%d buffers are still lent", n-before)
	}
}
