package scan

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// again is an image or an index that is scanned again for as long as a tag stands on it, because
// new vulnerabilities become known without a push. Its row is due when the next scan is.
type again struct {
	Job jobRow `json:"job"`
}

const (
	rescansAtOnce = 10  // of one scanner in a tick
	mostWaiting   = 100 // due jobs of a scanner, beyond which no rescan adds another
)

func (j *jobRow) againKey() detect.Key {
	return detect.Key{Kind: detect.RowKind(kindAgain + j.Scanner), ID: id(j.Upstream, j.Repository, j.Digest)}
}

// remember adds the row by which the artifact of the job is scanned again. The images of an index
// have none: they are scanned again with their index.
func (w *worker) remember(ctx context.Context) error {
	if w.scanner.Every <= 0 || w.job.Index != "" || len(w.job.Tags) == 0 {
		return nil
	}
	was, due := *w.job, time.Now().Add(w.scanner.Every)
	return w.o.Ledger.Commit(ctx, was.scope(), func(v detect.View) (c detect.Changes, err error) {
		next := again{Job: was}
		if there, err := read[again](v, was.againKey()); err != nil {
			return c, err
		} else if there != nil {
			next.Job.addTags(there.Job.Tags)
		}
		row, err := encode(was.againKey(), next, due)
		c.Put = append(c.Put, row)
		return c, err
	})
}

// rescans makes jobs of what is to be scanned again. All replicas do: a job is made in the commit
// that moves the time of the next one.
type rescans struct {
	o      *Options
	config *atomic.Pointer[Config]
}

// work makes jobs of what is due, and looks further through the tag index.
func (r *rescans) work(ctx context.Context, s *Scanner) {
	config := r.config.Load()
	rows, err := r.o.Ledger.Due(ctx, detect.RowKind(kindAgain+s.Name), time.Now(), rescansAtOnce)
	if err != nil || len(rows) > 0 && r.busy(ctx, s) {
		return
	}
	for _, row := range rows {
		if ctx.Err() != nil {
			return
		}
		a, ok := decode[again](row)
		if _, configured := config.Upstreams[a.Job.Upstream]; !ok || !configured || s.Every <= 0 || !s.Matches(a.Job.Repository) {
			r.forget(ctx, a, row.Key)
			continue
		}
		r.rescan(ctx, s, a)
	}
	if s.Every > 0 && r.o.Tags != nil {
		r.sweep(ctx, config, s)
	}
}

// busy reports whether so many jobs of a scanner wait that no other is to be made without a push.
func (r *rescans) busy(ctx context.Context, s *Scanner) bool {
	waiting, err := r.o.Ledger.Due(ctx, detect.RowKind(kindJob+s.Name), time.Now(), mostWaiting)
	return err != nil || len(waiting) >= mostWaiting
}

func (r *rescans) forget(ctx context.Context, a *again, k detect.Key) {
	_ = r.o.Ledger.Commit(ctx, a.Job.scope(), func(detect.View) (detect.Changes, error) {
		return detect.Changes{Delete: []detect.Key{k}}, nil
	})
}

// rescan makes a job of what still has a tag, as the registry says.
func (r *rescans) rescan(ctx context.Context, s *Scanner, a *again) {
	tags, unsure := r.standing(ctx, a)
	if len(tags) == 0 && !unsure {
		r.forget(ctx, a, a.Job.againKey())
		return
	}
	now := time.Now()
	next := a.Job.afresh(now)
	next.Tags = tags
	_ = r.o.Ledger.Commit(ctx, next.scope(), func(v detect.View) (c detect.Changes, err error) {
		row, ok, err := v.Get(next.againKey())
		there, sound := decode[again](row)
		if err != nil || !ok || !sound || row.Due.After(now) { // another replica was faster
			return c, err
		}
		if len(tags) == 0 { // the registry does not say: later
			row, err := encode(next.againKey(), there, now.Add(min(s.Every, time.Hour)))
			c.Put = append(c.Put, row)
			return c, err
		}
		rows, _, err := add(v, next)
		if err != nil {
			return c, err
		}
		there.Job.Tags = slices.DeleteFunc(there.Job.Tags, func(t string) bool { return slices.Contains(a.Job.Tags, t) })
		there.Job.addTags(tags)
		row, err = encode(next.againKey(), there, now.Add(s.Every))
		c.Put = append(rows, row)
		return c, err
	})
}

// standing returns which tags still stand on the digest. unsure: the registry does not say of all.
func (r *rescans) standing(ctx context.Context, a *again) (tags []string, unsure bool) {
	for _, tag := range a.Job.Tags {
		found, err := r.o.Registry.Manifest(ctx, a.Job.Upstream, "", a.Job.Repository, tag)
		switch {
		case err != nil:
			unsure = true
		case !found.Absent && found.Digest == a.Job.Digest:
			tags = append(tags, tag)
		}
	}
	return tags, unsure
}

// afresh returns the job as it is when it is made, without the progress of an earlier one.
func (j *jobRow) afresh(now time.Time) *jobRow {
	return &jobRow{
		Scanner: j.Scanner, Run: uuid.NewString(), Report: uuid.NewString(), Upstream: j.Upstream, Repository: j.Repository,
		External: j.External, Visibility: j.Visibility, FirstSeen: j.FirstSeen,
		Digest: j.Digest, Artifact: j.Artifact, Own: j.Own, Created: now,
	}
}
