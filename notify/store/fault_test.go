package store

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

func put(tx Tx) error { tx.Put(Row{Key: Key{"k", "k"}}); return nil }

func TestNewerSchemaIsRefused(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		w.core.alone(ctx, func(s session, _ *group) error {
			_, err := s.exec(ctx, "INSERT INTO schema_version (version) VALUES (99)")
			return err
		})
		w.Close()
		if err := w.again(); err == nil || !strings.Contains(err.Error(), "version 99") {
			t.Error(err)
		}
	})
}

// TestCommitInDoubt: the commit happened, its caller was told that it may not have.
func TestCommitInDoubt(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		w.core.updates.fault = func(commit func() error) error {
			w.core.updates.fault = nil
			if err := commit(); err != nil {
				t.Error(err)
			}
			return fmt.Errorf("%w: broken", ErrUnknown)
		}
		update := func() error {
			return w.Update(ctx, nil, func(tx Tx) error {
				tx.Append(Event{ID: "push", At: time.Now()}, Delivery{Webhook: "hook"})
				tx.Append(Event{ID: "pull", At: time.Now(), Transient: true})
				return nil
			})
		}
		if err := update(); !errors.Is(err, ErrUnknown) {
			t.Error(err)
		}
		if err := update(); err != nil {
			t.Error(err)
		}
		if evs, err := w.Events(ctx, EventQuery{}); err != nil || len(evs) != 2 || w.depth(t, "hook").Pending != 1 {
			t.Error(evs, err)
		}
	})
}

// TestChecksums: bytes that changed in the database are never sent.
func TestChecksums(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		epoch := w.lease(t, "hook")
		for i := range 4 {
			w.push(t, fmt.Sprint(i), "r", fmt.Sprint(i), "hook")
		}
		due := w.due(t, DueQuery{})
		w.finish(t, Outcome{DeliveryID: due[1].ID, Webhook: "hook", Epoch: epoch, NextAt: time.Now().Add(-time.Second), Payload: &Payload{Body: []byte("body")}})
		w.update(t, func(tx Tx) { tx.Append(Event{ID: "pull", Data: []byte("pulled"), At: time.Now(), Transient: true}) })
		w.core.alone(ctx, func(s session, _ *group) error {
			for _, sql := range []string{"UPDATE events SET crc = crc + 1 WHERE id = '0'", "UPDATE payloads SET crc = crc + 1", "UPDATE packs SET crc = crc + 1"} {
				if n, err := s.exec(ctx, sql); n != 1 || err != nil {
					t.Error(sql, n, err)
				}
			}
			return nil
		})
		wantIDs(t, w.due(t, DueQuery{}), "2 3")
		dead, err := w.Deliveries(ctx, DeliveryQuery{States: []State{Dead}})
		if err != nil || eventIDs(dead) != "1 0" || dead[0].Reason != ReasonCorrupt {
			t.Errorf("%+v %v", dead, err)
		}
		if d := w.depth(t, "hook"); d.Pending != 2 || d.Dead != 2 {
			t.Errorf("%+v", d)
		}
		evs, err := w.Events(ctx, EventQuery{})
		if err != nil || len(evs) != 5 || !evs[0].Corrupt || !evs[4].Corrupt || evs[4].Data != nil || evs[3].Corrupt {
			t.Errorf("%+v %v", evs, err)
		}
	})
}

func TestClosed(t *testing.T) {
	conform(t, func(t *testing.T, w *world) {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		if err := w.Update(ctx, nil, put); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
		if _, err := w.Events(ctx, EventQuery{}); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}
