package track

import (
	"context"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// A client may try a push again although it was settled by a clear answer: bellbuoy or the
// connection may have ended before the client got that answer. A row of kind answer stands for
// that, from the commit of the push until the client has the answer. While the row is there, the
// same push by the same client is a retry and has no event of its own.
//
// Rows are removed in batches, a moment after the client got its answer. Until then the keys in
// memory count. If bellbuoy is killed within that moment, a push that repeats the last one on
// purpose is taken for its retry.

// acknowledged are pushes whose clients have the answer, and whose rows are not removed yet.
type acknowledged struct {
	mu       sync.Mutex
	keys     map[detect.Key]struct{}
	notEmpty chan struct{} // holds one element while there are keys
}

// acknowledgedPause is how long the first key of a batch waits for others.
const acknowledgedPause = 10 * time.Millisecond

// maxAcknowledged bounds the keys while the store fails. The rows beyond it end by themselves,
// after joinWindow.
const maxAcknowledged = 65_536

// Acknowledged is called when the client has certainly got the answer of a write that was settled.
func (t *writes) Acknowledged(in *Intent) {
	if !in.w.awaitsAnswer() {
		return
	}
	t.acknowledged.mu.Lock()
	defer t.acknowledged.mu.Unlock()
	if t.acknowledged.keys == nil {
		t.acknowledged.keys = map[detect.Key]struct{}{}
	}
	if len(t.acknowledged.keys) < maxAcknowledged {
		t.acknowledged.keys[in.w.answerKey()] = struct{}{}
	}
	select {
	case t.acknowledged.notEmpty <- struct{}{}:
	default:
	}
}

// dropAnswers removes the rows of acknowledged pushes, until ctx ends.
func (t *writes) dropAnswers(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.acknowledged.notEmpty:
		}
		pause.Reset(acknowledgedPause)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		t.dropAnswerRows(ctx)
	}
}

// take reports whether a push was acknowledged, and removes its key: its row is about to be that of
// the next push.
func (h *acknowledged) take(k detect.Key) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.keys[k]
	delete(h.keys, k)
	return ok
}

// dropAnswerRows removes the rows of acknowledged pushes.
func (t *writes) dropAnswerRows(ctx context.Context) {
	t.acknowledged.mu.Lock()
	keys := make([]detect.Key, 0, len(t.acknowledged.keys))
	for k := range t.acknowledged.keys {
		keys = append(keys, k)
	}
	t.acknowledged.mu.Unlock()
	for len(keys) > 0 {
		some := keys[:min(len(keys), batch)]
		keys = keys[len(some):]
		err := t.ledger.Commit(ctx, "", func(detect.View) (detect.Changes, error) { return detect.Changes{Delete: some}, nil })
		if err != nil {
			return // the next run tries again
		}
		t.acknowledged.mu.Lock()
		for _, k := range some {
			delete(t.acknowledged.keys, k)
		}
		t.acknowledged.mu.Unlock()
	}
}

// finishTimeout is how long the end of Run may take to remove rows.
const finishTimeout = 2 * time.Second
