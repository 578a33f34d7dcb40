package track

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

const (
	// firm is how long a write must be absent at the upstream until it counts as not done: a
	// request that lost its connection may still be processed.
	firm = 3 * time.Second
	// askTimeout bounds one question.
	askTimeout = 30 * time.Second
	// adoptEvery is how often intents of other processes are looked for, adoptPage how many are
	// read at once …
	adoptEvery = 3 * time.Second
	adoptPage  = 1024
	// … and adoptFew how many are read where memory has no room: they replace others
	adoptFew = 32
	// askRest is how long the end of a question waits for the ends of others.
	askRest = 5 * time.Millisecond
)

// recovery finds out what became of open intents.
type recovery struct {
	*services
	tags   *tagindex.Index
	writes *writes
}

// askOpenIntents asks the upstreams about open intents, at once and until they answer. It takes
// over intents that no process holds: those of an earlier process at the start, and those of other
// replicas whose lease has ended.
func (t *recovery) askOpenIntents(ctx context.Context) {
	t.writes.open.init()
	var running sync.WaitGroup
	defer running.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	adopted := adoption{first: true}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-t.writes.open.wake:
		}
		now := time.Now()
		if now.Sub(adopted.at) >= adoptEvery {
			adopted.at = now
			t.adopt(ctx, &adopted)
		}
		wait := adopted.at.Add(adoptEvery).Sub(now)
		if next := t.askDue(ctx, &running, now); !next.IsZero() {
			wait = min(wait, next.Sub(now))
		}
		timer.Reset(max(wait, time.Millisecond))
	}
}

// askDue begins the questions that are due. next is when the next one will be.
func (t *recovery) askDue(ctx context.Context, running *sync.WaitGroup, now time.Time) (next time.Time) {
	take, next := t.writes.open.due(now)
	for _, a := range take {
		running.Go(func() {
			t.askAbout(ctx, a)
			time.AfterFunc(askRest, t.writes.open.signal)
		})
	}
	return next
}

// adoption is how far the rows of intents have been read.
type adoption struct {
	at    time.Time
	after string // the last row of the last page; "": the next page is the first
	first bool   // the first round is not over
}

// adopt opens the intents of this replica that the proxy does not hold: all of them at first, then
// one page each time.
func (t *recovery) adopt(ctx context.Context, last *adoption) {
	for {
		room := min(max(maxOpen-t.writes.open.len(), adoptFew), adoptPage)
		rows, err := t.ledger.Own(ctx, rowIntent, last.after, room)
		if err != nil {
			return // the next run finds them
		}
		for _, row := range rows {
			t.adoptRow(row)
		}
		if len(rows) < room {
			last.after, last.first = "", false
			return
		}
		last.after = rows[len(rows)-1].ID
		if !last.first || room < adoptPage {
			return
		}
	}
}

func (t *recovery) adoptRow(row detect.Row) {
	id := intentIDOf(row.Key)
	if t.writes.inFlight.has(id) || t.writes.open.has(id) {
		return
	}
	in, err := intentOf(row)
	if err != nil {
		// a row of another version: it ends when it is given up
		in = &Intent{ID: id, key: row.Key, durable: true}
	}
	t.writes.open.add(in, time.Now())
}

// askAbout asks once about an open intent.
func (t *recovery) askAbout(ctx context.Context, a *openIntent) {
	in, err := t.intent(ctx, a)
	if ctx.Err() != nil || in == nil && err == nil {
		t.writes.open.remove(a.id)
		return
	}
	said, out := unsaid, settlement{}
	if err == nil {
		asking, cancel := context.WithTimeout(ctx, askTimeout)
		defer cancel()
		said, out = t.question(asking, &in.w)
	}
	now := time.Now()
	switch {
	case said == notDone && now.Sub(a.since) < firm, ctx.Err() != nil:
		t.writes.open.again(a, now)
	case said != unsaid:
		t.settleAsked(ctx, a, in, out)
	case a.expired(now):
		t.giveUp(ctx, a)
	default:
		t.writes.open.again(a, now)
	}
}

// intent returns the intent that is asked about, or nil if its row was settled elsewhere meanwhile.
func (t *recovery) intent(ctx context.Context, a *openIntent) (in *Intent, err error) {
	if a.in != nil {
		return a.in, nil
	}
	err = t.ledger.View(ctx, func(v detect.View) error {
		in = nil
		row, ok, err := v.Get(a.key)
		if err != nil || !ok {
			return err
		}
		in, err = intentOf(row)
		return err
	})
	return in, err
}

// giveUp ends an intent whose outcome no upstream has shown for too long.
func (t *recovery) giveUp(ctx context.Context, a *openIntent) {
	if a.in == nil {
		err := t.ledger.Commit(ctx, tagindex.ScopeOf(a.key), func(detect.View) (detect.Changes, error) { return detect.Changes{Delete: []detect.Key{a.key}}, nil })
		if err != nil {
			t.writes.open.again(a, time.Now())
			return
		}
	}
	if t.writes.open.remove(a.id) {
		t.writes.noteGivenUp(a.key)
	}
}

// settleAsked settles an intent by what the upstream has shown.
func (t *recovery) settleAsked(ctx context.Context, a *openIntent, in *Intent, out settlement) {
	if !t.writes.open.remove(a.id) {
		return // another read has settled it
	}
	out.inferred = in.w.Took.IsZero()
	if out.done {
		reading, cancel := context.WithTimeout(ctx, askTimeout)
		t.writes.readBack(reading, &in.w, out.digest)
		cancel()
	}
	_ = t.writes.settle(ctx, in, out) // where the store fails the row stays, and is found again
}

// verdict is what the upstream shows of a write.
type verdict uint8

const (
	unsaid verdict = iota // it is down, refuses to say, or may still be doing it
	done
	notDone // not done, or what stands there stood there before
)

// question asks the upstream what became of a write.
func (t *recovery) question(ctx context.Context, w *write) (verdict, settlement) {
	out := settlement{digest: w.Digest}
	switch w.Do {
	case doPut:
		return t.askPut(ctx, w)
	case doDelete:
		return t.askDelete(ctx, w)
	}
	if w.Do == doUpload && !w.Chart.Named() {
		return t.askClaims(ctx, w)
	}
	found, err := t.ask.Chart(ctx, w.Upstream, w.Repository, w.Chart.Name, w.Chart.Version)
	if w.Do == doRemove {
		return w.decideDelete(found, err, &out), out
	}
	if err != nil && t.lists(ctx, w) {
		found, err = detect.Found{Digest: w.Digest}, nil
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

// askDelete asks whether what was to be deleted is still there. If the tag was written again
// meanwhile, its absence shows nothing.
func (t *recovery) askDelete(ctx context.Context, w *write) (verdict, settlement) {
	out := settlement{digest: w.Digest}
	found, err := t.ask.Manifest(ctx, w.Upstream, w.Hint, w.Repository, w.Reference)
	said := w.decideDelete(found, err, &out)
	if said != done || detect.IsDigest(w.Reference) {
		return said, out
	}
	row, err := t.tagRow(ctx, w)
	switch {
	case err != nil:
		return unsaid, settlement{}
	case row.Wrote.After(w.At):
		return notDone, settlement{}
	}
	return done, out
}

// tagindex.TagRow returns the row of the tag that a write names.
func (t *recovery) tagRow(ctx context.Context, w *write) (row tagindex.TagRow, err error) {
	err = t.ledger.View(ctx, func(v detect.View) (err error) {
		row, _, err = tagindex.Read[tagindex.TagRow](v, w.TagKey(w.Reference))
		return err
	})
	return row, err
}

// decideDelete decides a delete: it was done if what stood there before is gone.
func (w *write) decideDelete(found detect.Found, err error, out *settlement) verdict {
	switch {
	case err != nil:
		return unsaid
	case !found.Absent, w.Before.Absent:
		return notDone
	}
	out.done = true
	return done
}

// askPut asks about a put: it was done if its manifest stands there now and did not before.
func (t *recovery) askPut(ctx context.Context, w *write) (verdict, settlement) {
	out := settlement{digest: w.Digest}
	if detect.IsDigest(w.Reference) {
		return t.askPutDigest(ctx, w)
	}
	found, err := t.ask.Manifest(ctx, w.Upstream, w.Hint, w.Repository, w.Reference)
	switch {
	case err != nil:
		return unsaid, out
	case w.Digest == "":
		return w.decideUnreadable(found)
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

// decideUnreadable decides a put whose bytes could not be decoded: only the move of the tag shows
// whether it was done.
func (w *write) decideUnreadable(found detect.Found) (verdict, settlement) {
	if found.Absent || w.Before.Known && w.Before.Digest == found.Digest {
		return notDone, settlement{}
	}
	return done, settlement{done: true, digest: found.Digest, tags: w.Tags}
}

// overwritten decides a put whose tag stands where it stood before, or nowhere. A later write may
// have moved it there, but only if bellbuoy has seen one.
func (t *recovery) overwritten(ctx context.Context, w *write, found detect.Found) (verdict, settlement) {
	row, err := t.tagRow(ctx, w)
	switch {
	case err != nil:
		return unsaid, settlement{}
	case row.At.After(w.At) && (found.Absent && row.Digest == "" || !found.Absent && row.Digest == found.Digest):
		return t.present(ctx, w)
	}
	return notDone, settlement{}
}

// present decides a put whose tag a later write has moved: it was done if its digest is there and
// was not before.
func (t *recovery) present(ctx context.Context, w *write) (verdict, settlement) {
	found, err := t.ask.Manifest(ctx, w.Upstream, w.Hint, w.Repository, w.Digest)
	out := settlement{digest: w.Digest}
	switch {
	case err != nil:
		return unsaid, out
	case found.Absent, w.Before.Present:
		return notDone, out
	}
	out.done, out.tags, out.overtaken = true, w.Tags, true
	return done, out
}

// askPutDigest asks for the digest of a put, and for the tags that were put with it.
func (t *recovery) askPutDigest(ctx context.Context, w *write) (verdict, settlement) {
	out := settlement{digest: w.Digest}
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

// settleShown settles the open intents that the read of a tag proves done. A read that finds
// nothing proves nothing: registries answer 404 to clients that accept other types.
func (t *recovery) settleShown(op *detect.Operation) {
	if t.writes.open.len() == 0 || op.Status != http.StatusOK || op.ContentDigest == "" || op.At.IsZero() || detect.IsDigest(op.Reference) {
		return
	}
	for _, a := range t.writes.open.shownBy(tagindex.PlaceOf(op), op.Reference, op.ContentDigest, op.At) {
		t.tags.Later(func(ctx context.Context) {
			if in, err := t.intent(ctx, a); err == nil && in != nil {
				t.settleAsked(ctx, a, in, settlement{digest: in.w.Digest, done: true, tags: in.w.Tags})
			}
		})
	}
}
