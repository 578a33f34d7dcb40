package track

import (
	"context"
	"encoding/json"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// batch is how many rows of a kind are looked at together.
const batch = 256

// noteUntagged remembers when the untagged pushes of a commit are due.
func (t *writes) noteUntagged(c detect.Changes) {
	for i := range c.Put {
		if c.Put[i].Kind == rowHeld {
			t.lookAt(c.Put[i].Due)
		}
	}
}

// lookAt makes the timers look at untagged pushes by a time at the latest.
func (t *writes) lookAt(due time.Time) {
	for at := due.UnixNano(); ; {
		was := t.nextUntagged.Load()
		if was <= at && was != 0 || t.nextUntagged.CompareAndSwap(was, at) {
			return
		}
	}
}

// untaggedDue reports whether an untagged push may be due.
func (t *writes) untaggedDue(now time.Time) bool {
	at := t.nextUntagged.Load()
	return at != 0 && at <= now.UnixNano()
}

// releaseDue ends the waiting of untagged pushes whose clients have been quiet. It looks at the
// rows of all replicas: the first replica that comes emits the event.
func (t *writes) releaseDue(ctx context.Context) {
	now := time.Now()
	t.nextUntagged.Store(0) // every push that waits from here on sets it again
	rows, err := t.ledger.Due(ctx, rowHeld, now, batch)
	if err != nil {
		t.lookAt(now)
		return // the rows stay; the next look finds them
	}
	t.untagged.Store(int64(len(rows)))
	for _, row := range rows {
		if ctx.Err() != nil {
			return
		}
		t.releaseUntagged(ctx, row)
	}
	switch later, err := t.ledger.Due(ctx, rowHeld, now.Add(t.config().UntaggedPushMax), 1); {
	case err != nil:
		t.lookAt(now)
	case len(later) > 0:
		t.lookAt(later[0].Due)
	}
}

func (t *writes) releaseUntagged(ctx context.Context, row detect.Row) {
	cfg, now := t.config(), time.Now()
	var held heldRow
	quiet := now
	if json.Unmarshal(row.Value, &held) == nil {
		e := &held.Event
		quiet = t.pulls.QuietSince(tagindex.Place{Upstream: e.Upstream, Hint: e.Hint, Repository: e.Repository}, &e.Client)
	}
	var final tagindex.CommitResult[detect.Changes]
	err := t.ledger.Commit(ctx, tagindex.ScopeOf(row.Key), func(v detect.View) (detect.Changes, error) {
		tx := transaction{Transaction: tagindex.NewTransaction(v, now), cfg: cfg}
		err := tx.release(row.Key, quiet)
		final.Set(tx.Changes)
		return tx.Changes, err
	})
	if c, ok := final.Get(); err == nil && ok {
		t.noteUntagged(c)
	}
}

// release emits the event of a push that has waited long enough, or makes it wait for longer.
func (tx *transaction) release(k detect.Key, quietSince time.Time) error {
	row, ok, err := tx.Get(k)
	if err != nil || !ok || row.Due.After(tx.Now) {
		return err // absorbed, or put off by another replica
	}
	var held heldRow
	if json.Unmarshal(row.Value, &held) != nil {
		tx.Drop(k)
		return nil
	}
	if held.Tag == "" {
		until, err := tx.waitsUntil(held, quietSince)
		if err != nil {
			return err
		}
		if until.After(tx.Now) {
			tx.hold(k, held, until)
			return nil
		}
	}
	tx.Drop(k)
	tx.emit(held.Event)
	return nil
}

// waitsUntil returns when an untagged push is due: when its client has been quiet here and at all
// other replicas, within limits.
func (tx *transaction) waitsUntil(held heldRow, quietSince time.Time) (time.Time, error) {
	e := &held.Event
	k := tagindex.Place{Upstream: e.Upstream, Hint: e.Hint, Repository: e.Repository}.Key(rowBusy, held.Client)
	busy, ok, err := tx.Get(k)
	if err != nil {
		return time.Time{}, err
	}
	if ok && busy.Seen.After(quietSince) {
		quietSince = busy.Seen
	}
	until := quietSince.Add(tx.cfg.UntaggedPush)
	if last := held.Since.Add(tx.cfg.UntaggedPushMax); until.After(last) {
		until = last
	}
	return until, nil
}

// sweep removes rows that have ended by their time.
func (t *writes) sweep(ctx context.Context) {
	for _, kind := range []detect.RowKind{rowSettled, rowAnswer, rowRefused, rowBusy} {
		rows, err := t.ledger.Due(ctx, kind, time.Now(), batch)
		if err != nil {
			return
		}
		for _, row := range rows {
			now := time.Now()
			_ = t.ledger.Commit(ctx, tagindex.ScopeOf(row.Key), func(v detect.View) (detect.Changes, error) {
				// a row that could not be removed stays due
				current, ok, err := v.Get(row.Key)
				if err != nil || !ok || current.Due.After(now) {
					return detect.Changes{}, err
				}
				return detect.Changes{Delete: []detect.Key{row.Key}}, nil
			})
		}
	}
}

// markBusy adds rows for the pushes that go on here, so that other replicas keep the untagged
// pushes of the same clients waiting.
func (t *writes) markBusy(ctx context.Context) {
	cfg, now := t.config(), time.Now()
	for _, c := range t.pulls.Pushers(now, cfg.UntaggedPush/3) {
		row := tagindex.NewRow(c.Place.Key(rowBusy, c.Client.ID()), struct{}{}, c.Last)
		row.Due = now.Add(2 * cfg.UntaggedPush)
		_ = t.ledger.Commit(ctx, c.Place.Scope(), func(detect.View) (detect.Changes, error) {
			// if it fails, another replica may emit the push of a child early
			return detect.Changes{Put: []detect.Row{row}}, nil
		})
	}
}
