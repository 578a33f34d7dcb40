package carry

import (
	"encoding/binary"
	"net"
)

// tlsRecords is the connection below the TLS of an upstream. crypto/tls reads as much as its buffer
// has room for, grows the buffer for a record that is not complete, and keeps it: up to four
// records for each connection with a long body. If each Read ends where a record ends, the buffer
// stays at one record, at the price of one system call for each record.
type tlsRecords struct {
	net.Conn
	head [recordHead]byte // of the record that is being read
	have int              // bytes of head
	rest int              // bytes of its body that are still to come
	last int              // length of its body; until its head is read, that of the record before
}

const (
	recordHead = 5 // type, version, length
	// fewRecords is how many bytes of short records are read at once. Together with them, a
	// record of any length still fits into the buffer.
	fewRecords = 1 << 10
)

// Read reads at most to the end of this record, or of the next one if that is as long as this.
func (r *tlsRecords) Read(p []byte) (int, error) {
	limit := r.rest
	if limit == 0 {
		limit = max(recordHead+r.last, fewRecords) - r.have
	}
	n, err := r.Conn.Read(p[:min(len(p), limit)])
	r.follow(p[:n])
	return n, err
}

// follow updates the position in the records by the bytes that were read.
func (r *tlsRecords) follow(b []byte) {
	for len(b) > 0 {
		if r.rest > 0 {
			n := min(r.rest, len(b))
			r.rest -= n
			b = b[n:]
			continue
		}
		n := copy(r.head[r.have:], b)
		r.have += n
		b = b[n:]
		if r.have == recordHead {
			r.last = int(binary.BigEndian.Uint16(r.head[3:]))
			r.rest, r.have = r.last, 0
		}
	}
}
