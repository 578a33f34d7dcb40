package track

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// settlement is what became of a write, and what its event needs of that.
type settlement struct {
	done     bool   // the upstream did it
	status   int    // status of the answer; 0 where there was none
	digest   string // the digest that the upstream named, or the one of the bytes
	mismatch bool   // the digest of the upstream is not that of the bytes
	tags     []string
	inferred bool
	operator string // the name that the answer vouches for; "": the name in the intent

	overtaken bool // put: a later write has moved the tag since

	asked  bool     // upload: the upstream was asked which claims it holds
	charts []upload // the claims that it holds
}

// answered makes a settlement of a clear answer.
func (w *write) answered(op *detect.Operation) settlement {
	out := settlement{status: op.Status, done: op.Status >= 200 && op.Status < 300, digest: w.Digest}
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

// sentDigest returns the digest of what was sent, in the algorithm of another digest; "" where it
// cannot be computed.
func sentDigest(sent detect.Body, like string) string {
	algorithm := detect.DigestAlgorithm(like)
	if algorithm == detect.DigestAlgorithm(sent.Digest) {
		return sent.Digest
	}
	a := digest.Algorithm(algorithm)
	if sent.Bytes == nil || !a.Available() {
		return ""
	}
	return a.FromBytes(sent.Bytes).String()
}

// confirmed returns the tags asked for that the answer names.
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

// settle commits a settlement: the event or none, and the end of the intent.
func (t *writes) settle(ctx context.Context, in *Intent, out settlement) error {
	var final tagindex.CommitResult[detect.Changes]
	now, cfg := time.Now(), t.config()
	subjectSeen, sizes := t.subjectSeen(&in.w), t.childSizes(&in.w)
	seen := t.tags.TakeObserved(in.w.Scope())
	w, key := in.w, in.rowKey()
	if out.operator != "" {
		w.Client.Operator, w.Client.Claimed = out.operator, ""
	}
	acknowledged := w.awaitsAnswer() && out.done && t.acknowledged.take(w.answerKey())
	decide := func(v detect.View) (detect.Changes, error) {
		tx := transaction{Transaction: tagindex.NewTransaction(v, now), cfg: cfg, w: w, result: out, subjectSeen: subjectSeen, sizes: sizes, acknowledged: acknowledged}
		if err := tx.Learn(seen); err != nil {
			return detect.Changes{}, err
		}
		if err := tx.settle(key); err != nil {
			return detect.Changes{}, err
		}
		final.Set(tx.Changes)
		return tx.Changes, nil
	}
	err := t.ledger.CommitLater(ctx, in.w.Scope(), in.durable, decide)
	if changes, ok := final.Get(); ok {
		t.tags.Apply(changes)
		t.noteUntagged(changes)
		t.askSoon(changes)
	}
	if err != nil {
		return fmt.Errorf("settling an intent: %w", err)
	}
	return nil
}

// subjectSeen reports whether the manifest that an accessory belongs to is in the cache.
func (t *writes) subjectSeen(w *write) bool {
	return w.Manifest != nil && w.Manifest.Artifact.Subject != "" && t.tags.Cached(w.Place, w.Manifest.Artifact.Subject)
}

// childSizes returns the sizes of the children of an index, as far as they are in the cache.
func (t *writes) childSizes(w *write) map[string]int64 {
	if w.Manifest == nil || len(w.Manifest.Artifact.Children) == 0 {
		return nil
	}
	sizes := map[string]int64{}
	for i := range w.Manifest.Artifact.Children {
		digest := w.Manifest.Artifact.Children[i].Digest
		if size, known := t.tags.CachedSize(w.Place, digest); known {
			sizes[digest] = size
		}
	}
	return sizes
}

// settle decides whether a write has an event, and adds it. row is the key of the intent, or nil if
// none was stored.
func (tx *transaction) settle(row *detect.Key) error {
	if row != nil {
		_, ok, err := tx.Get(*row)
		if err != nil {
			return err
		}
		if !ok && !tx.wasUndone() {
			return nil // a try that was settled before has taken the row, and made the event
		}
		tx.Drop(*row)
	}
	if !tx.w.Took.IsZero() {
		return chartTransaction{tx}.uploaded()
	}
	siblings, err := tx.siblings()
	if err != nil {
		return err
	}
	if !tx.result.done {
		if tx.result.inferred {
			tx.noteUndone()
		}
		return tx.refused(siblings)
	}
	joined, err := tx.joins(siblings)
	if err != nil || joined {
		return err
	}
	if tx.result.inferred {
		tx.remember()
	}
	tx.awaitAnswer()
	return tx.happened()
}

// siblings returns the other intents of the same client, action, reference and digest: tries of the
// same thing.
func (tx *transaction) siblings() (found []write, err error) {
	rows, err := tx.Scan(rowIntent, tx.w.Key(rowIntent, tx.w.Reference, tx.w.Client.ID(), "").ID, 64)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		var o write
		if json.Unmarshal(row.Value, &o) == nil && o.ID != tx.w.ID && o.Took.IsZero() && tx.w.same(&o) && tx.w.follows(&o) {
			found = append(found, o)
		}
	}
	return found, nil
}

// joins makes one event of all tries of the same thing: that of the first. It reports whether the
// event was made before.
func (tx *transaction) joins(siblings []write) (joined bool, err error) {
	found := tx.w
	for _, o := range siblings {
		tx.Drop(o.intentKey())
		since, err := tx.writtenSince(&o)
		if err != nil {
			return false, err
		}
		if o.At.Before(tx.w.At) && !since {
			tx.w.At, tx.w.Event, tx.w.Before, tx.w.RequestID = o.At, o.Event, o.Before, o.RequestID
		}
	}
	if joined, err := tx.unanswered(); joined || err != nil {
		return joined, err
	}
	done, ok, err := tagindex.Read[settledRow](tx, tx.w.doneKey())
	if err != nil || !ok || done.At.Add(joinWindow).Before(tx.Now) {
		return false, err
	}
	if tx.result.inferred {
		return true, nil // an answer may still come, and will join then
	}
	tx.Drop(tx.w.doneKey())
	return found.foundDone(), nil
}

// writtenSince reports whether the tag of an open write was written later by a write that was
// settled. Then nothing can show any more what became of the open write, and the same write again
// is a new push.
func (tx *transaction) writtenSince(o *write) (bool, error) {
	if detect.IsDigest(o.Reference) || o.Do != doPut && o.Do != doDelete {
		return false, nil
	}
	row, _, err := tagindex.Read[tagindex.TagRow](tx, o.TagKey(o.Reference))
	return row.Wrote.After(o.At), err
}

// refused settles a write that was answered 4xx: it has no event. But if a retry is refused because
// its work is done already, an earlier try was done, and has its event now.
func (tx *transaction) refused(siblings []write) error {
	if tx.w.Do == doDelete && tx.refusedForGood() && !detect.IsDigest(tx.w.Reference) && !tx.wasGone(siblings) {
		tx.rememberRefusal()
	}
	switch tx.result.status {
	case http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed:
	default:
		return nil
	}
	for _, o := range siblings {
		if o.At.After(tx.w.At) || !o.provenBy(tx.result.status) {
			continue
		}
		o.Manifest, o.Others, o.Notes, o.Opaque = tx.w.Manifest, tx.w.Others, tx.w.Notes, tx.w.Opaque
		tx.w, tx.result = o, settlement{done: true, inferred: true, digest: o.Digest, tags: o.Tags}
		tx.Drop(o.intentKey())
		if joined, err := tx.joins(siblings); err != nil || joined {
			return err
		}
		tx.remember()
		return tx.happened()
	}
	return nil
}

// refusedForGood reports whether the upstream refused the request itself, rather than a missing
// login.
func (tx *transaction) refusedForGood() bool {
	return tx.result.status >= http.StatusBadRequest && tx.result.status != http.StatusUnauthorized
}

// wasGone reports whether a delete's 404 means that there is nothing to delete.
func (tx *transaction) wasGone(siblings []write) bool {
	return tx.result.status == http.StatusNotFound && (tx.w.Before.Absent || len(siblings) > 0)
}

// provenBy reports whether the refusal of a retry shows that this earlier try was done.
func (w *write) provenBy(status int) bool {
	switch w.Do {
	case doDelete, doRemove:
		return status == http.StatusNotFound && !w.Before.Absent
	default:
		return status != http.StatusNotFound && w.Before.Known && w.Before.Absent
	}
}

// joinWindow is how long a retry joins an event that was inferred, or whose answer its client may
// not have got.
const joinWindow = 10 * time.Minute

// remember adds the row by which a retry that is answered later joins the event of now.
func (tx *transaction) remember() {
	row := tagindex.NewRow(tx.w.doneKey(), settledRow{Event: tx.w.Event, At: tx.Now, Wrote: tx.w.At}, tx.Now)
	row.Due = tx.Now.Add(joinWindow)
	tx.Store(row)
}

// happened adds the event of a write that the upstream has done, and updates the tag index.
func (tx *transaction) happened() error {
	if err := tx.outdate(nil); err != nil {
		return err
	}
	switch tx.w.Do {
	case doPut:
		return tx.pushed()
	case doDelete:
		return tx.deleted()
	case doUpload:
		return chartTransaction{tx}.uploaded()
	default:
		return chartTransaction{tx}.removed()
	}
}
