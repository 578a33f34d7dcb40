package proxy

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// newInlet returns an inlet and the client's end of it.
func newInlet(t *testing.T) (*inlet, net.Conn) {
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
	in, ok := inletOf(c).(*inlet)
	if !ok {
		t.Fatal("a TCP connection is no inlet")
	}
	t.Cleanup(func() { in.Close() })
	return in, client
}

// What is read ahead is handed on byte by byte, also when reading ahead has ended, and then its buffer goes back.
func TestInletHandsOnWhatItReadAhead(t *testing.T) {
	before := aheadBuffers.lent.Load()
	in, client := newInlet(t)
	sent := bytes.Repeat([]byte("0123456789"), 1000)
	_, _ = client.Write(sent)
	in.begin()
	var got []byte
	piece := make([]byte, 7)
	for len(got) < len(sent) {
		n, err := in.Read(piece)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, piece[:n]...)
		if len(got) == 70 {
			in.end()
		}
	}
	if !bytes.Equal(got, sent) {
		t.Error("other bytes than were sent")
	}
	if n := aheadBuffers.lent.Load(); n != before {
		t.Errorf("%d buffers are still lent", n-before)
	}
	client.Close()
	if n, err := in.Read(piece); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d, %v", n, err)
	}
}

// The byte that net/http waits for between requests, for as long as a client likes, holds no buffer.
func TestInletReadsASingleByteAlone(t *testing.T) {
	in, client := newInlet(t)
	in.begin()
	_, _ = io.WriteString(client, "abc")
	one := make([]byte, 1)
	if n, err := in.Read(one); n != 1 || err != nil || len(in.rest) != 0 {
		t.Errorf("%d, %v, and %q read ahead", n, err, in.rest)
	}
}

// A connection that is closed keeps no buffer, whatever rests in it, and a crowd has none.
func TestInletBuffersAreFew(t *testing.T) {
	before := aheadBuffers.lent.Load()
	var all []*inlet
	for range aheadMany + 3 {
		in, client := newInlet(t)
		in.begin()
		_, _ = io.WriteString(client, "more than is asked for")
		if _, err := io.ReadFull(in, make([]byte, 4)); err != nil {
			t.Fatal(err)
		}
		all = append(all, in)
	}
	if n := aheadBuffers.lent.Load(); n > aheadMany {
		t.Errorf("%d buffers are lent", n)
	}
	for _, in := range all {
		in.Close()
		in.end()
	}
	if n := aheadBuffers.lent.Load(); n != before {
		t.Errorf("%d buffers are still lent", n-before)
	}
}
