package track

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// What an upload holds is known from its archive. Where that could not be read, or stands in a part of a
// form that ChartMuseum need not take, the upload leaves claims: archives of which the upstream's own
// index tells whether it holds them, and under which names. When the upstream has taken such an upload,
// its intent is followed by one that asks.

// upload is a chart that was uploaded, with the ID of its event.
type upload struct {
	detect.Chart
	id string
}

const (
	nameWithin  = 10 * time.Second // how long an index may be older than an upload
	nameAnyhow  = 10 * time.Minute // how long an upstream that does not say is asked
	maxAskIndex = 64 << 20         // bytes of an index.yaml
)

// readUpload notes what an upload holds, and what it claims.
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
		w.Asks = newID()
		if !first.Named() {
			first = &w.Claims[0]
		}
	}
	w.Digest, w.Reference = first.Digest, first.Name+"/"+first.Version
}

// asking is the intent that follows an upload which the upstream took, and asks about its claims.
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
		held, err = t.unknown(ctx, w, held)
	}
	for i, c := range held {
		id := w.Event
		if i > 0 {
			id = newID()
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
	case err != nil && waited < nameAnyhow, err == nil && missing && waited < nameWithin:
		return unsaid, out
	case len(held) == 0 && !w.Named:
		c := w.Claims[0]
		out.charts = []upload{{detect.Chart{Digest: c.Digest, Size: c.Size}, w.Event}}
	}
	return done, out
}

// unknown are those of some charts that did not stand there before, as far as bellbuoy knows.
func (t *recovery) unknown(ctx context.Context, w *write, charts []detect.Chart) (unknown []detect.Chart, err error) {
	err = t.ledger.View(ctx, func(v detect.View) error {
		for _, c := range charts {
			row, ok, err := read[chartRow](v, w.chartKey(chartFile(&c)))
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

// errUnnamed: a chart that has no name cannot be asked for by it.
var errUnnamed = errors.New("no name")

// holding are the claims that the upstream holds, with their names.
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

// listed are those of some archives that the upstream's index.yaml lists.
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

// lists reports whether the upstream's index.yaml lists an upload's chart. Repositories that are no ChartMuseum have nothing else to ask.
func (t *recovery) lists(ctx context.Context, w *write) bool {
	found, err := t.listed(ctx, w, []detect.Chart{*w.Chart})
	return err == nil && len(found) > 0
}
