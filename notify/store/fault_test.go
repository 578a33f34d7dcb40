package store_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/store"
	"github.com/bellbuoy/bellbuoy/notify/store/engine"
	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func TestNewerSchemaIsRefused(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		w.Core.Alone(ctx, func(s engine.Session, _ *engine.Group) error {
			_, err := s.Exec(ctx, "INSERT INTO schema_version (version) VALUES (99)")
			return err
		})
		w.Close()
		if err := w.Again(); err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Error(err)
		}
	})
}

// TestCommitInDoubt: the commit happened, its caller was told that it may not have.
func TestCommitInDoubt(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		w.Core.Updates.Fault = func(commit func() error) error {
			w.Core.Updates.Fault = nil
			if err := commit(); err != nil {
				t.Error(err)
			}
			return fmt.Errorf("%w: broken", store.ErrUnknown)
		}
		update := func() error {
			return w.Update(ctx, nil, func(tx store.Tx) error {
				tx.Append(store.Event{ID: "push", At: time.Now()}, store.Delivery{Webhook: "hook"})
				tx.Append(store.Event{ID: "pull", At: time.Now(), Transient: true})
				return nil
			})
		}
		if err := update(); !errors.Is(err, store.ErrUnknown) {
			t.Error(err)
		}
		if err := update(); err != nil {
			t.Error(err)
		}
		if evs, err := w.Events(ctx, store.EventQuery{}); err != nil || len(evs) != 2 || w.Depth(t, "hook").Pending != 1 {
			t.Error(evs, err)
		}
	})
}

// TestChecksums: bytes that changed in the database are never sent.
func TestChecksums(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		epoch := w.TakeLane(t, "hook")
		for i := range 4 {
			w.Push(t, fmt.Sprint(i), "r", fmt.Sprint(i), "hook")
		}
		due := w.DueNow(t, store.DueQuery{})
		w.Record(t, store.Outcome{DeliveryID: due[1].ID, Webhook: "hook", Epoch: epoch, NextAt: time.Now().Add(-time.Second), Payload: &store.Payload{Body: []byte("body")}})
		w.Write(t, func(tx store.Tx) {
			tx.Append(store.Event{ID: "pull", Data: []byte("pulled"), At: time.Now(), Transient: true})
		})
		w.Core.Alone(ctx, func(s engine.Session, _ *engine.Group) error {
			for _, sql := range []string{"UPDATE events SET crc = crc + 1 WHERE id = '0'", "UPDATE payloads SET crc = crc + 1", "UPDATE packs SET crc = crc + 1"} {
				if n, err := s.Exec(ctx, sql); n != 1 || err != nil {
					t.Error(sql, n, err)
				}
			}
			return nil
		})
		storetest.WantIDs(t, w.DueNow(t, store.DueQuery{}), "2 3")
		dead, err := w.Deliveries(ctx, store.DeliveryQuery{States: []store.State{store.Dead}})
		if err != nil || storetest.EventIDs(dead) != "1 0" || dead[0].Reason != store.ReasonCorrupt {
			t.Errorf("%+v %v", dead, err)
		}
		if d := w.Depth(t, "hook"); d.Pending != 2 || d.Dead != 2 {
			t.Errorf("%+v", d)
		}
		evs, err := w.Events(ctx, store.EventQuery{})
		if err != nil || len(evs) != 5 || !evs[0].Corrupt || !evs[4].Corrupt || evs[4].Data != nil || evs[3].Corrupt {
			t.Errorf("%+v %v", evs, err)
		}
	})
}

func TestClosed(t *testing.T) {
	conform(t, func(t *testing.T, w *storetest.World) {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := w.Update(ctx, nil, storetest.Put); !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
		if _, err := w.Events(ctx, store.EventQuery{}); !errors.Is(err, store.ErrClosed) {
			t.Error(err)
		}
	})
}
