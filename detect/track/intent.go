package track

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/pulls"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// An intent stands for a write whose outcome is not known yet. It is a row from before the last
// byte of the write goes upstream until the outcome is known. The row holds all that the event
// needs, so that another process can finish what this one began.
//
//	        Intend             Settle: a clear answer
//	nothing ─────▶ in flight ─────────────────────────▶ settled: the event or none,
//	                 │   │ ▲ └─ another try took the       ▲     in one commit with
//	            Drop │   │ │    row: joined, no event      │     the end of the row
//	                 ▼   │ │                               │
//	            dropped  │ └ a retry is an intent          │ the upstream was asked, a read
//	                     │   of its own                    │ showed it, or a retry's 404,
//	           LeaveOpen │ or a crash                      │ 409 or 412 proved it (event:
//	                     ▼                                 │ retries join for 10 min more)
//	                    open ──────────────────────────────┘
//	                    └──┘ the upstream does not say: asked again, after growing pauses
//
// A settlement that finds the row gone makes no event: another try of the same write took the row,
// and made the event. So there is one event, in whatever order things happen.

// Intent is a write on its way. The proxy holds it from Intend to Settle, LeaveOpen or Drop.
type Intent struct {
	ID       string // UUIDv7
	w        write
	key      detect.Key
	durable  bool           // its row was committed
	transfer pulls.Transfer // the write makes its client busy
}

// writes make intents and settle them.
type writes struct {
	*services
	tags         *tagindex.Index
	pulls        *pulls.Pulls
	inFlight     inFlight    // intents that the proxy holds
	open         openIntents // intents whose outcome is unknown
	acknowledged acknowledged
	reading      chan struct{} // one element for each manifest that is being read back
	// when the next untagged push is due, as far as this process knows, in Unix nanoseconds; 0:
	// none waits
	nextUntagged atomic.Int64
	untagged     atomic.Int64
	givenUp      atomic.Int64
}

// Intend commits an intent for a manifest PUT or DELETE or a chart POST or DELETE. It must be
// called before the last byte goes upstream, when the body of the request is known (op.Sent or
// op.Upload) and op.Before is set. Where the store fails, Intend returns an intent that is only in
// memory, and an error that wraps detect.ErrStore; the caller decides whether to go on
// (store.on_failure). Every Intent ends in exactly one call of Settle, LeaveOpen or Drop.
func (t *writes) Intend(ctx context.Context, op *detect.Operation) (*Intent, error) {
	in := &Intent{w: t.newWrite(op)}
	in.ID = in.w.ID
	in.key = in.w.intentKey()
	t.inFlight.add(in)
	in.transfer = t.pulls.Busy(op)
	var final tagindex.CommitResult[write]
	// an observation of just now (the HEAD of a tag) is what stood before
	seen := t.tags.TakeObserved(in.w.Scope())
	made, now := in.w, time.Now()
	err := t.ledger.Commit(ctx, made.Scope(), func(v detect.View) (detect.Changes, error) {
		tx := tagindex.NewTransaction(v, now)
		if err := tx.Learn(seen); err != nil {
			return detect.Changes{}, err
		}
		w := made
		if err := w.lookBefore(&tx); err != nil {
			return detect.Changes{}, err
		}
		final.Set(w)
		tx.Store(w.row(in.key))
		return tx.Changes, nil
	})
	if w, ok := final.Get(); ok {
		in.w = w
	}
	if err != nil {
		return in, fmt.Errorf("committing an intent: %w", err)
	}
	in.durable = true
	return in, nil
}

// Settle ends an intent by a clear answer (2xx to 4xx). One commit adds the event and its
// deliveries, updates the tag index and removes the intent. An error that wraps detect.ErrStore
// means that the ledger will do it later; the client's answer need not wait for that.
func (t *writes) Settle(ctx context.Context, in *Intent, op *detect.Operation) error {
	defer t.inFlight.remove(in)
	out := in.w.answered(op)
	if out.done || out.status == http.StatusConflict || out.status == http.StatusPreconditionFailed {
		// 409 and 412 may prove that an earlier try was done
		t.understand(ctx, &in.w, op.Sent, out.digest)
	}
	t.pulls.Done(&in.transfer, t.wrote(&in.w, out))
	return t.settle(ctx, in, out)
}

// LeaveOpen ends an intent whose outcome is unknown (5xx, a reset, a timeout). The upstream is
// asked at once, and again until it shows the outcome.
func (t *writes) LeaveOpen(in *Intent) {
	t.pulls.Done(&in.transfer, nil)
	t.inFlight.remove(in)
	if !t.open.add(in, time.Now()) && !in.durable {
		t.noteGivenUp(in.key)
	}
}

// Drop ends an intent that never reached the upstream. Where the store fails the row stays, and
// asking the upstream settles it.
func (t *writes) Drop(ctx context.Context, in *Intent) error {
	t.pulls.Done(&in.transfer, nil)
	defer t.inFlight.remove(in)
	if !in.durable {
		return nil
	}
	err := t.ledger.CommitLater(ctx, in.w.Scope(), true, func(detect.View) (detect.Changes, error) {
		return detect.Changes{Delete: []detect.Key{in.key}}, nil
	})
	if err != nil {
		return fmt.Errorf("dropping an intent: %w", err)
	}
	return nil
}

// rowKey returns the key of the row of an intent, or nil if none was stored.
func (in *Intent) rowKey() *detect.Key {
	if !in.durable {
		return nil
	}
	return &in.key
}

func intentOf(row detect.Row) (*Intent, error) {
	in := &Intent{key: row.Key, durable: true}
	if err := json.Unmarshal(row.Value, &in.w); err != nil {
		return nil, fmt.Errorf("reading an intent: %w", err)
	}
	in.ID = in.w.ID
	return in, nil
}

// wrote returns what reads need to know of a write, and caches the manifest that was put. It is nil
// if the write was not done.
func (t *writes) wrote(w *write, out settlement) *pulls.Write {
	if !out.done {
		return nil
	}
	if w.Do == doPut {
		if w.Manifest != nil && w.Digest != "" {
			m := w.Manifest.Manifest()
			m.Annotations, m.Others = w.Notes, w.Others
			t.tags.KeepPut(w.Digest, m)
		}
		return &pulls.Write{Put: true, Digest: out.digest, Tagged: len(out.tags) > 0}
	}
	if w.Digest == "" {
		return &pulls.Write{Digest: w.Before.Digest, Tag: w.Reference}
	}
	return &pulls.Write{Digest: w.Digest}
}

// askSoon opens the intents that ask about claims, so that the upstream is asked at once. If this
// process ends before, the next one finds their rows.
func (t *writes) askSoon(c detect.Changes) {
	for _, row := range c.Put {
		if row.Kind != rowIntent {
			continue
		}
		if in, err := intentOf(row); err == nil {
			t.open.add(in, time.Now())
		}
	}
}

func (t *writes) noteGivenUp(k detect.Key) {
	t.givenUp.Add(1)
	if report := t.config().GivenUp; report != nil {
		parts := strings.SplitN(k.ID, tagindex.Separator, 5)
		report(parts[0], parts[min(2, len(parts)-1)], parts[min(3, len(parts)-1)])
	}
}
