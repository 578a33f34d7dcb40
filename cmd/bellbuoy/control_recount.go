package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// recount finds what is counted for quotas and no longer there: what an index walk has not seen, and what the upstream then says
// is not there. The other way round, what the walk has learned is counted as it is stored.
type recount struct {
	seen   map[string]map[string]bool // digests of the repositories that are being read
	size   int
	doubts []doubt
}

// doubt is a manifest that is counted and that no tag led to.
type doubt struct{ repository, digest string }

const (
	maxSeen     = 200_000 // digests in memory; what is beyond is asked about
	uncountRate = 20      // questions in a second, as the walk itself asks
	uncountAt   = 200     // manifests of a commit
)

func (r *recount) saw(repository, digest string) {
	if r.size >= maxSeen || r.seen[repository][digest] {
		return
	}
	if r.seen == nil {
		r.seen = map[string]map[string]bool{}
	}
	if r.seen[repository] == nil {
		r.seen[repository] = map[string]bool{}
	}
	r.seen[repository][digest] = true
	r.size++
}

// counts reports whether what is in a repository is counted.
func (x *indexWalk) counts(repository string) bool {
	return quotaRule(x.wiring.Load().config.Projects)(projectOf(repository)).Limit > 0
}

// compare notes what is counted in a repository and was not seen, once all of its tags are read.
func (x *indexWalk) compare(ctx context.Context, repository string) error {
	if !x.counts(repository) {
		return nil
	}
	r := &x.recount
	seen := r.seen[repository]
	delete(r.seen, repository)
	r.size -= len(seen)
	return x.outbox.View(ctx, func(v detect.View) error {
		return quota.Counted(v, x.upstream, repository, func(digests []string) error {
			for _, d := range digests {
				if !seen[d] {
					r.doubts = append(r.doubts, doubt{repository, d})
				}
			}
			return nil
		})
	})
}

// uncount asks the upstream about what was not seen, and no longer counts what is not there: untagged manifests are there.
func (x *indexWalk) uncount(ctx context.Context, client *upstream.Client) error {
	limiter := rate.NewLimiter(uncountRate, 1)
	gone := map[string][]detect.ManifestChange{}
	for _, d := range x.recount.doubts {
		if err := limiter.Wait(ctx); err != nil {
			return err
		}
		_, err := client.Head(ctx, d.repository, d.digest, upstream.Own)
		switch {
		case err == nil:
		case errors.Is(err, upstream.ErrNotFound):
			gone[d.repository] = append(gone[d.repository], detect.ManifestChange{Upstream: x.upstream, Repository: d.repository, Digest: d.digest, At: time.Now(), Gone: true})
		case ctx.Err() != nil:
			return err
		default: // it stays counted
			_ = x.out.Encode(indexLine{Skip: d.repository + "@" + d.digest + ": " + err.Error()})
		}
	}
	x.recount.doubts = nil
	for repository, all := range gone {
		for part := range slices.Chunk(all, uncountAt) {
			err := x.outbox.Commit(ctx, x.upstream+"/"+repository, func(detect.View) (detect.Changes, error) {
				return detect.Changes{Manifests: part}, nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}
