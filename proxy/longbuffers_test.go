package proxy

import (
	"testing"

	"github.com/bellbuoy/bellbuoy/proxy/buffers"
)

// Few downloads get large buffers, more of them smaller ones, and what each got it gives back to who lent it.
func TestLongBuffersForFewAndMany(t *testing.T) {
	bulk, long, some, crowd := buffers.Bulk.Size(), buffers.Long.Size(), buffers.Some.Size(), buffers.Crowd.Size()
	for _, row := range []struct {
		copies                  int32
		lend                    func() *buffers.Buffer
		first, ninth, afterMost int
	}{
		{1, lendToConn, bulk, long, some},
		{longMany + 1, lendToConn, long, long, some},
		{someMany + 1, lendToConn, some, some, some},
		{1, lendToStream, bulk, long, some},
		{longMany + 1, lendToStream, some, some, some},
		{someMany + 1, lendToStream, crowd, crowd, crowd},
	} {
		longCopies.Add(row.copies)
		var got []*buffers.Buffer
		for range buffers.Bulk.Most() + buffers.Long.Most() + 1 {
			got = append(got, row.lend())
		}
		for at, want := range map[int]int{0: row.first, buffers.Bulk.Most(): row.ninth, buffers.Bulk.Most() + buffers.Long.Most(): row.afterMost} {
			if len(got[at].Bytes) != want {
				t.Errorf("with %d transfers buffer %d has %d bytes, want %d", row.copies, at, len(got[at].Bytes), want)
			}
		}
		for _, b := range got {
			b.Return()
		}
		longCopies.Add(-row.copies)
	}
	for _, l := range []*buffers.Pool{&buffers.Bulk, &buffers.Long} {
		if n := l.Lent(); n != 0 {
			t.Errorf("%d buffers of %d bytes are still lent", n, l.Size())
		}
	}
}
