package detect

import (
	"context"
	"net/http"
	"sync"
	"time"
)

const (
	// askers bounds the questions that are open at once.
	askers = 8
	// firm is for how long a write must not show at the upstream, before it counts as not done: a request that lost
	// its connection may still be at work.
	firm = 3 * time.Second
	// askTimeout bounds one question.
	askTimeout = 30 * time.Second
	// adoptEvery is how often rows of other processes' intents are looked for.
	adoptEvery = 3 * time.Second
)

// askOpen asks the upstreams about open intents, at once and until they say, and takes over intents that nobody holds:
// those of an earlier process at start, and other replicas' whose lease has ended.
func (t *Tracker) askOpen(ctx context.Context) {
	t.open.init()
	var running sync.WaitGroup
	defer running.Wait()
	slots := make(chan struct{}, askers)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var adopted time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-t.open.wake:
		}
		now := time.Now()
		if now.Sub(adopted) >= adoptEvery {
			adopted = now
			t.adopt(ctx)
		}
		take, next := t.open.due(now, askers)
		for _, a := range take {
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			running.Go(func() {
				defer func() { <-slots; t.open.awake() }()
				t.askAbout(ctx, a)
			})
		}
		wait := adopted.Add(adoptEvery).Sub(now)
		if !next.IsZero() && next.Sub(now) < wait {
			wait = max(next.Sub(now), time.Millisecond)
		}
		timer.Reset(wait)
	}
}

// adopt opens the intents of this replica that the proxy does not hold.
func (t *Tracker) adopt(ctx context.Context) {
	rows, err := t.ledger.Own(ctx, rowIntent, 4*batch)
	if err != nil {
		return // the next look finds them
	}
	for _, row := range rows {
		in, err := intentOf(row)
		if err == nil && !t.flight.has(in.ID) {
			t.open.add(in, time.Now())
		}
	}
}

// askAbout asks once.
func (t *Tracker) askAbout(ctx context.Context, a *asked) {
	if ctx.Err() != nil || t.gone(ctx, a.in) {
		t.open.remove(a.in.ID)
		return
	}
	asking, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	verdict, out := t.question(asking, &a.in.w)
	if verdict == notDone && time.Since(a.since) < firm {
		verdict = unsaid
	}
	if verdict == unsaid || ctx.Err() != nil {
		t.open.again(a, time.Now())
		return
	}
	t.close(ctx, a, out)
}

// gone tells whether an intent's row has been settled elsewhere meanwhile.
func (t *Tracker) gone(ctx context.Context, in *Intent) bool {
	if !in.durable {
		return false
	}
	gone := false
	err := t.ledger.View(ctx, func(v View) error {
		_, ok, err := v.Get(in.key)
		gone = err == nil && !ok
		return err
	})
	return err == nil && gone
}

// close settles an intent by what the upstream showed.
func (t *Tracker) close(ctx context.Context, a *asked, out outcome) {
	if !t.open.remove(a.in.ID) {
		return // settled by what somebody else was shown
	}
	out.inferred = true
	if out.done {
		reading, cancel := context.WithTimeout(ctx, askTimeout)
		t.readBack(reading, &a.in.w, out.digest)
		cancel()
	}
	_ = t.settle(ctx, a.in, out) // where the store fails the row stays, and is found again
}

// verdict is what the upstream says of a write.
type verdict uint8

const (
	unsaid  verdict = iota // it is down, refuses to say, or is still at it
	done                   // it did it
	notDone                // it did not, or what stands there stood there before
)

// question asks what became of a write.
func (t *Tracker) question(ctx context.Context, w *write) (verdict, outcome) {
	out := outcome{digest: w.Digest}
	switch w.Do {
	case doPut:
		return t.askPut(ctx, w)
	case doDelete:
		return t.askUntag(ctx, w)
	}
	if w.Chart.Name == "" {
		return notDone, out // bellbuoy could not read it, and no upstream takes such a chart
	}
	found, err := t.ask.Chart(ctx, w.Upstream, w.Repository, w.Chart.Name, w.Chart.Version)
	if w.Do == doRemove {
		return w.askedDelete(found, err, &out), out
	}
	switch {
	case err != nil:
		return unsaid, out
	case found.Absent, found.Digest != "" && w.Digest != "" && found.Digest != w.Digest:
		return notDone, out
	case w.Before.Known && !w.Before.Absent && (w.Before.Digest == "" || w.Before.Digest == w.Digest):
		return notDone, out // stood there before
	}
	out.done = true
	return done, out
}

// askUntag asks for what was to be deleted. Where a tag was written again meanwhile, that it is gone says nothing.
func (t *Tracker) askUntag(ctx context.Context, w *write) (verdict, outcome) {
	out := outcome{digest: w.Digest}
	found, err := t.ask.Manifest(ctx, w.Upstream, w.Hint, w.Repository, w.Reference)
	said := w.askedDelete(found, err, &out)
	if said != done || IsDigest(w.Reference) {
		return said, out
	}
	row, err := t.tagRow(ctx, w)
	switch {
	case err != nil:
		return unsaid, outcome{}
	case row.Wrote.After(w.At):
		return notDone, outcome{}
	}
	return done, out
}

// tagRow is what the ledger says of the tag that a write names.
func (t *Tracker) tagRow(ctx context.Context, w *write) (row tagRow, err error) {
	err = t.ledger.View(ctx, func(v View) (err error) {
		row, _, err = read[tagRow](v, w.tagKey(w.Reference))
		return err
	})
	return row, err
}

// askedDelete: was there before and is gone.
func (w *write) askedDelete(found Found, err error, out *outcome) verdict {
	switch {
	case err != nil:
		return unsaid
	case !found.Absent, w.Before.Absent:
		return notDone
	}
	out.done = true
	return done
}

// askPut: stands there now and did not before.
func (t *Tracker) askPut(ctx context.Context, w *write) (verdict, outcome) {
	out := outcome{digest: w.Digest}
	if IsDigest(w.Reference) {
		return t.askPutDigest(ctx, w)
	}
	found, err := t.ask.Manifest(ctx, w.Upstream, w.Hint, w.Repository, w.Reference)
	switch {
	case err != nil:
		return unsaid, out
	case w.Digest == "":
		return w.askedUnreadable(found)
	case !found.Absent && found.Digest == w.Digest:
		if w.Before.Known && w.Before.Digest == w.Digest {
			return notDone, out // stood there before
		}
		out.done, out.tags = true, w.Tags
		return done, out
	case found.Absent || w.Before.Known && found.Digest == w.Before.Digest:
		return t.overwritten(ctx, w, found)
	}
	return t.present(ctx, w)
}

// askedUnreadable: the bytes put could not be decoded, so that only the tag's move tells.
func (w *write) askedUnreadable(found Found) (verdict, outcome) {
	if found.Absent || w.Before.Known && w.Before.Digest == found.Digest {
		return notDone, outcome{}
	}
	return done, outcome{done: true, digest: found.Digest, tags: w.Tags}
}

// overwritten: the tag stands where it stood before, or nowhere. That is a later write's doing only where bellbuoy has seen one.
func (t *Tracker) overwritten(ctx context.Context, w *write, found Found) (verdict, outcome) {
	row, err := t.tagRow(ctx, w)
	switch {
	case err != nil:
		return unsaid, outcome{}
	case row.At.After(w.At) && (found.Absent && row.Digest == "" || !found.Absent && row.Digest == found.Digest):
		return t.present(ctx, w)
	}
	return notDone, outcome{}
}

// present: the tag stands elsewhere because of a later write, so that the digest's presence decides.
func (t *Tracker) present(ctx context.Context, w *write) (verdict, outcome) {
	found, err := t.ask.Manifest(ctx, w.Upstream, w.Hint, w.Repository, w.Digest)
	out := outcome{digest: w.Digest}
	switch {
	case err != nil:
		return unsaid, out
	case found.Absent, w.Before.Present:
		return notDone, out
	}
	out.done, out.tags, out.overtaken = true, w.Tags, true
	return done, out
}

// askPutDigest asks for the digest, and for the tags that were put with it.
func (t *Tracker) askPutDigest(ctx context.Context, w *write) (verdict, outcome) {
	out := outcome{digest: w.Digest}
	found, err := t.ask.Manifest(ctx, w.Upstream, w.Hint, w.Repository, w.Digest)
	switch {
	case err != nil:
		return unsaid, out
	case found.Absent:
		return notDone, out
	}
	for _, tag := range w.Tags {
		found, err := t.ask.Manifest(ctx, w.Upstream, w.Hint, w.Repository, tag)
		if err != nil {
			return unsaid, out
		}
		if found.Digest == w.Digest {
			out.tags = append(out.tags, tag)
		}
	}
	if w.Before.Present && (len(out.tags) == 0 || w.Before.Known && w.Before.Digest == w.Digest) {
		return notDone, out // stood there before
	}
	out.done = true
	return done, out
}

// evidence: any client's read of a tag that shows what an open intent has put is what the upstream would say. That a read finds nothing shows
// nothing: registries answer 404 to who accepts other types.
func (t *Tracker) evidence(op *Operation) {
	if t.open.len() == 0 || op.Status != http.StatusOK || op.ContentDigest == "" || op.At.IsZero() || IsDigest(op.Reference) {
		return
	}
	for _, a := range t.open.about(placeOf(op), op.Reference, op.At) {
		w := &a.in.w
		if w.Do == doPut && op.ContentDigest == w.Digest && (!w.Before.Known || w.Before.Digest != w.Digest) {
			out := outcome{digest: w.Digest, done: true, tags: w.Tags}
			t.later(func(ctx context.Context) { t.close(ctx, a, out) })
		}
	}
}
