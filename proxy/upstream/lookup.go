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
	// Tags are the known tags that go with the digest: those confirmed just now, and those that could not be asked
	// about in time. In the order in which they were given.
	Tags []string
	// Unchecked are those of Tags that were not confirmed.
	Unchecked []string
	// Moved are known tags that stand on something else by now, or are gone.
	Moved []string
	// TagsComplete: reference is a digest, and every known tag was asked about and answered.
	TagsComplete bool
}

const parallelHeads = 8

// BeforeDelete looks at what the delete of reference would remove: what it stands on and, where reference is a
// digest, which of the tags known for it are still on it. It asks as the client does, and with bellbuoy's own
// credentials only after the client was answered 2xx, 403, or 401 with insufficient_scope: nobody learns through
// bellbuoy what he may not. The caller uses what was found only if the client's delete then succeeds.
//
// It sends HEADs, and one GET only if needBody is set (the size is not known) or no HEAD names a digest. All of it
// ends with ctx, for which the caller sets a deadline; tags not answered by then are Unchecked, and no error. As long as
// the first question is unanswered there is nothing to return but the error.
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

// readBody adds the manifest. A failure leaves it out: a delete must not wait for it.
func (d *Deleted) readBody(ctx context.Context, c *Client, repository, reference string, as As) {
	read, err := c.Manifest(ctx, repository, reference, as)
	if err != nil {
		return
	}
	d.Body, d.Size = read.Body, read.Size
}

// BeforeChartDelete looks at the chart that a delete would remove, as BeforeDelete does.
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

// lookedUp asks as the client and, where the client may not look but is somebody to the upstream, as bellbuoy itself.
// It returns whose credentials were good.
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

// checkTags asks what each tag stands on, a few at a time, until ctx ends.
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

// checkTag believes any 404 but a page of HTML: the upstream has just answered for the digest.
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
