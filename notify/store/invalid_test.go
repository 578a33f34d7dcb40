package store_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

// TestOversizedDataIsRefused: what an index or a column cannot hold fails its caller, on both
// engines alike, and says nothing about the store.
func TestOversizedDataIsRefused(t *testing.T) {
	long := incompressible(3000)
	for name, write := range map[string]func(store.Tx){
		"key":         func(tx store.Tx) { tx.Put(store.Row{Key: store.Key{Kind: "k", ID: long}}) },
		"deleted key": func(tx store.Tx) { tx.Delete(store.Key{Kind: "k", ID: long}) },
		"kind":        func(tx store.Tx) { tx.Put(store.Row{Key: store.Key{Kind: long, ID: "id"}}) },
		"value": func(tx store.Tx) {
			tx.Put(store.Row{Key: store.Key{Kind: "k", ID: "id"}, Value: make([]byte, store.MaxValue+1)})
		},
		"event's id":            func(tx store.Tx) { tx.Append(store.Event{ID: long}) },
		"event's repository":    func(tx store.Tx) { tx.Append(store.Event{ID: "e", Repository: long}) },
		"pull's repository":     func(tx store.Tx) { tx.Append(store.Event{ID: "e", Repository: long, Transient: true}) },
		"event's data":          func(tx store.Tx) { tx.Append(store.Event{ID: "e", Data: make([]byte, store.MaxValue+1)}) },
		"delivery's webhook":    func(tx store.Tx) { tx.Append(store.Event{ID: "e"}, store.Delivery{Webhook: long}) },
		"delivery's tag":        func(tx store.Tx) { tx.Append(store.Event{ID: "e"}, store.Delivery{Webhook: "w", TagKey: long}) },
		"delivery's repository": func(tx store.Tx) { tx.Append(store.Event{ID: "e"}, store.Delivery{Webhook: "w", RepoKey: long}) },
	} {
		t.Run(name, func(t *testing.T) {
			conform(t, func(t *testing.T, w *storetest.World) {
				if err := w.Update(ctx, nil, func(tx store.Tx) error { write(tx); return nil }); !errors.Is(err, store.ErrInvalid) {
					t.Errorf("got %v", err)
				}
				if err := w.Healthy(); err != nil {
					t.Errorf("unhealthy: %v", err)
				}
			})
		})
	}
	t.Run("payload", func(t *testing.T) {
		conform(t, func(t *testing.T, w *storetest.World) {
			w.Push(t, "e", "r", "t", "hook")
			d := w.DueNow(t, store.DueQuery{})[0]
			err := w.Finish(ctx, []store.Outcome{{DeliveryID: d.ID, Webhook: "hook", Epoch: w.TakeLane(t, "hook"), State: store.Delivered, Payload: &store.Payload{Body: make([]byte, store.MaxValue+1)}}})
			if !errors.Is(err, store.ErrInvalid) || w.Healthy() != nil {
				t.Errorf("got %v, %v", err, w.Healthy())
			}
		})
	})
}

// TestTheLargestKeyFits: a key of MaxKey bytes fits into an index, however little it can be
// compressed.
func TestTheLargestKeyFits(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		k := store.Key{Kind: "k", ID: incompressible(store.MaxKey - 1)}
		name := incompressible(store.MaxKey)
		w.Write(t, func(tx store.Tx) {
			tx.Put(store.Row{Key: k, Value: []byte("v"), Due: time.Now(), Seen: time.Now()})
			tx.Append(store.Event{ID: name, Type: name, Upstream: name, Repository: name}, store.Delivery{Webhook: name, TagKey: name, RepoKey: name})
		})
		if err := w.View(ctx, func(r store.Reader) error {
			if row, ok, err := r.Get(k); !ok || string(row.Value) != "v" || err != nil {
				t.Error(ok, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// TestDataThatTheDatabaseRefusesFailsAlone: of a transaction that the database refuses for one
// caller's data, that caller alone fails. The store stays healthy meanwhile, and few transactions
// are needed to find it.
func TestDataThatTheDatabaseRefusesFailsAlone(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		w.RefuseRepository(t, "bad")
		release := w.Hold(t)
		const callers, bad = 64, 41
		errs := make([]chan error, callers)
		for i := range errs {
			errs[i] = make(chan error, 1)
			repo := "good"
			if i == bad {
				repo = "bad"
			}
			go func() {
				errs[i] <- w.Update(ctx, nil, func(tx store.Tx) error {
					if err := w.Healthy(); err != nil {
						t.Errorf("unhealthy: %v", err)
					}
					tx.Append(store.Event{ID: fmt.Sprint("e", i), At: time.Now(), Repository: repo})
					return nil
				})
			}()
		}
		for len(w.Core.Updates.In[engine.Ordinary]) < callers {
			time.Sleep(time.Millisecond)
		}
		var commits atomic.Int64
		w.Core.Updates.Fault = func(commit func() error) error { commits.Add(1); return commit() }
		release()
		for i := range errs {
			if err := <-errs[i]; (err != nil) != (i == bad) || err != nil && !errors.Is(err, store.ErrInvalid) {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if n := commits.Load(); n > 16 {
			t.Errorf("%d commits", n)
		}
		if evs, err := w.Events(ctx, store.EventQuery{}); len(evs) != callers-1 || err != nil {
			t.Errorf("%d events, %v", len(evs), err)
		}
		if err := w.Healthy(); err != nil {
			t.Errorf("unhealthy: %v", err)
		}
	})
}

// incompressible is text of n bytes that no engine can make shorter.
func incompressible(n int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	var b strings.Builder
	for range n {
		b.WriteByte(letters[rand.IntN(len(letters))])
	}
	return b.String()
}
