package proxy

import (
	"context"
	"errors"
	"hash/maphash"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

type found = detect.Found

// lookBefore asks what a write will remove or replace. It returns where the answer will be, nil if nothing is asked.
// What was found counts only if the client's own request is then answered 2xx; the Tracker sees to that.
func (x *exchange) lookBefore() <-chan *found {
	ask := x.question()
	if ask == nil {
		return nil
	}
	answer := make(chan *found, 1)
	ctx, cancel := context.WithTimeout(x.ctx, lookupTime)
	go func() {
		defer cancel()
		var f *found
		x.guarded("lookBefore", func() { f = ask(ctx) })
		answer <- f
	}()
	return answer
}

// question is what to ask before a write goes upstream, nil for nothing.
func (x *exchange) question() func(context.Context) *found {
	asker, as := x.route.Asker, upstream.As{Authorization: x.in.Header.Get("Authorization")}
	if asker == nil {
		return nil
	}
	r := x.op.Request
	switch r.Action {
	case detect.ManifestPut:
		if detect.IsDigest(r.Reference) || x.g.h.lookups.Spent(x.op.Client.Address) || x.standingKnown() || !x.mayAsk(1) {
			return nil
		}
		return func(ctx context.Context) *found {
			m, err := asker.Head(ctx, r.Repository, r.Reference, as)
			return foundManifest(upstream.Deleted{Digest: m.Digest, MediaType: m.MediaType, Size: m.Size}, err)
		}
	case detect.ManifestDelete:
		tags, sized := x.known()
		if !x.mayAsk(1 + len(tags)) {
			return nil
		}
		return func(ctx context.Context) *found {
			f := foundManifest(asker.BeforeDelete(ctx, r.Repository, r.Reference, tags, !sized, as))
			if f != nil {
				f.TagsComplete = f.TagsComplete && x.g.Tracker.Indexed(ctx, x.op.Upstream, x.op.Hint, r.Repository)
			}
			return f
		}
	case detect.ChartPost:
		c := x.op.Upload.Chart
		if c == nil || !c.Named() || !x.mayAsk(1) {
			return nil
		}
		name, version := c.Name, c.Version
		return func(ctx context.Context) *found {
			return foundChart(asker.BeforeChartDelete(ctx, r.Repository, name, version, as))
		}
	case detect.ChartDelete:
		if !x.mayAsk(1) {
			return nil
		}
		return func(ctx context.Context) *found {
			return foundChart(asker.BeforeChartDelete(ctx, r.Repository, r.Chart, r.Version, as))
		}
	}
	return nil
}

func (x *exchange) standingKnown() (known bool) {
	x.guarded("Standing", func() {
		_, _, known = x.g.Tracker.Standing(x.op.Upstream, x.op.Hint, x.op.Repository, x.op.Reference)
	})
	return known
}

// known is what the Tracker knows of what a delete removes: its tags, if it is named by digest, and whether its size is known.
func (x *exchange) known() (tags []string, sized bool) {
	ctx, cancel := context.WithTimeout(x.ctx, lookupTime)
	defer cancel()
	x.guarded("TagsOf", func() {
		t, o := x.g.Tracker, &x.op
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

// dearLookup is what a look-up costs that a made-up login may have caused: without that, each request of a stranger would
// make two at the upstream.
const dearLookup = 10

// mayAsk limits the look-ups that one client causes: n of them, of which all but the first are made only where the upstream has
// let the login in. The first of a login with which the client has written nothing lately is dear.
func (x *exchange) mayAsk(n int) bool {
	if !x.g.h.proven.Contains(x.login()) {
		n += dearLookup - 1
	}
	return x.g.h.lookups.AllowN(x.op.Client.Address, n)
}

// login stands for a client's address and credentials.
func (x *exchange) login() uint64 {
	var h maphash.Hash
	h.SetSeed(loginSeed)
	_, _ = h.WriteString(x.op.Client.Address + " " + x.in.Header.Get("Authorization"))
	return h.Sum64()
}

var loginSeed = maphash.MakeSeed()

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
