package proxy

import "testing"

func TestLenderLendsNoMoreThanItMay(t *testing.T) {
	l := lender{size: 10, most: 2}
	a, b := l.borrow(), l.borrow()
	if a == nil || b == nil || a == b || len(*a) != 10 || len(*b) != 10 {
		t.Fatalf("lent %v and %v", a, b)
	}
	if l.borrow() != nil {
		t.Error("lent a third")
	}
	l.giveBack(a)
	if l.borrow() == nil || l.borrow() != nil {
		t.Error("one that was given back is not lent once more")
	}
	if n := l.lent.Load(); n != 2 {
		t.Errorf("%d are lent", n)
	}
}

// Few downloads get large buffers, more of them smaller ones, and what each got it gives back to who lent it.
func TestLongBuffersForFewAndMany(t *testing.T) {
	for _, row := range []struct {
		copies                  int32
		lend                    func() *[]byte
		first, ninth, afterMost int
	}{
		{1, lendToConn, bulkCopy, longCopy, someCopy},
		{longMany + 1, lendToConn, longCopy, longCopy, someCopy},
		{someMany + 1, lendToConn, someCopy, someCopy, someCopy},
		{1, lendToStream, bulkCopy, longCopy, someCopy},
		{longMany + 1, lendToStream, someCopy, someCopy, someCopy},
		{someMany + 1, lendToStream, crowdCopy, crowdCopy, crowdCopy},
	} {
		longCopies.Add(row.copies)
		var got []*[]byte
		for range bulkMany + longMany + 1 {
			got = append(got, row.lend())
		}
		for at, want := range map[int]int{0: row.first, bulkMany: row.ninth, bulkMany + longMany: row.afterMost} {
			if len(*got[at]) != want {
				t.Errorf("with %d transfers buffer %d has %d bytes, want %d", row.copies, at, len(*got[at]), want)
			}
		}
		for _, b := range got {
			lendLongBack(b)
		}
		longCopies.Add(-row.copies)
	}
	for _, l := range []*lender{&bulkBuffers, &longBuffers} {
		if n := l.lent.Load(); n != 0 {
			t.Errorf("%d buffers of %d bytes are still lent", n, l.size)
		}
	}
}
