package scan

import (
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

const maxKnown = 50_000 // findings of a scan that the next one is compared with

// last is what the last scan of a tag found.
type last struct {
	Digest string    `json:"d"`
	At     time.Time `json:"at"`
	Found  []byte    `json:"f,omitempty"` // sorted hashes of id and package
	Partly bool      `json:"p,omitempty"` // there were more
}

// compare marks what is new since the last scan of the job's tags, by the same scanner and of the
// same platform, and returns the rows that say so the next time. What one of its tags has not had
// is new; where no scan went before, all is.
func compare(v detect.View, j *jobRow, e *detect.Event, r *Report) (rows []detect.Row, err error) {
	fresh := map[hash]bool{}
	for _, k := range j.lastKeys() {
		before, err := read[last](v, k)
		if err != nil {
			return nil, err
		}
		before.missing(r.keys, fresh)
		row, err := encode(k, r.last(j.Digest, e.At), time.Time{})
		if err != nil {
			return nil, err
		}
		row.Seen = e.At
		rows = append(rows, row)
	}
	e.Scan.New = len(fresh)
	for i := range e.Scan.Findings {
		f := &e.Scan.Findings[i]
		f.New = fresh[hashOf(f.ID, f.Package)]
	}
	return rows, nil
}

// lastKeys name what this scan is compared with: the last one of each tag, or of the digest.
func (j *jobRow) lastKeys() (keys []detect.Key) {
	platform := ""
	if j.Artifact != nil && len(j.Artifact.Platforms) == 1 && j.Index != "" {
		platform = j.Artifact.Platforms[0]
	}
	names := j.ofTags()
	if len(names) == 0 {
		names = []string{j.Digest}
	}
	for _, name := range names {
		keys = append(keys, detect.Key{Kind: rowLast, ID: id(j.Scanner, j.Upstream, j.Repository, name, platform)})
	}
	return keys
}

// missing adds to fresh what l has not.
func (l *last) missing(found, fresh map[hash]bool) {
	known := map[hash]bool{}
	if l != nil {
		if l.Partly {
			return // nobody can say what is new
		}
		for i := 0; i+len(hash{}) <= len(l.Found); i += len(hash{}) {
			known[hash(l.Found[i:])] = true
		}
	}
	for k := range found {
		if !known[k] {
			fresh[k] = true
		}
	}
}

func (r *Report) last(digest string, at time.Time) *last {
	all := make([]hash, 0, len(r.keys))
	for k := range r.keys {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b hash) int { return slices.Compare(a[:], b[:]) })
	l := &last{Digest: digest, At: at}
	if len(all) > maxKnown {
		all, l.Partly = all[:maxKnown], true
	}
	for _, k := range all {
		l.Found = append(l.Found, k[:]...)
	}
	return l
}
