package scan

import (
	"context"
	"encoding/binary"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// sweepRow is how far the tag index was searched for what a scanner has to scan again. It is due
// when the next page is. A replica that takes a page moves its time on first; one that dies with
// the page leaves it to another.
type sweepRow struct {
	After string `json:"after,omitempty"`
	Epoch int64  `json:"epoch"`
}

// What the search costs: a million tags take seven hours.
const (
	sweepPage  = 200             // tags
	sweepPause = 5 * time.Second // between two pages
	sweepTake  = time.Minute     // a page that takes longer is taken again
	sweepRest  = time.Hour       // between two searches, at most
)

func sweepKey(s *Scanner) detect.Key {
	return detect.Key{Kind: detect.RowKind(kindSweep + s.Name), ID: "tags"}
}

// sweep searches a page of the tag index for what is to be scanned again and is not known yet: what
// was pushed while no scanner matched it, or was never pushed through bellbuoy. The first scans are
// spread over the scanner's interval.
func (r *rescans) sweep(ctx context.Context, config *Config, s *Scanner) {
	mine, ok := r.takePage(ctx, s)
	if !ok {
		return
	}
	page, next, err := r.o.Tags.Page(ctx, mine.After, sweepPage)
	if err != nil {
		return
	}
	for len(page) > 0 {
		n := 1
		for n < len(page) && page[n].Upstream == page[0].Upstream && page[n].Repository == page[0].Repository {
			n++
		}
		if _, ok := config.Upstreams[page[0].Upstream]; ok && s.Matches(page[0].Repository) {
			if r.find(ctx, config, s, page[:n]) != nil {
				return
			}
		}
		page = page[n:]
	}
	pause := sweepPause
	if next == "" {
		pause = min(s.Every, sweepRest)
	}
	_ = r.moveSweep(ctx, s, func(row *sweepRow, _ time.Time) (time.Time, bool) {
		if row.Epoch != mine.Epoch {
			return time.Time{}, false
		}
		row.After = next
		return time.Now().Add(pause), true
	})
}

// takePage makes the next page this replica's, where one is due.
func (r *rescans) takePage(ctx context.Context, s *Scanner) (mine sweepRow, ok bool) {
	now, due := time.Now(), false
	err := r.o.Ledger.View(ctx, func(v detect.View) error {
		row, ok, err := v.Get(sweepKey(s))
		due = err == nil && (!ok || !row.Due.After(now))
		return err
	})
	if err != nil || !due {
		return mine, false
	}
	var taken *sweepRow
	err = r.moveSweep(ctx, s, func(row *sweepRow, due time.Time) (time.Time, bool) {
		if taken = nil; due.After(now) { // another replica was faster
			return time.Time{}, false
		}
		row.Epoch++
		taken = row
		return now.Add(sweepTake), true
	})
	if err != nil || taken == nil {
		return mine, false
	}
	return *taken, true
}

// moveSweep changes the row of the search where change says so, and sets when it is due.
func (r *rescans) moveSweep(ctx context.Context, s *Scanner, change func(row *sweepRow, due time.Time) (next time.Time, do bool)) error {
	return r.o.Ledger.Commit(ctx, kindSweep+s.Name, func(v detect.View) (c detect.Changes, err error) {
		var value sweepRow
		row, ok, err := v.Get(sweepKey(s))
		if there, sound := decode[sweepRow](row); ok && sound {
			value = *there
		}
		if err != nil {
			return c, err
		}
		next, do := change(&value, row.Due)
		if !do {
			return c, nil
		}
		moved, err := encode(sweepKey(s), value, next)
		c.Put = append(c.Put, moved)
		return c, err
	})
}

// find has those tags of one repository scanned again whose scans are not planned yet.
func (r *rescans) find(ctx context.Context, config *Config, s *Scanner, tags []Tag) error {
	var missing []*jobRow
	err := r.o.Ledger.View(ctx, func(v detect.View) error {
		for _, t := range tags {
			j := r.plan(config, s, t)
			there, err := read[again](v, j.againKey())
			if err != nil {
				return err
			}
			if there == nil || there.Job.addTags(j.Tags) {
				missing = append(missing, j)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	missing = slices.DeleteFunc(missing, func(j *jobRow) bool {
		_, _, bookkeeping := detect.FallbackTag(j.Tags[0])
		kind := r.o.Tags.Kind(ctx, j.Upstream, j.Repository, j.Digest)
		return bookkeeping || !scannable(&detect.Artifact{Kind: kind})
	})
	if len(missing) == 0 {
		return nil
	}
	return r.o.Ledger.Commit(ctx, missing[0].scope(), func(v detect.View) (c detect.Changes, err error) {
		rows := map[detect.Key]detect.Row{}
		for _, j := range missing {
			if err := planned(v, rows, s, j); err != nil {
				return c, err
			}
		}
		for _, row := range rows {
			c.Put = append(c.Put, row)
		}
		return c, nil
	})
}

func (r *rescans) plan(config *Config, s *Scanner, t Tag) *jobRow {
	j := &jobRow{
		Scanner: s.Name, Upstream: t.Upstream, Repository: t.Repository, External: config.Upstreams[t.Upstream].External,
		Digest: t.Digest, Tags: []string{t.Tag},
	}
	if config.Visibility != nil {
		j.Visibility = config.Visibility(t.Repository)
	}
	return j
}

// planned adds the row of a scan to come, or a tag to the one that there is.
func planned(v detect.View, rows map[detect.Key]detect.Row, s *Scanner, j *jobRow) error {
	k := j.againKey()
	row, ok := rows[k]
	if !ok {
		stored, there, err := v.Get(k)
		if err != nil {
			return err
		}
		row, ok = stored, there
	}
	next, due := &again{Job: *j}, j.first(s, time.Now())
	if known, sound := decode[again](row); ok && sound {
		next, due = known, row.Due
		next.Job.addTags(j.Tags)
	}
	row, err := encode(k, next, due)
	rows[k] = row
	return err
}

// first returns when an artifact is scanned for the first time: at a time within the interval that
// only its digest decides.
func (j *jobRow) first(s *Scanner, now time.Time) time.Time {
	h := hashOf(j.Upstream, j.Repository, j.Digest)
	return now.Add(time.Duration(binary.BigEndian.Uint64(h[:]) % uint64(s.Every)))
}
