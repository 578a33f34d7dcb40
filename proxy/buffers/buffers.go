// Package buffers lends the memory through which bytes travel, and holds every pool of the proxy.
//
// A transfer borrows a buffer for as long as it has bytes to pass on, and returns it while it
// waits. Large buffers save calls of the kernel, so a few transfers get them; of each large
// size only so many are lent at a time, so that memory stays bounded however many clients there
// are.
package buffers

import (
	"bufio"
	"sync"
	"sync/atomic"
)

// Sizes in bytes that others have to know.
const (
	// RecordSize is the longest plaintext of a TLS record. From this length on, net/http keeps
	// nothing of a Write back.
	RecordSize = 16 << 10
	// SomeSize is the size of Some.
	SomeSize = 8 << 10
	// CopySize is the size of Copy.
	CopySize = 32 << 10
	// ReaderSize is the size of a reader: it holds an answer's header, and most manifests with
	// it.
	ReaderSize = 8 << 10
)

// The pools of buffers, from the smallest to the largest.
var (
	// Heads are for the heads of requests to an upstream. They grow; long ones are not kept.
	Heads = Pool{size: 2 << 10, longest: 16 << 10}
	// Crowd is for HTTP/2 streams while many transfers are under way. It is as long as what
	// net/http buffers for a stream: with that flushed on its own, nothing is lent while the
	// stream waits.
	Crowd = Pool{size: 4 << 10}
	// Some is for transfers while many are under way, and for short uploads.
	Some = Pool{size: SomeSize}
	// Record is for one TLS record, and for answers that are not long. A thousand slow clients
	// hold a thousand of these.
	Record = Pool{size: RecordSize}
	// Copy is what the reverse proxy copies through, for as long as a transfer takes.
	Copy = Pool{size: CopySize, most: 128}
	// Long is for long downloads while not many are under way.
	Long = Pool{size: 64 << 10, most: 32}
	// Ahead is for reading ahead of an upload in chunks. A client may leave its own unread for
	// long.
	Ahead = Pool{size: 64 << 10, most: 32}
	// Upload is for a piece of an upload: as much as the client has sent by then.
	Upload = Pool{size: 256 << 10, most: 32}
	// Bulk is for long downloads while few are under way: fewer calls of the kernel, fewer
	// waits and fewer turns of HTTP/2's scheduler.
	Bulk = Pool{size: 512 << 10, most: 8}
)

// Pool lends buffers of one size. It is safe for concurrent use.
type Pool struct {
	size    int
	most    int32 // lent at a time; 0: no limit
	longest int   // of a buffer that grew and is kept; 0: buffers do not grow
	lent    atomic.Int32
	pool    sync.Pool // of *Buffer
}

// Buffer is one borrowed buffer. Its borrower owns it until Return.
type Buffer struct {
	Bytes []byte
	pool  *Pool
}

// Borrow lends a buffer; nil where as many are lent as may be.
func (p *Pool) Borrow() *Buffer {
	if p.most > 0 && p.lent.Add(1) > p.most {
		p.lent.Add(-1)
		return nil
	}
	if b, ok := p.pool.Get().(*Buffer); ok {
		return b
	}
	return &Buffer{Bytes: make([]byte, p.size), pool: p}
}

// Size is the length of the pool's buffers.
func (p *Pool) Size() int { return p.size }

// Most is how many buffers may be lent at a time; 0 is no limit.
func (p *Pool) Most() int { return int(p.most) }

// Lent is how many buffers are lent now, of a pool with a limit.
func (p *Pool) Lent() int { return int(p.lent.Load()) }

// Return gives a buffer back to its pool.
func (b *Buffer) Return() {
	p := b.pool
	if p.longest == 0 || cap(b.Bytes) <= p.longest {
		p.pool.Put(b)
	}
	if p.most > 0 {
		p.lent.Add(-1)
	}
}

// Slices lends buffers as httputil.ReverseProxy wants them: those of Copy, and of Some while all of
// Copy are lent.
type Slices struct{}

// Get lends a buffer.
func (Slices) Get() []byte {
	b := Copy.Borrow()
	if b == nil {
		b = Some.Borrow()
	}
	return b.Bytes
}

// Put takes a buffer back.
func (Slices) Put(b []byte) {
	pool := &Some
	if len(b) == CopySize {
		pool = &Copy
	}
	(&Buffer{Bytes: b, pool: pool}).Return()
}

var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, ReaderSize) }}

// BorrowReader lends a reader for the answers of an upstream.
func BorrowReader() *bufio.Reader { return readers.Get().(*bufio.Reader) }

// ReturnReader takes a reader back, and forgets what it read from.
func ReturnReader(r *bufio.Reader) {
	r.Reset(nil)
	readers.Put(r)
}
