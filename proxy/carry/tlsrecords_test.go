package carry

import (
	"bytes"
	"encoding/binary"
	"io"
	"math/rand/v2"
	"net"
	"testing"
)

// streamConn is a connection with bytes to read. Each Read returns any number of them.
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

// Records arrive unchanged. In a sequence of long ones, from the second on, none is read together
// with another.
func TestLongRecordsAreReadOneByOne(t *testing.T) {
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
	c := &tlsRecords{Conn: &streamConn{r: bytes.NewReader(sent), dice: dice}}
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
