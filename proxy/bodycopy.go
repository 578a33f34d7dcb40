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

// bodyCopy is a bounded copy of a body that passes by, and the digest of all of it.
type bodyCopy struct {
	limit    int   // 0: nothing is kept, nothing is hashed
	length   int64 // of the body, as announced; -1: unknown
	encoding string
	whole    bool   // only a whole body is kept: one that is longer is not even hashed
	bytes    []byte // the whole body; nothing when over
	over     bool   // longer than the limit, or no memory was left for it
	size     int64
	sum      hash.Hash // of everything, once over
	client   string    // its part of the budget is taken
	held     int64     // bytes taken out of it
	budget   *budget
	plain    *bodyCopy // the decoded body, where that is another
}

const maxDecoded = 16 << 20 // bytes unpacked for their digest: a body may be a bomb

// keeping returns a copy of up to limit bytes of a body of the given length (-1: unknown).
// address is that of the client that sends or gets it.
func (h *Handler) keeping(limit int, length int64, encoding, address string) bodyCopy {
	return bodyCopy{limit: limit, length: length, encoding: strings.ToLower(strings.TrimSpace(encoding)), client: shareOf(address), budget: h.budget}
}

// Write is write, for io.Copy.
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

// room makes room for n more bytes. What is counted is the memory taken, not the bytes in it. The
// announced length is only a promise: the copy grows with what arrives.
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

// overflow goes on without a copy.
func (k *bodyCopy) overflow() {
	k.over = true
	if !k.whole {
		k.sum = sha256.New()
		k.sum.Write(k.bytes)
	}
	k.bytes = nil
	k.giveBack()
}

// afford takes memory for what reads the body as it passes.
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

// body is what was kept, decoded.
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

// unpack fills in a gzipped body. One that is longer than was kept, or broken, stays unknown;
// of one that there is no room for, the digest is known.
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

// named is the digest of a SHA-256.
func named(sum []byte) string {
	var text [7 + 2*sha256.Size]byte
	return string(hex.AppendEncode(append(text[:0], "sha256:"...), sum))
}
