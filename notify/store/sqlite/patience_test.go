package sqlite

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// TestPatienceMeasuresTheDisk: who waits behind others whose commits succeed is told that, or waits
// on.
func TestPatienceMeasuresTheDisk(t *testing.T) {
	w := openFixture(t, t.TempDir())
	var pause atomic.Int64
	w.Core.Updates.Fault = func(commit func() error) error { time.Sleep(time.Duration(pause.Load())); return commit() }
	whole := func(tx store.Tx) error {
		tx.Put(store.Row{Key: store.Key{Kind: "k", ID: "large"}, Value: make([]byte, engine.GroupBytes)})
		return nil
	} // a transaction of its own
	began := time.Now()
	if err := w.Update(ctx, nil, whole); err != nil {
		t.Fatal(err)
	}
	// Patience lasts for five commits, however long the machine takes for one; and before who
	// comes last there are ten.
	slow := time.Since(began) + time.Second/4
	patience := 5 * slow
	pause.Store(int64(slow))
	release := w.Hold(t)
	ends := make(chan error, 10)
	for range cap(ends) {
		go func() { ends <- w.Update(ctx, nil, whole) }()
	}
	for len(w.Core.Updates.In[engine.Ordinary]) < 10 {
		time.Sleep(time.Millisecond)
	}
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	hasty, patient := make(chan error), make(chan error)
	go func() { hasty <- w.Update(short, nil, func(store.Tx) error { t.Error("it ran"); return nil }) }()
	go func() { patient <- w.UpdateOn(ctx, store.Terms{Patience: patience}, storetest.Put) }()
	for len(w.Core.Updates.In[engine.Ordinary]) < 12 {
		time.Sleep(time.Millisecond)
	}
	release()
	if err := <-hasty; !errors.Is(err, store.ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if err := <-patient; err != nil {
		t.Error(err)
	}
	for range cap(ends) {
		if err := <-ends; err != nil {
			t.Error(err)
		}
	}
}

func TestPatienceEndsWhereTheDiskHangs(t *testing.T) {
	w := openFixture(t, t.TempDir())
	release := w.Hold(t)
	defer release()
	err := w.UpdateOn(ctx, store.Terms{Ahead: true, Patience: 20 * time.Millisecond}, func(store.Tx) error { t.Error("it ran"); return nil })
	if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, store.ErrBusy) || errors.Is(err, store.ErrUnknown) {
		t.Error(err)
	}
}
