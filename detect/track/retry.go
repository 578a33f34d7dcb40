package track

import (
	"encoding/json"
	"slices"
	"strings"

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
func (d *decision) giveUp() {
	row := newRow(d.w.undoneKey(), doneRow{At: d.now}, d.now)
	row.Due = d.now.Add(joinWindow)
	d.put(row)
}

// givenUp tells whether a write that is answered now had been given up.
func (d *decision) givenUp() bool {
	_, ok, err := d.Get(d.w.undoneKey())
	if err != nil || !ok || d.out.inferred {
		return false
	}
	d.drop(d.w.undoneKey())
	return true
}

const undone = "undone"

func (w *write) undoneKey() detect.Key { return w.key(rowDone, w.Reference, w.Digest, undone, w.ID) }

// maxDone bounds the settled writes of a repository that are looked at. There are any for 10 minutes after trouble only.
const maxDone = 256

// outdate ends the waiting for retries of what this write undoes: who does that again has something new to tell. tags are those that
// went with a digest.
func (d *decision) outdate(tags []string) error {
	rows, err := d.Scan(rowDone, d.w.key(rowDone, "").ID, maxDone)
	if err != nil {
		return err
	}
	touched := append([]string{d.w.Reference, d.out.digest}, d.out.tags...)
	touched = append(touched, tags...)
	own := d.w.doneKey()
	for _, row := range rows {
		var done doneRow
		if json.Unmarshal(row.Value, &done) != nil || row.Key == own || d.w.At.Before(done.Wrote) {
			continue // or older than what it would undo
		}
		parts := strings.Split(strings.TrimPrefix(row.ID, d.w.key(rowDone, "").ID), separator)
		if len(parts) != 4 || parts[2] == undone || parts[1] == d.w.Digest && parts[2] == d.w.Do {
			continue // the last is another client's try of the same
		}
		if slices.Contains(touched, parts[0]) {
			d.drop(row.Key)
		}
	}
	return nil
}
