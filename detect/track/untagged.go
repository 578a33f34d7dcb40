package track

import (
	"context"
	"encoding/json"
	"time"
	"unique"

	"github.com/bellbuoy/bellbuoy/detect"
)

// batch is how many rows of a kind one look takes.
const batch = 256

// noteHeld remembers when there is something to look after.
func (t *writes) noteUntagged(c detect.Changes) {
	for i := range c.Put {
		if c.Put[i].Kind == rowHeld {
			t.lookAt(c.Put[i].Due)
		}
	}
}

// lookAt has held pushes looked at by then.
func (t *writes) lookAt(due time.Time) {
	for at := due.UnixNano(); ; {
		was := t.nextUntagged.Load()
		if was <= at && was != 0 || t.nextUntagged.CompareAndSwap(was, at) {
			return
		}
	}
}

// holds tells whether a held push may be due.
func (t *writes) untaggedDue(now time.Time) bool {
	at := t.nextUntagged.Load()
	return at != 0 && at <= now.UnixNano()
}

// releaseDue ends the waiting of pushes whose clients have been quiet. It looks at all replicas' rows: whoever comes first tells.
func (t *writes) releaseDue(ctx context.Context) {
	now := time.Now()
	t.nextUntagged.Store(0) // what is held from here on says so itself
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
		quiet = t.quietSince(&held.Event)
	}
	var final commitResult[detect.Changes]
	err := t.ledger.Commit(ctx, scopeOf(row.Key), func(v detect.View) (detect.Changes, error) {
		tx := transaction{view: v, cfg: cfg, now: now}
		err := tx.release(row.Key, quiet)
		final.set(tx.Changes)
		return tx.Changes, err
	})
	if c, ok := final.get(); err == nil && ok {
		t.noteUntagged(c)
	}
}

// release tells what has waited long enough, or makes it wait for longer.
func (tx *transaction) release(k detect.Key, quietSince time.Time) error {
	row, ok, err := tx.Get(k)
	if err != nil || !ok || row.Due.After(tx.now) {
		return err // absorbed, or put off by another replica
	}
	var held heldRow
	if json.Unmarshal(row.Value, &held) != nil {
		tx.drop(k)
		return nil
	}
	if held.Tag == "" {
		until, err := tx.waitsUntil(held, quietSince)
		if err != nil {
			return err
		}
		if until.After(tx.now) {
			tx.hold(k, held, until)
			return nil
		}
	}
	tx.drop(k)
	tx.emit(held.Event)
	return nil
}

// waitsUntil is when a held push shall be looked at again: its client's quiet here and at other replicas, within limits.
func (tx *transaction) waitsUntil(held heldRow, quietSince time.Time) (time.Time, error) {
	e := &held.Event
	k := place{e.Upstream, e.Hint, e.Repository}.key(rowBusy, held.Client)
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

// quietSince is since when a held push's client has done nothing in its repository, as far as this process has seen. It has seen
// nothing before its start.
func (t *writes) quietSince(e *detect.Event) time.Time {
	k := sessionKey{unique.Make(place{e.Upstream, e.Hint, e.Repository}), clientName(e.Client), e.Client.Address, e.Client.UserAgent}
	sh, id := t.reads.sessions.find(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, _ := sh.session(k, id)
	switch {
	case s == nil:
		return t.started
	case s.busy > 0:
		return time.Now()
	}
	return s.last
}

// sweep drops rows that have ended by themselves.
func (t *writes) sweep(ctx context.Context) {
	for _, kind := range []detect.RowKind{rowSettled, rowAnswer, rowRefused, rowBusy} {
		rows, err := t.ledger.Due(ctx, kind, time.Now(), batch)
		if err != nil {
			return
		}
		for _, row := range rows {
			now := time.Now()
			_ = t.ledger.Commit(ctx, scopeOf(row.Key), func(v detect.View) (detect.Changes, error) { // it stays due
				current, ok, err := v.Get(row.Key)
				if err != nil || !ok || current.Due.After(now) {
					return detect.Changes{}, err
				}
				return detect.Changes{Delete: []detect.Key{row.Key}}, nil
			})
		}
	}
}

// markBusy tells other replicas of pushes that go on here, so that what they hold for the same client waits on.
func (t *writes) markBusy(ctx context.Context) {
	cfg, now := t.config(), time.Now()
	for k, last := range t.reads.sessions.writers(now, cfg.UntaggedPush/3) {
		client := detect.Client{Operator: k.who, Address: k.address, UserAgent: k.agent}
		at := k.at.Value()
		row := newRow(at.key(rowBusy, clientID(client)), struct{}{}, last)
		row.Due = now.Add(2 * cfg.UntaggedPush)
		_ = t.ledger.Commit(ctx, at.scope(), func(detect.View) (detect.Changes, error) { // without it another replica may tell a child's push early
			return detect.Changes{Put: []detect.Row{row}}, nil
		})
	}
}

// writers are sessions that have been pushing for longer than a while, and are at it, with when they last did anything.
func (ss *sessions) writers(now time.Time, while time.Duration) map[sessionKey]time.Time {
	found := map[sessionKey]time.Time{}
	for i := range ss.shards {
		sh := &ss.shards[i]
		sh.mu.Lock()
		for s := sh.active.front; s != nil && (s.busy > 0 || now.Sub(s.last) < while); s = s.next {
			if s.writing.IsZero() || now.Sub(s.writing) < while {
				continue
			}
			s.writing = now
			found[s.key] = s.last
			if s.busy > 0 {
				found[s.key] = now
			}
		}
		sh.mu.Unlock()
	}
	return found
}
