package detect

import (
	"encoding/json"
	"slices"
	"strings"
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
		if len(parts) != 4 || parts[1] == d.w.Digest && parts[2] == d.w.Do {
			continue // another client's try of the same
		}
		if slices.Contains(touched, parts[0]) {
			d.drop(row.Key)
		}
	}
	return nil
}
