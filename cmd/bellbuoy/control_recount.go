package main

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/time/rate"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/quota"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

// recount finds manifests that are counted for quotas and no longer exist: the index walk did not
// see them, and the upstream answers that it does not have them. The manifests that the walk finds
// are counted when they are stored.
type recount struct {
	seen   map[string]map[string]bool // digests of the repositories that are being read
	size   int
	unseen []unseenManifest
}

// unseenManifest is a manifest that is counted and that the walk did not see.
type unseenManifest struct{ repository, digest string }

const (
	maxSeen      = 200_000 // digests in memory; the upstream is asked about all others
	uncountRate  = 20      // requests per second, as in the walk itself
	uncountBatch = 200     // manifests of one commit
)

func (r *recount) noteSeen(repository, digest string) {
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

// counts reports whether the repository's project has a quota.
func (x *indexWalk) counts(repository string) bool {
	return quotaRule(x.wiring.Load().config.Projects)(detect.Project(repository)).Limit > 0
}

// noteUnseen notes the counted manifests of a repository that the walk did not see. The walk has
// read all tags of the repository.
func (x *indexWalk) noteUnseen(ctx context.Context, repository string) error {
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
					r.unseen = append(r.unseen, unseenManifest{repository, d})
				}
			}
			return nil
		})
	})
}

// uncount asks the upstream about the unseen manifests, because a manifest without a tag may exist.
// It ends the counting of those that are missing.
func (x *indexWalk) uncount(ctx context.Context, client *upstream.Client) error {
	limiter := rate.NewLimiter(uncountRate, 1)
	gone := map[string][]detect.ManifestChange{}
	for _, d := range x.recount.unseen {
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
		default: // it remains counted
			_ = x.line(api.V1IndexLine{Skip: d.repository + "@" + d.digest + ": " + err.Error()})
		}
	}
	x.recount.unseen = nil
	for repository, all := range gone {
		for part := range slices.Chunk(all, uncountBatch) {
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
