package proxy

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"hash"
	"io"
	"strings"
	"sync/atomic"

	"github.com/bellbuoy/bellbuoy/detect"
)

// kept is a bounded copy of a body that passes by, and the digest of all of it.
type kept struct {
	limit    int // 0: nothing is kept, nothing is hashed
	encoding string
	whole    bool   // nothing but a whole body is: one that is longer is not even hashed
	bytes    []byte // the whole body; nothing when over
	over     bool   // longer than the limit, or no memory was left for it
	size     int64
	sum      hash.Hash // of everything, once over
	held     int64     // bytes taken out of budget
	budget   *atomic.Int64
}

const (
	firstKept  = 64 << 10  // room made at once for a body of that length: a length is only a promise
	keptInAll  = 256 << 20 // bytes of bodies kept at one time, over all requests
	maxDecoded = 64 << 20  // bytes unpacked for their digest: a body may be a bomb
)

// keeping returns a copy of up to limit bytes of a body of the given length (-1: unknown).
func (h *Handler) keeping(limit int, length int64, encoding string) kept {
	k := kept{limit: limit, encoding: strings.ToLower(strings.TrimSpace(encoding)), budget: &h.kept}
	if limit > 0 && length > 0 {
		k.bytes = make([]byte, 0, min(length, firstKept, int64(limit)))
	}
	return k
}

func (k *kept) write(p []byte) {
	if k.limit == 0 || len(p) == 0 || k.over && k.whole {
		return
	}
	k.size += int64(len(p))
	if !k.over && (len(k.bytes)+len(p) > k.limit || !k.afford(len(p))) {
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

// overflow goes on without a copy.
func (k *kept) overflow() {
	k.over = true
	if !k.whole {
		k.sum = sha256.New()
		k.sum.Write(k.bytes)
	}
	k.bytes = nil
	k.release()
}

// afford takes n bytes out of the budget of all requests.
func (k *kept) afford(n int) bool {
	if k.budget.Add(int64(n)) > keptInAll {
		k.budget.Add(-int64(n))
		return false
	}
	k.held += int64(n)
	return true
}

// release gives the budget back. What Bodies were made of it stays valid.
func (k *kept) release() {
	if k.held > 0 {
		k.budget.Add(-k.held)
		k.held = 0
	}
}

// body is what was kept, decoded.
func (k *kept) body(mediaType string) detect.Body {
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

// unpack fills in a gzipped body. One that is longer than was kept, or broken, stays unknown.
func (k *kept) unpack(b *detect.Body) {
	if k.over {
		return
	}
	zr, err := gzip.NewReader(bytes.NewReader(k.bytes))
	if err != nil {
		return
	}
	sum := sha256.New()
	plain := &capped{limit: k.limit}
	n, err := io.Copy(io.MultiWriter(sum, plain), io.LimitReader(zr, maxDecoded+1))
	if err != nil || n > maxDecoded {
		return
	}
	b.Digest, b.Size = digest(sum), n
	if !plain.over {
		b.Bytes = plain.Bytes()
	}
}

func digest(sum hash.Hash) string { return named(sum.Sum(nil)) }

// named is the digest of a SHA-256.
func named(sum []byte) string {
	var text [7 + 2*sha256.Size]byte
	return string(hex.AppendEncode(append(text[:0], "sha256:"...), sum))
}

// capped keeps what is written to it up to a limit, and notes that there was more.
type capped struct {
	bytes.Buffer
	limit int
	over  bool
}

// Write never fails.
func (c *capped) Write(p []byte) (int, error) {
	if c.over || c.Len()+len(p) > c.limit {
		c.over = true
		return len(p), nil
	}
	return c.Buffer.Write(p)
}
