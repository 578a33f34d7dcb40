package scan

import (
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

const maxKnown = 50_000 // findings of a scan that the next one is compared with

// last is the row of what the last scan of a tag found.
type last struct {
	Digest string    `json:"d"`
	At     time.Time `json:"at"`
	Found  []byte    `json:"f,omitempty"` // sorted hashes of id and package
	Partly bool      `json:"p,omitempty"` // there were more
}

// compare marks the findings that are new since the last scans of the job's tags, by the same
// scanner and of the same platform. A finding is new if the last scan of one of the tags did not
// have it, or if there was none. It returns the rows with which the next scan is compared.
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

// lastKeys returns the keys of the scans with which this one is compared: the last of each tag, or
// that of the digest.
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

// missing adds to fresh the findings that l does not have.
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
