package proxy

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"
)

// streamConn is a connection that has bytes, and gives as many at a time as it likes.
type streamConn struct {
	net.Conn
	r    io.Reader
	dice *rand.Rand
}

func (s *streamConn) Read(p []byte) (int, error) {
	if s.dice.IntN(2) == 0 {
		p = p[:1+s.dice.IntN(len(p))]
	}
	return s.r.Read(p)
}

// Records arrive unchanged. From the second of a row of long ones on, none is read together with another.
func TestRecordsEndReads(t *testing.T) {
	dice := rand.New(rand.NewPCG(1, 2))
	var sent []byte
	ends := map[int]bool{0: true}
	for i := range 200 {
		length := 16401
		if i < 50 {
			length = dice.IntN(17000)
		}
		head := []byte{23, 3, 3, 0, 0}
		binary.BigEndian.PutUint16(head[3:], uint16(length))
		sent = append(append(sent, head...), make([]byte, length)...)
		ends[len(sent)] = true
		for j := range length {
			sent[len(sent)-1-j] = byte(dice.Uint32())
		}
	}
	c := &records{Conn: &streamConn{r: bytes.NewReader(sent), dice: dice}}
	var got []byte
	for p := make([]byte, 64<<10); ; {
		from := len(got)
		n, err := c.Read(p)
		got = append(got, p[:n]...)
		if err == io.EOF {
			break
		}
		for at := from + 1; from > len(sent)-140*16406 && at < len(got); at++ {
			if ends[at] {
				t.Fatalf("a read of %d to %d goes over the end of a record at %d", from, len(got), at)
			}
		}
	}
	if !bytes.Equal(got, sent) {
		t.Errorf("%d bytes became %d, or others", len(sent), len(got))
	}
}

// A long body of an upstream with TLS arrives whole, and one that breaks off breaks off for the client too, alone and in a crowd.
func TestLongBodiesOfHTTPSUpstream(t *testing.T) {
	body := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{3}).Read(body)
	back := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		if r.URL.Path == "/v2/cut/blobs/x" {
			_, _ = w.Write(body[:200<<10])
			panic(http.ErrAbortHandler)
		}
		_, _ = w.Write(body)
	}))
	defer back.Close()
	s := newRawStand(t, back.Listener.Addr().String(), func(o *Options) {
		o.Upstreams[0].URL = mustURL(back.URL)
		o.Upstreams[0].TLS = &tls.Config{RootCAs: back.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"}
	})
	for _, others := range []int32{0, someMany + 1} {
		longCopies.Add(others)
		if res, got := s.do("GET", "/v2/a/blobs/x", nil); res.StatusCode != 200 || got != string(body) {
			t.Errorf("beside %d others: got %d and %d bytes", others, res.StatusCode, len(got))
		}
		res, err := http.Get(s.front.URL + "/v2/cut/blobs/x")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err == nil || !bytes.HasPrefix(body, got) {
			t.Errorf("beside %d others: a body that breaks off came with %d bytes and no error", others, len(got))
		}
		longCopies.Add(-others)
	}
}
