package proxy

import (
	"context"
	"errors"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

type found = detect.Found

// lookupTime bounds all look-ups for one write.
const lookupTime = 2 * time.Second

// lookup looks up what a write will remove or replace. Its caller owns op.
type lookup struct {
	x  *exchange
	op *detect.Operation
}

// begin starts the look-up and returns the channel of its result, or nil if none is needed. The
// Tracker uses the result only if the client's own request is then answered 2xx.
func (l lookup) begin() <-chan *found {
	ask, x := l.question(), l.x
	if ask == nil {
		return nil
	}
	answer := make(chan *found, 1)
	ctx, cancel := context.WithTimeout(x.wire.Context(), lookupTime)
	go func() {
		defer cancel()
		var f *found
		x.guarded("lookBefore", func() { f = ask(ctx) })
		answer <- f
	}()
	return answer
}

// question is a look-up of the current state. It runs in a goroutine of its own, so it keeps no
// pointer to the Operation.
type question func(context.Context) *found

// question returns the look-up that a write needs before it goes upstream, or nil.
func (l lookup) question() question {
	asker, as := l.x.route.Asker, upstream.As{Authorization: l.x.in.Header.Get("Authorization")}
	if asker == nil {
		return nil
	}
	r := l.op.Request
	switch r.Action {
	case detect.ManifestPut:
		return l.ofTag(asker, as)
	case detect.ManifestDelete:
		return l.ofManifest(asker, as)
	case detect.ChartPost:
		if c := l.op.Upload.Chart; c != nil && c.Named() {
			return l.ofChart(asker, as, c.Name, c.Version)
		}
	case detect.ChartDelete:
		return l.ofChart(asker, as, r.Chart, r.Version)
	}
	return nil
}

// ofTag looks up the digest of a tag to which a manifest is put.
func (l lookup) ofTag(asker Asker, as upstream.As) question {
	r := l.op.Request
	if detect.IsDigest(r.Reference) || l.x.g.h.lookups.Spent(l.op.Client.Address) || l.standingKnown() || !l.mayAsk(1) {
		return nil
	}
	return func(ctx context.Context) *found {
		m, err := asker.Head(ctx, r.Repository, r.Reference, as)
		return foundManifest(upstream.Deleted{Digest: m.Digest, MediaType: m.MediaType, Size: m.Size}, err)
	}
}

// ofManifest looks up the manifest that a delete removes, and its tags.
func (l lookup) ofManifest(asker Asker, as upstream.As) question {
	tracker, name, hint, r := l.x.g.Tracker, l.op.Upstream, l.op.Hint, l.op.Request
	tags, sized := l.known()
	if !l.mayAsk(1 + len(tags)) {
		return nil
	}
	return func(ctx context.Context) *found {
		f := foundManifest(asker.BeforeDelete(ctx, r.Repository, r.Reference, tags, !sized, as))
		if f != nil {
			f.TagsComplete = f.TagsComplete && tracker.Indexed(ctx, name, hint, r.Repository)
		}
		return f
	}
}

// ofChart looks up the chart that a write replaces or removes.
func (l lookup) ofChart(asker Asker, as upstream.As, chart, version string) question {
	if !l.mayAsk(1) {
		return nil
	}
	tenant := l.op.Repository
	return func(ctx context.Context) *found {
		return foundChart(asker.BeforeChartDelete(ctx, tenant, chart, version, as))
	}
}

// standingKnown reports whether the Tracker knows on which digest a tag stands.
func (l lookup) standingKnown() (known bool) {
	l.x.guarded("Standing", func() {
		_, _, known = l.x.g.Tracker.Standing(l.op.Upstream, l.op.Hint, l.op.Repository, l.op.Reference)
	})
	return known
}

// known returns the tags of the digest that a delete removes, and whether the Tracker has its size.
func (l lookup) known() (tags []string, sized bool) {
	x := l.x
	ctx, cancel := context.WithTimeout(x.wire.Context(), lookupTime)
	defer cancel()
	x.guarded("TagsOf", func() {
		t, o := x.g.Tracker, l.op
		digest := o.Reference
		if detect.IsDigest(digest) {
			tags = t.TagsOf(ctx, o.Upstream, o.Hint, o.Repository, digest)
		} else {
			digest, _, _ = t.Standing(o.Upstream, o.Hint, o.Repository, digest)
		}
		if digest != "" {
			_, sized = t.SizeOf(ctx, o.Upstream, o.Hint, o.Repository, digest)
		}
	})
	return tags, sized
}

// dearLookup is the cost of a look-up that a made-up login may have caused. Without it, a stranger
// could make bellbuoy send the upstream a look-up for each request.
const dearLookup = 10

// mayAsk reports whether a client may cause n look-ups now. All but the first are made only if the
// upstream has accepted the login. The first costs dearLookup if the client has not written with
// this login recently.
func (l lookup) mayAsk(n int) bool {
	h := l.x.g.h
	if !h.proven.Contains(l.x.name.login(l.op)) {
		n += dearLookup - 1
	}
	return h.lookups.AllowN(l.op.Client.Address, n)
}

func foundManifest(d upstream.Deleted, err error) *found {
	switch {
	case errors.Is(err, upstream.ErrNotFound):
		return &found{Absent: true}
	case err != nil:
		return nil
	}
	return &found{Digest: d.Digest, MediaType: d.MediaType, Size: d.Size, Manifest: d.Body, Tags: d.Tags, TagsComplete: d.TagsComplete}
}

func foundChart(c upstream.Chart, err error) *found {
	switch {
	case errors.Is(err, upstream.ErrNotFound):
		return &found{Absent: true}
	case err != nil:
		return nil
	}
	return &found{Digest: c.Digest, Size: c.Size}
}
