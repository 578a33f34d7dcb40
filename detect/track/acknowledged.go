package track

import (
	"context"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// A push that was settled by a clear answer can still be tried again: bellbuoy, or the connection, may have ended before the client had that answer.
// A row of kind answer says so from the commit of the push until its answer has been handed to the client; while it is there, the same client's same
// push is a retry and has no event of its own. Rows are dropped in batches, moments after the fact: what counts until then is this memory. Should bellbuoy
// be killed within these moments, a push that repeats the last one on purpose is taken for its retry.

// handed are pushes whose answers their clients have got, and whose rows are not dropped yet.
type acknowledged struct {
	mu       sync.Mutex
	keys     map[detect.Key]struct{}
	notEmpty chan struct{} // there are keys
}

// handedPause is how long the first of a batch waits for company.
const acknowledgedPause = 10 * time.Millisecond

// maxHanded bounds the memory, should the store fail for long. Beyond it rows end by themselves, after joinWindow.
const maxAcknowledged = 65_536

// Handed is told that the client has got the answer of a write that was settled. Where that is not certain it must not be called.
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

// keepDropping drops rows as their pushes are handed over, until ctx ends.
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

// take tells whether a push's answer was handed over, and forgets it: its row is about to be that of the next one.
func (h *acknowledged) take(k detect.Key) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.keys[k]
	delete(h.keys, k)
	return ok
}

// dropHanded drops the rows of pushes whose clients have their answers.
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
			return // the next time
		}
		t.acknowledged.mu.Lock()
		for _, k := range some {
			delete(t.acknowledged.keys, k)
		}
		t.acknowledged.mu.Unlock()
	}
}

// lastWords is how long the end of Run may take to drop rows.
const lastWords = 2 * time.Second
