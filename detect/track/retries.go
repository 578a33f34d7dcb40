package track

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// retries reports whether this write may be a retry of an earlier one, by what stood at the
// reference before each: the same, or what the earlier one has made of it. If something else stood
// there, something else was written in between, and this write has an event of its own.
func (w *write) retries(earlier *write) bool {
	a, b := &earlier.Before, &w.Before
	switch {
	case !a.Known || !b.Known, a.Absent == b.Absent && a.Digest == b.Digest:
		return true
	case w.Do == doDelete, w.Do == doRemove:
		return b.Absent
	}
	return b.Digest == w.Digest && b.Digest != ""
}

// follows reports whether one of two writes may be a retry of the other.
func (w *write) follows(o *write) bool {
	if w.At.Before(o.At) {
		return o.retries(w)
	}
	return w.retries(o)
}

// foundDone reports whether a write found its work done already, or whether nothing is known of
// that. A retry of a settled write finds it done. If something else stood there (put by a client
// that bellbuoy did not see, or whose event another replica still holds), the write has an event of
// its own.
func (w *write) foundDone() bool {
	b := &w.Before
	switch {
	case !b.Known:
		return true
	case w.Do == doDelete, w.Do == doRemove:
		return b.Absent
	}
	return b.Digest == w.Digest
}

// noteUndone adds a row saying that the upstream was asked and has not done the write. If another
// replica still waits for the answer, and the answer is that it was done, there is an event after
// all.
func (tx *transaction) noteUndone() {
	row := tagindex.NewRow(tx.w.undoneKey(), settledRow{At: tx.Now}, tx.Now)
	row.Due = tx.Now.Add(joinWindow)
	tx.Store(row)
}

// wasUndone reports whether the upstream was asked about a write that is answered now, and seemed
// not to have done it.
func (tx *transaction) wasUndone() bool {
	_, ok, err := tx.Get(tx.w.undoneKey())
	if err != nil || !ok || tx.result.inferred {
		return false
	}
	tx.Drop(tx.w.undoneKey())
	return true
}

const undone = "undone"

func (w *write) undoneKey() detect.Key { return w.Key(rowSettled, w.Reference, w.Digest, undone, w.ID) }

// maxDone bounds the settled writes of a repository that are looked at. There are some only within
// 10 minutes after trouble.
const maxDone = 256

// outdate removes the rows by which retries join, for everything that this write undoes: the same
// write after it has an event of its own. tags are those that were deleted with a digest.
func (tx *transaction) outdate(tags []string) error {
	rows, err := tx.Scan(rowSettled, tx.w.Key(rowSettled, "").ID, maxDone)
	if err != nil {
		return err
	}
	touched := append([]string{tx.w.Reference, tx.result.digest}, tx.result.tags...)
	touched = append(touched, tags...)
	own := tx.w.doneKey()
	for _, row := range rows {
		var done settledRow
		if json.Unmarshal(row.Value, &done) != nil || row.Key == own || tx.w.At.Before(done.Wrote) {
			continue // or this write is older than what it would undo
		}
		parts := strings.Split(strings.TrimPrefix(row.ID, tx.w.Key(rowSettled, "").ID), tagindex.Separator)
		if len(parts) != 4 || parts[2] == undone || parts[1] == tx.w.Digest && parts[2] == tx.w.Do {
			continue // the last case is a try of the same by another client
		}
		if slices.Contains(touched, parts[0]) {
			tx.Drop(row.Key)
		}
	}
	return nil
}

// awaitsAnswer reports whether a retry of this write would have an event of its own if nothing
// joined the two. Only a push to a tag would: a push by digest waits for its tag anyway, and a
// second delete is refused.
func (w *write) awaitsAnswer() bool { return w.Do == doPut && !detect.IsDigest(w.Reference) }

func (w *write) answerKey() detect.Key {
	return w.Key(rowAnswer, w.Reference, w.Digest, w.Client.ID())
}

// awaitAnswer adds the row of a push whose client has not got the answer yet.
func (tx *transaction) awaitAnswer() {
	if !tx.w.awaitsAnswer() || tx.result.inferred {
		return // a settledRow serves inferred events
	}
	row := tagindex.NewRow(tx.w.answerKey(), settledRow{Event: tx.w.Event, At: tx.Now, Wrote: tx.w.At}, time.Time{})
	row.Due = tx.Now.Add(joinWindow)
	tx.Store(row)
}

// unanswered reports whether this push is a retry of one whose client never got the answer, with
// nothing else written to the tag in between.
func (tx *transaction) unanswered() (bool, error) {
	if !tx.w.awaitsAnswer() || tx.acknowledged || tx.result.inferred {
		return false, nil
	}
	first, ok, err := tagindex.Read[settledRow](tx, tx.w.answerKey())
	if err != nil || !ok || first.At.Add(joinWindow).Before(tx.Now) {
		return false, err
	}
	tag, _, err := tagindex.Read[tagindex.TagRow](tx, tx.w.TagKey(tx.w.Reference))
	return err == nil && tag.Digest == tx.result.digest && tag.Wrote.Equal(first.Wrote), err
}
