package carry

import (
	"encoding/binary"
	"net"
)

// tlsRecords is a connection to an upstream below its TLS. crypto/tls reads as much as its
// buffer has room for, makes the buffer larger for a record that is not whole yet, and keeps
// it: up to four records for each connection of a long body. Reads that end where a record ends
// keep that at one record, for as many calls of the kernel as there are records.
type tlsRecords struct {
	net.Conn
	head [recordHead]byte // of the record that is being read
	have int              // bytes of head
	rest int              // bytes of its body that are still to come
	last int              // length of its body; until its head is here, of the record before
}

const (
	recordHead = 5 // type, version, length
	// fewRecords is how many bytes of short records are read at once. With them before it, a
	// record of any length still fits into a buffer for one.
	fewRecords = 1 << 10
)

// Read reads at most to the end of a record: of this one, or of the next if that is as long.
func (r *tlsRecords) Read(p []byte) (int, error) {
	limit := r.rest
	if limit == 0 {
		limit = max(recordHead+r.last, fewRecords) - r.have
	}
	n, err := r.Conn.Read(p[:min(len(p), limit)])
	r.follow(p[:n])
	return n, err
}

// follow moves the place in the records on by these bytes.
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
