package track

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// The archive says which chart an upload holds. If the archive could not be read, or stands in a
// part of a form that ChartMuseum need not accept, the upload has claims: archives of which the
// index.yaml of the upstream shows whether it holds them, and under which names. When the upstream
// has accepted such an upload, a second intent follows, which asks about the claims.

// upload is a chart that was uploaded, with the ID of its event.
type upload struct {
	detect.Chart
	id string
}

const (
	listedWithin  = 10 * time.Second // how long after an upload an index.yaml may lack it
	claimsGivenUp = 10 * time.Minute // how long an upstream that does not answer is asked
	maxAskIndex   = 64 << 20         // bytes of an index.yaml
)

// readUpload takes over the charts and the claims of an upload.
func (w *write) readUpload(up detect.Upload) {
	w.Chart = &detect.Chart{}
	switch c := up.Chart; {
	case c == nil:
	case c.Named():
		w.Chart = c
	default:
		w.Claims = append(w.Claims, *c)
	}
	w.Claims = append(w.Claims, up.Others...)
	first := w.Chart
	if len(w.Claims) > 0 {
		w.Asks = detect.NewID()
		if !first.Named() {
			first = &w.Claims[0]
		}
	}
	w.Digest, w.Reference = first.Digest, first.Name+"/"+first.Version
}

// asking returns the intent that follows an accepted upload and asks about its claims.
func (w write) asking(now time.Time) write {
	w.ID, w.Event, w.Asks = w.Asks, w.Asks, ""
	w.Took, w.Named, w.Chart = now, w.Chart.Named(), &detect.Chart{}
	return w
}

// askClaims asks which of an upload's claims the upstream holds.
func (t *recovery) askClaims(ctx context.Context, w *write) (verdict, settlement) {
	out := settlement{digest: w.Digest, asked: true, done: true}
	held, err := t.holding(ctx, w)
	if err == nil && w.Took.IsZero() {
		held, err = t.absentBefore(ctx, w, held)
	}
	for i, c := range held {
		id := w.Event
		if i > 0 {
			id = detect.NewID()
		}
		out.charts = append(out.charts, upload{c, id})
	}
	waited := time.Since(w.Took)
	missing := len(held) < len(w.Claims)
	switch {
	case w.Took.IsZero() && err != nil:
		return unsaid, out
	case w.Took.IsZero() && len(held) == 0:
		return notDone, out
	case w.Took.IsZero():
	case err != nil && waited < claimsGivenUp, err == nil && missing && waited < listedWithin:
		return unsaid, out
	case len(held) == 0 && !w.Named:
		c := w.Claims[0]
		out.charts = []upload{{detect.Chart{Digest: c.Digest, Size: c.Size}, w.Event}}
	}
	return done, out
}

// absentBefore returns the charts that did not stand there before, as far as bellbuoy knows.
func (t *recovery) absentBefore(ctx context.Context, w *write, charts []detect.Chart) (unknown []detect.Chart, err error) {
	err = t.ledger.View(ctx, func(v detect.View) error {
		for _, c := range charts {
			row, ok, err := tagindex.Read[tagindex.ChartRow](v, w.ChartKey(tagindex.ChartFile(&c)))
			if err != nil {
				return err
			}
			if !ok || row.Chart.Digest != c.Digest {
				unknown = append(unknown, c)
			}
		}
		return nil
	})
	return unknown, err
}

// errUnnamed is the reason why a chart without a name cannot be asked for.
var errUnnamed = errors.New("no name")

// holding returns the claims that the upstream holds, with their names.
func (t *recovery) holding(ctx context.Context, w *write) (held []detect.Chart, err error) {
	var unsure []detect.Chart
	for _, c := range w.Claims {
		found, err := detect.Found{}, errUnnamed
		if c.Named() {
			found, err = t.ask.Chart(ctx, w.Upstream, w.Repository, c.Name, c.Version)
		}
		switch {
		case err != nil:
			unsure = append(unsure, c)
		case !found.Absent && found.Digest == c.Digest:
			held = append(held, c)
		}
	}
	if len(unsure) == 0 {
		return held, nil
	}
	listed, err := t.listed(ctx, w, unsure)
	return append(held, listed...), err
}

// listed returns the archives that the index.yaml of the upstream lists.
func (t *recovery) listed(ctx context.Context, w *write, archives []detect.Chart) (found []detect.Chart, err error) {
	index, err := t.ask.ChartIndex(ctx, w.Upstream, w.Repository)
	if err != nil {
		return nil, err
	}
	defer index.Close()
	byDigest := map[string]detect.Chart{}
	for _, c := range archives {
		if c.Digest != "" {
			byDigest[c.Digest] = c
		}
	}
	err = detect.FindCharts(io.LimitReader(index, maxAskIndex), byDigest, func(c detect.Chart) {
		archive, ok := byDigest[c.Digest]
		if !ok {
			return
		}
		archive.Name, archive.Version = c.Name, c.Version
		found = append(found, archive)
		delete(byDigest, c.Digest)
	})
	return found, err
}

// lists reports whether the index.yaml of the upstream lists the chart of an upload. A repository
// that is no ChartMuseum has no other interface.
func (t *recovery) lists(ctx context.Context, w *write) bool {
	found, err := t.listed(ctx, w, []detect.Chart{*w.Chart})
	return err == nil && len(found) > 0
}
