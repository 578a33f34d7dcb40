package buffers

import "testing"

func TestPoolsLendUpToTheirLimit(t *testing.T) {
	p := Pool{size: 10, most: 2}
	a, b := p.Borrow(), p.Borrow()
	if a == nil || b == nil || a == b || len(a.Bytes) != 10 || len(b.Bytes) != 10 {
		t.Fatalf("lent %v and %v", a, b)
	}
	if p.Borrow() != nil {
		t.Error("lent a third")
	}
	a.Return()
	if p.Borrow() == nil || p.Borrow() != nil {
		t.Error("a returned buffer is not lent once more")
	}
	if n := p.Lent(); n != 2 {
		t.Errorf("%d are lent", n)
	}
}

// A buffer that grew beyond the limit is left to the garbage collector.
func TestLongHeadsAreNotKept(t *testing.T) {
	p := Pool{size: 2, longest: 4}
	b := p.Borrow()
	b.Bytes = append(b.Bytes[:0], "more than four"...)
	b.Return()
	if again := p.Borrow(); cap(again.Bytes) > 4 {
		t.Errorf("a buffer of %d bytes was kept", cap(again.Bytes))
	}
}

// The reverse proxy gets large slices up to the limit, then small ones. Each returns to the pool
// that it came from.
func TestSlicesAreSmallInACrowd(t *testing.T) {
	before := Copy.Lent()
	var lent [][]byte
	for range Copy.Most() + 1 {
		lent = append(lent, Slices{}.Get())
	}
	if first, last := len(lent[0]), len(lent[len(lent)-1]); first != CopySize || last != SomeSize {
		t.Errorf("the first has %d bytes, the last %d", first, last)
	}
	for _, b := range lent {
		Slices{}.Put(b)
	}
	if n := Copy.Lent(); n != before {
		t.Errorf("%d are still lent", n-before)
	}
}
