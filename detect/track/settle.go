package track

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/detect"
)

// outcome is what became of a write.
type outcome struct {
	done     bool   // the upstream did it
	status   int    // of its answer; 0 where there was none
	digest   string // what it named; the bytes' own where it named none
	mismatch bool   // the two differ
	tags     []string
	inferred bool
	operator string // whose name the answer vouches for; "": as the intent has it

	overtaken bool // put: a later write has moved the tag since

	asked  bool     // upload: the upstream was asked which of its claims it holds …
	charts []upload // … and these are they
}

// answered reads a clear answer.
func (w *write) answered(op *detect.Operation) outcome {
	out := outcome{status: op.Status, done: op.Status >= 200 && op.Status < 300, digest: w.Digest}
	if out.done {
		out.operator = op.Client.Operator
	}
	if w.Do != doPut {
		return out
	}
	if op.ContentDigest != "" {
		own := sentDigest(op.Sent, op.ContentDigest)
		out.digest, out.mismatch = op.ContentDigest, own != "" && own != op.ContentDigest
	}
	out.tags = w.Tags
	if detect.IsDigest(w.Reference) {
		out.tags = confirmed(w.Tags, op.OCITags)
	}
	return out
}

// sentDigest is the digest of what was sent in the algorithm of another digest; "" where it cannot be told.
func sentDigest(sent detect.Body, like string) string {
	algorithm := digestAlgorithm(like)
	if algorithm == digestAlgorithm(sent.Digest) {
		return sent.Digest
	}
	a := digest.Algorithm(algorithm)
	if sent.Bytes == nil || !a.Available() {
		return ""
	}
	return a.FromBytes(sent.Bytes).String()
}

func digestAlgorithm(d string) string {
	for i := range len(d) {
		if d[i] == ':' {
			return d[:i]
		}
	}
	return ""
}

// confirmed are the tags asked for that the answer names.
func confirmed(asked, named []string) (tags []string) {
	for _, tag := range asked {
		for _, n := range named {
			if n == tag {
				tags = append(tags, tag)
				break
			}
		}
	}
	return tags
}

// settle commits what an outcome means.
func (t *Tracker) settle(ctx context.Context, in *Intent, out outcome) error {
	var final commitResult[detect.Changes]
	now, cfg := time.Now(), t.config()
	subjectSeen, sizes := t.subjectSeen(&in.w), t.childSizes(&in.w)
	seen := t.learned.takeScope(in.w.scope())
	w, key := in.w, in.rowKey()
	if out.operator != "" {
		w.Client.Operator, w.Client.Claimed = out.operator, ""
	}
	handed := w.awaitsAnswer() && out.done && t.handed.take(w.answerKey())
	decide := func(v detect.View) (detect.Changes, error) {
		d := decision{view: v, cfg: cfg, now: now, w: w, out: out, subjectSeen: subjectSeen, sizes: sizes, handed: handed}
		if err := d.learnAll(seen); err != nil {
			return detect.Changes{}, err
		}
		if err := d.settle(key); err != nil {
			return detect.Changes{}, err
		}
		final.set(d.Changes)
		return d.Changes, nil
	}
	err := t.ledger.CommitLater(ctx, in.w.scope(), in.durable, decide)
	if changes, ok := final.get(); ok {
		t.index.apply(changes)
		t.noteHeld(changes)
		t.askSoon(changes)
	}
	if err != nil {
		return fmt.Errorf("settling an intent: %w", err)
	}
	return nil
}

// commitResult carries what the last run of a decide function made out of it. A ledger that gave up waiting may still run it.
type commitResult[T any] struct {
	mu    sync.Mutex
	value T
	ok    bool
}

func (r *commitResult[T]) set(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value, r.ok = v, true
}

func (r *commitResult[T]) get() (T, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.ok
}

// settle ends an intent: every write's event, or that there is none, is decided here. row is the intent's; nil where it was never stored.
func (d *decision) settle(row *detect.Key) error {
	if row != nil {
		_, ok, err := d.Get(*row)
		if err != nil {
			return err
		}
		if !ok && !d.givenUp() {
			return nil // joined: whoever took the row made the event
		}
		d.drop(*row)
	}
	if !d.w.Took.IsZero() {
		return d.uploaded()
	}
	siblings, err := d.siblings()
	if err != nil {
		return err
	}
	if !d.out.done {
		if d.out.inferred {
			d.giveUp()
		}
		return d.refused(siblings)
	}
	joined, err := d.joins(siblings)
	if err != nil || joined {
		return err
	}
	if d.out.inferred {
		d.remember()
	}
	d.awaitAnswer()
	return d.happened()
}

// siblings are the other intents of the same client, action, reference and digest: tries of the same thing.
func (d *decision) siblings() (found []write, err error) {
	rows, err := d.Scan(rowIntent, d.w.key(rowIntent, d.w.Reference, clientID(d.w.Client), "").ID, 64)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		var o write
		if json.Unmarshal(row.Value, &o) == nil && o.ID != d.w.ID && o.Took.IsZero() && d.w.same(&o) && d.w.follows(&o) {
			found = append(found, o)
		}
	}
	return found, nil
}

// joins makes one of all tries of the same thing: the event is the first one's. It tells whether there has been an event already.
func (d *decision) joins(siblings []write) (joined bool, err error) {
	found := d.w
	for _, o := range siblings {
		d.drop(o.intentKey())
		since, err := d.writtenSince(&o)
		if err != nil {
			return false, err
		}
		if o.At.Before(d.w.At) && !since {
			d.w.At, d.w.Event, d.w.Before, d.w.RequestID = o.At, o.Event, o.Before, o.RequestID
		}
	}
	if joined, err := d.unanswered(); joined || err != nil {
		return joined, err
	}
	done, ok, err := read[doneRow](d, d.w.doneKey())
	if err != nil || !ok || done.At.Add(joinWindow).Before(d.now) {
		return false, err
	}
	if d.out.inferred {
		return true, nil // an answer may still come, and joins then
	}
	d.drop(d.w.doneKey())
	return found.foundDone(), nil
}

// writtenSince tells whether the tag of an open write has been written since, by something that has had its event: then nobody can tell any more what
// became of that try, and what does the same again is a thing of its own.
func (d *decision) writtenSince(o *write) (bool, error) {
	if detect.IsDigest(o.Reference) || o.Do != doPut && o.Do != doDelete {
		return false, nil
	}
	row, _, err := read[tagRow](d, o.tagKey(o.Reference))
	return row.Wrote.After(o.At), err
}

// refused: no event, but a retry that finds the work done tells what became of the first try.
func (d *decision) refused(siblings []write) error {
	if d.w.Do == doDelete && d.refusedForGood() && !detect.IsDigest(d.w.Reference) && !d.wasGone(siblings) {
		d.rememberRefusal()
	}
	switch d.out.status {
	case http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed:
	default:
		return nil
	}
	for _, o := range siblings {
		if o.At.After(d.w.At) || !o.provenBy(d.out.status) {
			continue
		}
		o.Manifest, o.Others, o.Notes, o.Opaque = d.w.Manifest, d.w.Others, d.w.Notes, d.w.Opaque
		d.w, d.out = o, outcome{done: true, inferred: true, digest: o.Digest, tags: o.Tags}
		d.drop(o.intentKey())
		if joined, err := d.joins(siblings); err != nil || joined {
			return err
		}
		d.remember()
		return d.happened()
	}
	return nil
}

// refusedForGood reports whether the upstream refused the request itself, and not its lack of a login.
func (d *decision) refusedForGood() bool {
	return d.out.status >= http.StatusBadRequest && d.out.status != http.StatusUnauthorized
}

// wasGone reports whether a delete's 404 says no more than that there is nothing to delete, any more or at all.
func (d *decision) wasGone(siblings []write) bool {
	return d.out.status == http.StatusNotFound && (d.w.Before.Absent || len(siblings) > 0)
}

// provenBy tells whether a retry's refusal shows that this earlier try has worked.
func (w *write) provenBy(status int) bool {
	switch w.Do {
	case doDelete, doRemove:
		return status == http.StatusNotFound && !w.Before.Absent
	default:
		return status != http.StatusNotFound && w.Before.Known && w.Before.Absent
	}
}

// joinWindow is how long a client's retry joins an event that was found out by asking.
const joinWindow = 10 * time.Minute

// remember lets a retry that is answered later join the event that is made now.
func (d *decision) remember() {
	row := newRow(d.w.doneKey(), doneRow{Event: d.w.Event, At: d.now, Wrote: d.w.At}, d.now)
	row.Due = d.now.Add(joinWindow)
	d.put(row)
}

// happened makes what a write that the upstream did means true.
func (d *decision) happened() error {
	if err := d.outdate(nil); err != nil {
		return err
	}
	switch d.w.Do {
	case doPut:
		return d.pushed()
	case doDelete:
		return d.deleted()
	case doUpload:
		return d.uploaded()
	default:
		return d.removed()
	}
}
