package store

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestOversizedDataIsRefused: what an index or a column cannot hold fails its caller, on both engines alike, and says nothing about the store.
func TestOversizedDataIsRefused(t *testing.T) {
	long := incompressible(3000)
	for name, write := range map[string]func(Tx){
		"key":                   func(tx Tx) { tx.Put(Row{Key: Key{"k", long}}) },
		"deleted key":           func(tx Tx) { tx.Delete(Key{"k", long}) },
		"kind":                  func(tx Tx) { tx.Put(Row{Key: Key{long, "id"}}) },
		"value":                 func(tx Tx) { tx.Put(Row{Key: Key{"k", "id"}, Value: make([]byte, MaxValue+1)}) },
		"event's id":            func(tx Tx) { tx.Append(Event{ID: long}) },
		"event's repository":    func(tx Tx) { tx.Append(Event{ID: "e", Repository: long}) },
		"pull's repository":     func(tx Tx) { tx.Append(Event{ID: "e", Repository: long, Transient: true}) },
		"event's data":          func(tx Tx) { tx.Append(Event{ID: "e", Data: make([]byte, MaxValue+1)}) },
		"delivery's webhook":    func(tx Tx) { tx.Append(Event{ID: "e"}, Delivery{Webhook: long}) },
		"delivery's tag":        func(tx Tx) { tx.Append(Event{ID: "e"}, Delivery{Webhook: "w", TagKey: long}) },
		"delivery's repository": func(tx Tx) { tx.Append(Event{ID: "e"}, Delivery{Webhook: "w", RepoKey: long}) },
	} {
		t.Run(name, func(t *testing.T) {
			conform(t, func(t *testing.T, w *world) {
				if err := w.Update(ctx, nil, func(tx Tx) error { write(tx); return nil }); !errors.Is(err, ErrInvalid) {
					t.Errorf("got %v", err)
				}
				if err := w.Healthy(); err != nil {
					t.Errorf("unhealthy: %v", err)
				}
			})
		})
	}
	t.Run("payload", func(t *testing.T) {
		conform(t, func(t *testing.T, w *world) {
			w.push(t, "e", "r", "t", "hook")
			d := w.due(t, DueQuery{})[0]
			err := w.Finish(ctx, []Outcome{{DeliveryID: d.ID, Webhook: "hook", Epoch: w.lease(t, "hook"), State: Delivered, Payload: &Payload{Body: make([]byte, MaxValue+1)}}})
			if !errors.Is(err, ErrInvalid) || w.Healthy() != nil {
				t.Errorf("got %v, %v", err, w.Healthy())
			}
		})
	})
}

// TestTheLargestKeyFits: a key of MaxKey bytes fits into an index, however little it can be compressed.
func TestTheLargestKeyFits(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		k := Key{"k", incompressible(MaxKey - 1)}
		name := incompressible(MaxKey)
		w.update(t, func(tx Tx) {
			tx.Put(Row{Key: k, Value: []byte("v"), Due: time.Now(), Seen: time.Now()})
			tx.Append(Event{ID: name, Type: name, Upstream: name, Repository: name}, Delivery{Webhook: name, TagKey: name, RepoKey: name})
		})
		if err := w.View(ctx, func(r Reader) error {
			if row, ok, err := r.Get(k); !ok || string(row.Value) != "v" || err != nil {
				t.Error(ok, err)
			}
			return nil
		}); err != nil {
			t.Error(err)
		}
	})
}

// TestDataThatTheDatabaseRefusesFailsAlone: of a transaction that the database refuses for one caller's data, that caller alone fails. The store stays
// healthy meanwhile, and few transactions are needed to find it.
func TestDataThatTheDatabaseRefusesFailsAlone(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		w.refuseRepository(t, "bad")
		release := w.hold(t)
		const callers, bad = 64, 41
		errs := make([]chan error, callers)
		for i := range errs {
			errs[i] = make(chan error, 1)
			repo := "good"
			if i == bad {
				repo = "bad"
			}
			go func() {
				errs[i] <- w.Update(ctx, nil, func(tx Tx) error {
					if err := w.Healthy(); err != nil {
						t.Errorf("unhealthy: %v", err)
					}
					tx.Append(Event{ID: fmt.Sprint("e", i), At: time.Now(), Repository: repo})
					return nil
				})
			}()
		}
		for len(w.core.updates.in[ordinary]) < callers {
			time.Sleep(time.Millisecond)
		}
		var commits atomic.Int64
		w.core.updates.fault = func(commit func() error) error { commits.Add(1); return commit() }
		release()
		for i := range errs {
			if err := <-errs[i]; (err != nil) != (i == bad) || err != nil && !errors.Is(err, ErrInvalid) {
				t.Errorf("caller %d: %v", i, err)
			}
		}
		if n := commits.Load(); n > 16 {
			t.Errorf("%d commits", n)
		}
		if evs, err := w.Events(ctx, EventQuery{}); len(evs) != callers-1 || err != nil {
			t.Errorf("%d events, %v", len(evs), err)
		}
		if err := w.Healthy(); err != nil {
			t.Errorf("unhealthy: %v", err)
		}
	})
}

// refuseRepository makes the database itself refuse events of a repository.
func (w *world) refuseRepository(t *testing.T, repository string) {
	t.Helper()
	sql := "ALTER TABLE events ADD CHECK (repository <> '" + repository + "')"
	if w.isFile {
		sql = "CREATE TRIGGER refusing BEFORE INSERT ON events WHEN NEW.repository = '" + repository + "' BEGIN SELECT RAISE(ABORT, 'refused'); END"
	}
	err := w.core.alone(ctx, func(s session, _ *group) error { _, err := s.exec(ctx, sql); return err })
	if err != nil {
		t.Fatal(err)
	}
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
