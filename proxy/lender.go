package proxy

import (
	"sync"
	"sync/atomic"
)

// lender lends buffers of one size, and no more than so many at a time: memory stays bounded, however many transfers ask for one.
type lender struct {
	size int
	most int32
	lent atomic.Int32
	pool sync.Pool // of *[]byte
}

// borrow lends a buffer for giveBack; nil where as many are lent as may be.
func (l *lender) borrow() *[]byte {
	if l.lent.Add(1) > l.most {
		l.lent.Add(-1)
		return nil
	}
	if b, ok := l.pool.Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, l.size)
	return &b
}

// giveBack takes a buffer back.
func (l *lender) giveBack(b *[]byte) {
	l.pool.Put(b)
	l.lent.Add(-1)
}
