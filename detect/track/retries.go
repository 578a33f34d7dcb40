package track

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// retries tells whether this write can be a retry of an earlier one, by what stood at the reference before each: the same, or what the earlier one
// made of it. Where something else stood there, something else has been written in between, and this write is a thing of its own.
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

// follows is retries for two writes of which either may be the earlier one.
func (w *write) follows(o *write) bool {
	if w.At.Before(o.At) {
		return o.retries(w)
	}
	return w.retries(o)
}

// foundDone tells whether a write found what it does done already, or did not look. A retry of what is settled does; where something else stood there
// (put by somebody whom bellbuoy did not see, or whose event another replica still keeps), it is a thing of its own.
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

// giveUp notes that the upstream was asked and has not done it. Should it do so after all, for a replica that was taken for dead and still waits
// for the answer, then there is an event.
func (tx *transaction) giveUp() {
	row := newRow(tx.w.undoneKey(), settledRow{At: tx.now}, tx.now)
	row.Due = tx.now.Add(joinWindow)
	tx.put(row)
}

// givenUp tells whether a write that is answered now had been given up.
func (tx *transaction) givenUp() bool {
	_, ok, err := tx.Get(tx.w.undoneKey())
	if err != nil || !ok || tx.result.inferred {
		return false
	}
	tx.drop(tx.w.undoneKey())
	return true
}

const undone = "undone"

func (w *write) undoneKey() detect.Key { return w.key(rowSettled, w.Reference, w.Digest, undone, w.ID) }

// maxDone bounds the settled writes of a repository that are looked at. There are any for 10 minutes after trouble only.
const maxDone = 256

// outdate ends the waiting for retries of what this write undoes: who does that again has something new to tell. tags are those that
// went with a digest.
func (tx *transaction) outdate(tags []string) error {
	rows, err := tx.Scan(rowSettled, tx.w.key(rowSettled, "").ID, maxDone)
	if err != nil {
		return err
	}
	touched := append([]string{tx.w.Reference, tx.result.digest}, tx.result.tags...)
	touched = append(touched, tags...)
	own := tx.w.doneKey()
	for _, row := range rows {
		var done settledRow
		if json.Unmarshal(row.Value, &done) != nil || row.Key == own || tx.w.At.Before(done.Wrote) {
			continue // or older than what it would undo
		}
		parts := strings.Split(strings.TrimPrefix(row.ID, tx.w.key(rowSettled, "").ID), separator)
		if len(parts) != 4 || parts[2] == undone || parts[1] == tx.w.Digest && parts[2] == tx.w.Do {
			continue // the last is another client's try of the same
		}
		if slices.Contains(touched, parts[0]) {
			tx.drop(row.Key)
		}
	}
	return nil
}

// awaitsAnswer tells whether a retry of this write would make an event of its own: only a push to a tag does. What is put by digest waits for its tag
// anyway, and a second delete is refused.
func (w *write) awaitsAnswer() bool { return w.Do == doPut && !detect.IsDigest(w.Reference) }

func (w *write) answerKey() detect.Key {
	return w.key(rowAnswer, w.Reference, w.Digest, clientID(w.Client))
}

// awaitAnswer notes a push whose client has yet to get the answer.
func (tx *transaction) awaitAnswer() {
	if !tx.w.awaitsAnswer() || tx.result.inferred {
		return // the latter is what doneRow is for
	}
	row := newRow(tx.w.answerKey(), settledRow{Event: tx.w.Event, At: tx.now, Wrote: tx.w.At}, time.Time{})
	row.Due = tx.now.Add(joinWindow)
	tx.put(row)
}

// unanswered tells whether this push is a retry of one whose answer its client never got, with nothing else written to the tag since.
func (tx *transaction) unanswered() (bool, error) {
	if !tx.w.awaitsAnswer() || tx.acknowledged || tx.result.inferred {
		return false, nil
	}
	first, ok, err := read[settledRow](tx, tx.w.answerKey())
	if err != nil || !ok || first.At.Add(joinWindow).Before(tx.now) {
		return false, err
	}
	tag, _, err := read[tagRow](tx, tx.w.tagKey(tx.w.Reference))
	return err == nil && tag.Digest == tx.result.digest && tag.Wrote.Equal(first.Wrote), err
}
