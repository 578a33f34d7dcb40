package scan

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// run does the next steps until the job has ended. Any error but errTaken puts the job off.
func (w *worker) run(ctx context.Context) error {
	if err := w.know(ctx); err != nil {
		return err
	}
	switch a := w.job.Artifact; {
	case a.Kind == detect.Index:
		return w.expand(ctx)
	case a.Kind != detect.Image:
		return w.end(ctx, nil)
	}
	if err := w.remember(ctx); err != nil {
		return err
	}
	if len(w.job.Scans) > 0 { // an earlier holder submitted it
		w.own.begin(w.job, w.scanner.Operator)
	}
	for {
		report, err := w.step(ctx)
		var refusal *Refusal
		switch {
		case errors.As(err, &refusal):
			return w.finish(ctx, nil, refusal.Reason)
		case err != nil && w.late(time.Now()):
			return w.finish(ctx, nil, w.lateness(err))
		case err != nil:
			return err
		case report != nil:
			return w.finish(ctx, report, "")
		}
	}
}

// know reads the manifest of the job, if nobody has yet.
func (w *worker) know(ctx context.Context) error {
	if a := w.job.Artifact; a != nil && a.Kind != "" {
		return nil
	}
	found, err := w.read(ctx, w.job.Upstream, w.job.Repository, w.job.Digest)
	if err != nil {
		return fmt.Errorf("reading the manifest: %w", err)
	}
	w.job.Artifact, w.job.Own = artifactOf(found), int64(len(found.Manifest))
	return nil
}

// read returns what stands at a reference, with the bytes of the manifest.
func (r *Runner) read(ctx context.Context, upstream, repository, reference string) (detect.Found, error) {
	found, err := r.o.Registry.Manifest(ctx, upstream, "", repository, reference)
	if err != nil || found.Absent || found.Digest == "" || found.Manifest != nil {
		return found, err
	}
	return r.o.Registry.Read(ctx, upstream, "", repository, found.Digest)
}

// artifactOf returns the artifact in an answer of a registry. One that is gone or cannot be read is
// no image.
func artifactOf(found detect.Found) *detect.Artifact {
	if found.Absent || found.Manifest == nil {
		return &detect.Artifact{Kind: detect.OtherKind}
	}
	m, err := detect.ReadManifest(found.Manifest, found.MediaType)
	if err != nil {
		return &detect.Artifact{Kind: detect.OtherKind}
	}
	m.Artifact.Annotations = nil
	return &m.Artifact
}

// expand replaces the job of an index by those of its images.
func (w *worker) expand(ctx context.Context) error {
	if err := w.remember(ctx); err != nil {
		return err
	}
	var children []*jobRow
	if w.job.Nested < maxNested {
		children = w.job.children(time.Now())
	}
	return w.end(ctx, func(v detect.View) (c detect.Changes, err error) {
		for _, child := range children {
			rows, _, err := add(v, child)
			if err != nil {
				return c, err
			}
			c.Put = append(c.Put, rows...)
		}
		return c, nil
	})
}

// end deletes the job, and commits with that the changes that also returns. also may be nil.
func (w *worker) end(ctx context.Context, also func(detect.View) (detect.Changes, error)) error {
	was := *w.job
	return w.o.Ledger.Commit(ctx, was.scope(), func(v detect.View) (c detect.Changes, err error) {
		there, err := read[jobRow](v, was.key())
		switch {
		case err != nil:
			return c, err
		case there == nil || there.Epoch != was.Epoch:
			return c, errTaken
		}
		if also != nil {
			if c, err = also(v); err != nil {
				return c, err
			}
		}
		c.Delete = append(c.Delete, was.key())
		if there.Shown {
			c.Delete = append(c.Delete, was.ownKey())
		}
		return c, nil
	})
}

// step submits the scan if it is to be submitted, and else waits for its report. If it returns
// neither a report nor an error, another step is needed.
func (w *worker) step(ctx context.Context) (*Report, error) {
	if w.toSubmit(time.Now()) {
		return nil, w.submit(ctx)
	}
	report, err := w.poll(ctx)
	var pending *Pending
	switch {
	case errors.Is(err, ErrLost) && !w.late(time.Now()):
		w.job.Scans, w.job.Sent = nil, time.Time{}
		return nil, w.rest(ctx, time.Second) // no faster, should the scanner lose it each time
	case errors.As(err, &pending) && !w.late(time.Now()):
		return nil, w.rest(ctx, pause(pending.After))
	}
	return report, down(err)
}

// down marks an error of an adapter that has no other meaning: the scanner is down.
func down(err error) error {
	var pending *Pending
	var refusal *Refusal
	if err == nil || errors.As(err, &pending) || errors.As(err, &refusal) || errors.Is(err, ErrLost) {
		return err
	}
	return &scannerDown{err}
}

type scannerDown struct{ err error }

func (d *scannerDown) Error() string { return d.err.Error() }
func (d *scannerDown) Unwrap() error { return d.err }

// toSubmit reports whether the scan is to be submitted: for the first time, after it was lost, or
// once more because half of its time is over. An adapter that was restarted may answer for ever
// that the report is not ready.
func (w *worker) toSubmit(now time.Time) bool {
	switch {
	case w.job.Asked.IsZero():
		return true
	case w.late(now):
		return false
	}
	return len(w.job.Scans) == 0 || len(w.job.Scans) == 1 && now.Sub(w.job.Asked) > w.scanner.Timeout/2
}

func (w *worker) submit(ctx context.Context) error {
	up, ok := w.config.Load().Upstreams[w.job.Upstream]
	if !ok {
		return fmt.Errorf("upstream %s is not configured any more", w.job.Upstream)
	}
	if err := w.show(ctx); err != nil {
		return err
	}
	began := w.own.begin(w.job, w.scanner.Operator)
	scan, err := w.scanner.Adapter.Submit(ctx, w.request(up))
	if err != nil {
		if len(w.job.Scans) == 0 {
			w.own.end(began)
		}
		return down(err)
	}
	w.resumeScanner(w.scanner.Name)
	now := time.Now()
	if w.job.Asked.IsZero() {
		w.job.Asked = now
	}
	w.job.Sent, w.job.Trouble = now, ""
	w.job.Scans = append(w.job.Scans, scan)
	if err := w.save(ctx); err != nil {
		return err
	}
	w.news(Scanning, "")
	return w.rest(ctx, firstPoll)
}

// show lets the other replicas know of a scan before its scanner pulls without a login. These
// pulls may pass through any of them.
func (w *worker) show(ctx context.Context) error {
	if w.o.Alone || w.scanner.Operator != "" || w.job.Shown {
		return nil
	}
	until := time.Now().Add(leaseFor)
	if err := w.change(ctx, w.job, func(j *jobRow) time.Time { j.Shown, j.Until = true, until; return until }); err != nil {
		return err
	}
	return w.rest(ctx, showFor)
}

func (w *worker) request(up Upstream) Request {
	j := w.job
	q := Request{
		RegistryURL: w.scanner.RegistryURL, Authorization: w.scanner.Authorization, Repository: j.Repository,
		Digest: j.Digest, MediaType: j.Artifact.MediaType, Size: j.Own,
	}
	if q.RegistryURL == "" {
		q.RegistryURL, q.Insecure = up.URL, up.Insecure
	}
	if tags := j.ofTags(); len(tags) > 0 {
		q.Tag = tags[0]
	}
	return q
}

// poll asks for the report of each submission, the newest first. If there is none, it returns the
// error of the newest.
func (w *worker) poll(ctx context.Context) (report *Report, err error) {
	if len(w.job.Scans) == 0 {
		return nil, ErrLost
	}
	for i := len(w.job.Scans) - 1; i >= 0; i-- {
		if err := w.keep(ctx); err != nil {
			return nil, err
		}
		r, e := w.scanner.Adapter.Report(ctx, w.job.Scans[i])
		if e == nil {
			return r, nil
		}
		if err == nil {
			err = e
		}
	}
	return nil, err
}

func pause(asked time.Duration) time.Duration {
	if asked <= 0 {
		return pollEvery
	}
	return min(max(asked, time.Second), maxPoll)
}

// late reports whether the time of the job is over: that of the scan or, if it was not submitted,
// that in which the scanner must be reached.
func (w *worker) late(now time.Time) bool {
	if w.job.Asked.IsZero() {
		return now.Sub(w.job.Created) > giveUp
	}
	return now.Sub(w.job.Asked) > w.scanner.Timeout
}

func (w *worker) lateness(last error) string {
	if w.job.Asked.IsZero() {
		return fmt.Sprintf("the scanner could not be asked for %s: %s", giveUp, last)
	}
	return fmt.Sprintf("no report within %s: %s", w.scanner.Timeout, last)
}

// finish ends the job with its event. A failure of the store is tried again while the lease lasts.
func (w *worker) finish(ctx context.Context, report *Report, reason string) error {
	ended := time.Now()
	event := detect.NewID()
	for {
		err := w.end(ctx, func(v detect.View) (detect.Changes, error) {
			there, err := read[jobRow](v, w.job.key())
			if err != nil || there == nil {
				return detect.Changes{}, err
			}
			e := there.event(event, ended)
			if report == nil {
				e.Type, e.Scan.Status, e.Scan.Reason = detect.ScanningFailed, "Error", OneLine(reason)
				return detect.Changes{Events: []detect.Event{e}}, nil
			}
			report.fill(e.Scan)
			rows, err := compare(v, there, &e, report)
			return detect.Changes{Events: []detect.Event{e}, Put: rows}, err
		})
		switch {
		case err == nil:
			w.finished(report, reason)
			return nil
		case !errors.Is(err, detect.ErrStore) || time.Since(w.renewed) > leaseFor:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

func (w *worker) finished(report *Report, reason string) {
	w.own.over(w.job)
	if report == nil {
		w.count(w.scanner.Name, func(s *Stats) { s.Failed++ })
		w.news(Failed, OneLine(reason))
		return
	}
	w.count(w.scanner.Name, func(s *Stats) { s.Completed++ })
	w.news(Completed, "")
}

// event returns the event of the job without the findings. Times are whole seconds, as Harbor's.
func (j *jobRow) event(id string, ended time.Time) detect.Event {
	started := j.Asked
	if started.IsZero() {
		started = ended
	}
	started, ended = started.UTC().Truncate(time.Second), ended.UTC().Truncate(time.Second)
	if ended.Before(started) {
		ended = started
	}
	return detect.Event{
		ID: id, Type: detect.ScanningCompleted, At: ended, Upstream: j.Upstream, External: j.External,
		Repository: j.Repository, FirstSeen: j.FirstSeen, Visibility: j.Visibility,
		Tags: j.Tags, Digest: j.Digest, Artifact: j.Artifact, Client: detect.Client{Operator: j.Operator},
		RequestID: cmp.Or(j.RequestID, j.Run),
		Scan: &detect.Scan{
			ReportID: j.Report, By: j.Scanner, Run: j.Run, Status: "Success", Started: started, Ended: ended,
			Index: j.Index, IndexTags: j.Of,
		},
	}
}
