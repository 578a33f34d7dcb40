package proxy

import (
	"bytes"
	"compress/gzip"
	"slices"
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
)

// A client that sends many long bodies, packed or not, takes its share of the memory and no more,
// by capacity. Others have theirs, and small bodies have their own.
func TestOneClientTakesOnlyItsShare(t *testing.T) {
	h := &Handler{budget: newBudget()}
	h.budget.large.most, h.budget.large.mostOfClient = 12<<20, 4<<20
	h.budget.small.most, h.budget.small.mostOfClient = 4<<20, 1<<20
	long, small := make([]byte, 1<<20), make([]byte, smallBody/2)
	var packed bytes.Buffer
	zw := gzip.NewWriter(&packed)
	_, _ = zw.Write(long)
	_ = zw.Close()
	var all []*bodyCopy
	keep := func(address, encoding string, body []byte) detect.Body {
		k := h.keeping(detect.MaxManifest, -1, encoding, address)
		for piece := range slices.Chunk(body, 1000) {
			k.write(piece)
		}
		all = append(all, &k)
		return k.body("")
	}
	memory := func() (sum int) {
		for _, k := range all {
			sum += cap(k.bytes)
			if k.plain != nil {
				sum += cap(k.plain.bytes)
			}
		}
		return sum
	}
	const hostile, neighbour = "2001:db8::1", "2001:db8::2"
	for range 64 {
		keep(hostile, "", long)
		keep(neighbour, "gzip", packed.Bytes())
	}
	if got := memory(); got > 5<<20 {
		t.Errorf("one client's bodies take %d MiB", got>>20)
	}
	if b := keep(hostile, "", long); b.Bytes != nil || b.Digest != digestOf(string(long)) {
		t.Errorf("a body beyond the client's share is kept, or has the digest %q", b.Digest)
	}
	for _, encoded := range []struct {
		encoding string
		body     []byte
	}{{"", long}, {"gzip", packed.Bytes()}, {"", small}} {
		if b := keep("192.0.2.7", encoded.encoding, encoded.body); b.Bytes == nil {
			t.Errorf("no room for another client's body of %d bytes (%s)", len(encoded.body), encoded.encoding)
		}
	}
	for i := range 100 {
		keep("192.0.2."+string(rune('0'+i%10))+string(rune('0'+i/10)), "", long)
	}
	if got := memory(); got > 16<<20 {
		t.Errorf("all bodies take %d MiB", got>>20)
	}
	if b := keep("192.0.2.250", "", small); b.Bytes == nil {
		t.Error("no room for a small body")
	}
	for _, k := range all {
		k.release()
	}
	if p := h.budget; p.large.used+p.small.used != 0 || len(p.large.byClient)+len(p.small.byClient) != 0 {
		t.Errorf("not given back: %+v %+v", p.large, p.small)
	}
}
