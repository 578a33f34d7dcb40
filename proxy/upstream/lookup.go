package upstream

import (
	"context"
	"errors"
	"sync"
)

// Deleted is what a delete is about to remove.
type Deleted struct {
	Digest, MediaType string
	Size              int64  // of the manifest itself; 0 where unknown
	Body              []byte // only if it was asked for and could be read
	// Tags are the known tags that are deleted with the digest: those that were confirmed now,
	// and those that could not be checked in time. They are in the order of the argument.
	Tags []string
	// Unchecked are those of Tags that were not confirmed.
	Unchecked []string
	// Moved are known tags that now stand on another digest or do not exist.
	Moved []string
	// TagsComplete: reference is a digest, and every known tag was checked.
	TagsComplete bool
}

const parallelHeads = 8

// BeforeDelete looks up what the delete of reference would remove: its digest and, where reference
// is a digest, which of its known tags still stand on it. It sends the client's credentials. It
// sends bellbuoy's own only after the client's got a 403 or a 401 with insufficient_scope. The
// caller must use the result only if the client's delete then succeeds, so that no client learns
// what it may not see.
//
// It sends HEADs, and a GET only if needBody is set (the size is not known) or a HEAD returns no
// digest. All requests end with ctx, for which the caller sets a deadline. A tag without an answer
// by then is Unchecked, which is no error. If the first request has no answer, BeforeDelete returns
// the error.
func (c *Client) BeforeDelete(ctx context.Context, repository, reference string, knownTags []string, needBody bool, as As) (Deleted, error) {
	found, as, err := lookedUp(c, as, func(as As) (Manifest, error) {
		return c.headOrGet(ctx, repository, reference, as)
	})
	if err != nil {
		return Deleted{}, err
	}
	d := Deleted{Digest: found.Digest, MediaType: found.MediaType, Size: found.Size, Body: found.Body}
	var reading sync.WaitGroup
	if needBody && d.Body == nil {
		reading.Go(func() { d.readBody(ctx, c, repository, reference, as) })
	}
	if algorithm(reference) != "" {
		d.Digest = reference
		checks := c.checkTags(ctx, repository, knownTags, found.Digest, as)
		d.Tags, d.Unchecked, d.Moved = sortChecks(knownTags, checks)
		d.TagsComplete = len(d.Unchecked) == 0
	}
	reading.Wait()
	return d, nil
}

// readBody adds the manifest. If it cannot be read, the manifest is left out.
func (d *Deleted) readBody(ctx context.Context, c *Client, repository, reference string, as As) {
	read, err := c.Manifest(ctx, repository, reference, as)
	if err != nil {
		return
	}
	d.Body, d.Size = read.Body, read.Size
}

// BeforeChartDelete looks up the chart that a delete would remove, as BeforeDelete does.
func (c *Client) BeforeChartDelete(ctx context.Context, tenant, name, version string, as As) (Chart, error) {
	found, as, err := lookedUp(c, as, func(as As) (Chart, error) {
		return c.chartInfo(ctx, tenant, name, version, as)
	})
	if err != nil {
		return Chart{}, err
	}
	c.measure(ctx, tenant, &found, as)
	return found, nil
}

// lookedUp runs ask with the client's credentials. If the upstream accepts them but denies the
// look-up, it runs ask with bellbuoy's own. It returns the credentials that were used last.
func lookedUp[T any](c *Client, as As, ask func(As) (T, error)) (T, As, error) {
	found, err := ask(as)
	if err == nil || as.Own || !c.HasCredentials() || !mayAskOurselves(err) {
		return found, as, err
	}
	found, err = ask(Own)
	return found, Own, err
}

func mayAskOurselves(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && (status.Status == 403 || status.InsufficientScope)
}

type tagCheck int

const (
	tagUnchecked tagCheck = iota
	tagConfirmed
	tagMoved
)

// checkTags looks up the digest of each tag, a few at a time, until ctx ends.
func (c *Client) checkTags(ctx context.Context, repository string, tags []string, digest string, as As) []tagCheck {
	checks := make([]tagCheck, len(tags))
	next := make(chan int)
	var workers sync.WaitGroup
	for range min(parallelHeads, len(tags)) {
		workers.Go(func() {
			for i := range next {
				checks[i] = c.checkTag(ctx, repository, tags[i], digest, as)
			}
		})
	}
feed:
	for i := range tags {
		select {
		case next <- i:
		case <-ctx.Done():
			break feed
		}
	}
	close(next)
	workers.Wait()
	return checks
}

// checkTag accepts any 404 except a page of HTML, because the upstream has just answered for the
// digest.
func (c *Client) checkTag(ctx context.Context, repository, tag, digest string, as As) tagCheck {
	found, err := c.Head(ctx, repository, tag, as)
	switch {
	case errors.Is(err, ErrNotFound), doubtful(err):
		return tagMoved
	case err != nil || algorithm(found.Digest) != algorithm(digest):
		return tagUnchecked
	case found.Digest == digest:
		return tagConfirmed
	}
	return tagMoved
}

func sortChecks(tags []string, checks []tagCheck) (on, unchecked, moved []string) {
	for i, tag := range tags {
		switch checks[i] {
		case tagMoved:
			moved = append(moved, tag)
		case tagUnchecked:
			unchecked = append(unchecked, tag)
			on = append(on, tag)
		case tagConfirmed:
			on = append(on, tag)
		}
	}
	return on, unchecked, moved
}
