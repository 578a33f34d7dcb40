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
type handed struct {
	mu   sync.Mutex
	keys map[detect.Key]struct{}
	some chan struct{} // there are keys
}

// handedPause is how long the first of a batch waits for company.
const handedPause = 10 * time.Millisecond

// maxHanded bounds the memory, should the store fail for long. Beyond it rows end by themselves, after joinWindow.
const maxHanded = 65_536

// Handed is told that the client has got the answer of a write that was settled. Where that is not certain it must not be called.
func (t *Tracker) Handed(in *Intent) {
	if !in.w.awaitsAnswer() {
		return
	}
	t.handed.mu.Lock()
	defer t.handed.mu.Unlock()
	if t.handed.keys == nil {
		t.handed.keys = map[detect.Key]struct{}{}
	}
	if len(t.handed.keys) < maxHanded {
		t.handed.keys[in.w.answerKey()] = struct{}{}
	}
	select {
	case t.handed.some <- struct{}{}:
	default:
	}
}

// keepDropping drops rows as their pushes are handed over, until ctx ends.
func (t *Tracker) keepDropping(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.handed.some:
		}
		pause.Reset(handedPause)
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		t.dropHanded(ctx)
	}
}

// take tells whether a push's answer was handed over, and forgets it: its row is about to be that of the next one.
func (h *handed) take(k detect.Key) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, ok := h.keys[k]
	delete(h.keys, k)
	return ok
}

// dropHanded drops the rows of pushes whose clients have their answers.
func (t *Tracker) dropHanded(ctx context.Context) {
	t.handed.mu.Lock()
	keys := make([]detect.Key, 0, len(t.handed.keys))
	for k := range t.handed.keys {
		keys = append(keys, k)
	}
	t.handed.mu.Unlock()
	for len(keys) > 0 {
		some := keys[:min(len(keys), batch)]
		keys = keys[len(some):]
		err := t.ledger.Commit(ctx, "", func(detect.View) (detect.Changes, error) { return detect.Changes{Delete: some}, nil })
		if err != nil {
			return // the next time
		}
		t.handed.mu.Lock()
		for _, k := range some {
			delete(t.handed.keys, k)
		}
		t.handed.mu.Unlock()
	}
}

// awaitsAnswer tells whether a retry of this write would make an event of its own: only a push to a tag does. What is put by digest waits for its tag
// anyway, and a second delete is refused.
func (w *write) awaitsAnswer() bool { return w.Do == doPut && !detect.IsDigest(w.Reference) }

func (w *write) answerKey() detect.Key {
	return w.key(rowAnswer, w.Reference, w.Digest, clientID(w.Client))
}

// awaitAnswer notes a push whose client has yet to get the answer.
func (d *decision) awaitAnswer() {
	if !d.w.awaitsAnswer() || d.out.inferred {
		return // the latter is what doneRow is for
	}
	row := newRow(d.w.answerKey(), doneRow{Event: d.w.Event, At: d.now, Wrote: d.w.At}, time.Time{})
	row.Due = d.now.Add(joinWindow)
	d.put(row)
}

// unanswered tells whether this push is a retry of one whose answer its client never got, with nothing else written to the tag since.
func (d *decision) unanswered() (bool, error) {
	if !d.w.awaitsAnswer() || d.handed || d.out.inferred {
		return false, nil
	}
	first, ok, err := read[doneRow](d, d.w.answerKey())
	if err != nil || !ok || first.At.Add(joinWindow).Before(d.now) {
		return false, err
	}
	tag, _, err := read[tagRow](d, d.w.tagKey(d.w.Reference))
	return err == nil && tag.Digest == d.out.digest && tag.Wrote.Equal(first.Wrote), err
}

// lastWords is how long the end of Run may take to drop rows.
const lastWords = 2 * time.Second
