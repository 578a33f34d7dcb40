package proxy

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// bodyCopy is a bounded copy of a body on its way, and the digest of all of it.
type bodyCopy struct {
	limit    int   // 0: nothing is kept, nothing is hashed
	length   int64 // of the body, as announced; -1: unknown
	encoding string
	whole    bool   // a body that is longer than the limit is not even hashed
	bytes    []byte // the body so far; nil when over
	over     bool   // it is longer than the limit, or there was no memory for it
	size     int64
	sum      hash.Hash // of all of the body; set when over
	client   string    // whose part of the budget is used
	held     int64     // bytes taken from the budget
	budget   *budget
	plain    *bodyCopy // the decoded body of a compressed one
}

// maxDecoded bounds the bytes that are unpacked for their digest: a small body may unpack to
// gigabytes.
const maxDecoded = 16 << 20

// keeping returns an empty copy, for up to limit bytes of a body of the given length (-1: unknown).
// address is that of the client that sends or gets the body.
func (h *Handler) keeping(limit int, length int64, encoding, address string) bodyCopy {
	return bodyCopy{limit: limit, length: length, encoding: strings.ToLower(strings.TrimSpace(encoding)), client: shareOf(address), budget: h.budget}
}

// Write implements io.Writer.
func (k *bodyCopy) Write(p []byte) (int, error) {
	k.write(p)
	return len(p), nil
}

func (k *bodyCopy) write(p []byte) {
	if k.limit == 0 || len(p) == 0 || k.over && k.whole {
		return
	}
	k.size += int64(len(p))
	if !k.over && !k.room(len(p)) {
		k.overflow()
	}
	if k.over {
		if !k.whole {
			k.sum.Write(p)
		}
		return
	}
	k.bytes = append(k.bytes, p...)
}

// room makes room for n more bytes, and reports whether there was some. The budget counts the
// memory taken, not the bytes in it. The copy grows with what arrives, because the announced length
// need not be true.
func (k *bodyCopy) room(n int) bool {
	const first = 4 << 10
	need := len(k.bytes) + n
	switch {
	case need > k.limit:
		return false
	case need <= cap(k.bytes):
		return true
	}
	size := max(2*cap(k.bytes), first)
	if k.length > 0 && cap(k.bytes) == 0 {
		size = smallBody
	}
	if k.length >= int64(need) {
		size = int(min(int64(size), k.length))
	}
	size = min(max(size, need), k.limit)
	if !k.budget.take(k.client, int64(size)) {
		return false
	}
	k.bytes = append(make([]byte, 0, size), k.bytes...)
	k.giveBack()
	k.held = int64(size)
	return true
}

// overflow drops the copy, and hashes from here on.
func (k *bodyCopy) overflow() {
	k.over = true
	if !k.whole {
		k.sum = sha256.New()
		k.sum.Write(k.bytes)
	}
	k.bytes = nil
	k.giveBack()
}

// afford takes n bytes from the budget for code that reads the body on its way. It reports whether
// there were any left.
func (k *bodyCopy) afford(n int) bool {
	if !k.budget.take(k.client, int64(n)) {
		return false
	}
	k.held = int64(n)
	return true
}

func (k *bodyCopy) giveBack() {
	if k.held > 0 {
		k.budget.give(k.client, k.held)
		k.held = 0
	}
}

// release gives the budget back. Bodies that were made of the copy stay valid.
func (k *bodyCopy) release() {
	k.giveBack()
	if k.plain != nil {
		k.plain.giveBack()
	}
}

// body returns the body as far as it is known, decoded.
func (k *bodyCopy) body(mediaType string) detect.Body {
	b := detect.Body{MediaType: mediaType}
	switch {
	case k.over && k.whole:
	case k.encoding == "gzip" || k.encoding == "x-gzip":
		k.unpack(&b)
	case k.encoding != "" && k.encoding != "identity":
		// cannot be decoded
	case k.over:
		b.Digest, b.Size = digest(k.sum), k.size
	default:
		sum := sha256.Sum256(k.bytes)
		b.Bytes, b.Digest, b.Size = k.bytes, named(sum[:]), k.size
	}
	return b
}

// unpack decodes a gzipped body into b. A body that was not kept as a whole, or is broken, stays
// unknown. If there is no memory for the decoded body, b has its digest and size.
func (k *bodyCopy) unpack(b *detect.Body) {
	if k.over {
		return
	}
	zr, err := gzip.NewReader(bytes.NewReader(k.bytes))
	if err != nil {
		return
	}
	sum := sha256.New()
	k.plain = &bodyCopy{limit: k.limit, length: -1, whole: true, client: k.client, budget: k.budget}
	n, err := io.Copy(io.MultiWriter(sum, k.plain), io.LimitReader(zr, maxDecoded+1))
	if err != nil || n > maxDecoded {
		k.plain.overflow()
		return
	}
	b.Digest, b.Size = digest(sum), n
	if !k.plain.over {
		b.Bytes = k.plain.bytes
	}
}

func digest(sum hash.Hash) string { return named(sum.Sum(nil)) }

// named returns the digest that names a SHA-256.
func named(sum []byte) string {
	var text [7 + 2*sha256.Size]byte
	return string(hex.AppendEncode(append(text[:0], "sha256:"...), sum))
}
