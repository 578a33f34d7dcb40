package scan

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Run works on jobs until ctx ends. The jobs that it holds then are free for others at once.
func (r *Runner) Run(ctx context.Context) error {
	var working sync.WaitGroup
	defer working.Wait()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	freed := map[string]bool{}
	for {
		config := r.config.Load()
		r.learnOwn(ctx, config)
		for i := range config.Scanners {
			s := &config.Scanners[i]
			if r.o.Alone && !freed[s.Name] {
				freed[s.Name] = r.freeOrphans(ctx, s.Name) == nil
			}
			r.begin(ctx, s, &working)
			r.scanAgain(ctx, s, &working)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// freeOrphans frees the jobs that an earlier process held, so that they need not wait for the end
// of their leases.
func (r *Runner) freeOrphans(ctx context.Context, scanner string) error {
	kind := detect.RowKind(kindJob + scanner)
	for after := ""; ; {
		rows, err := r.o.Ledger.Own(ctx, kind, after, 500)
		if err != nil || len(rows) == 0 {
			return err
		}
		for _, row := range rows {
			after = row.ID
			j, ok := decode[jobRow](row)
			if !ok || j.Holder == "" || j.Holder == r.o.Replica {
				continue
			}
			if err := r.change(ctx, j, func(now *jobRow) time.Time { now.Holder = ""; return time.Now() }); err != nil && !errors.Is(err, errTaken) {
				return err
			}
		}
	}
}

// begin takes as many due jobs of a scanner as there is room for.
func (r *Runner) begin(ctx context.Context, s *Scanner, working *sync.WaitGroup) {
	now := time.Now()
	r.mu.Lock()
	room, resting := AtOnce, now.Before(r.rests[s.Name].until)
	for k := range r.running {
		if k.Kind == detect.RowKind(kindJob+s.Name) {
			room--
		}
	}
	if r.rests[s.Name].long > 0 { // the scanner was down: one job tries whether it still is
		room = min(room, 1)
	}
	r.mu.Unlock()
	if room <= 0 || resting {
		return
	}
	rows, err := r.o.Ledger.Due(ctx, detect.RowKind(kindJob+s.Name), now, room)
	if err != nil {
		return // the ledger says by itself that its store fails
	}
	for _, row := range rows {
		j, ok := decode[jobRow](row)
		if !ok || !r.enter(row.Key) {
			continue
		}
		working.Go(func() {
			defer r.leave(row.Key)
			r.work(ctx, s.Name, j)
		})
	}
}

// scanAgain makes what a scanner has to scan again due, in a goroutine of its own: registries are
// asked for it.
func (r *Runner) scanAgain(ctx context.Context, s *Scanner, working *sync.WaitGroup) {
	k := detect.Key{Kind: detect.RowKind(kindAgain + s.Name)}
	if !r.enter(k) {
		return
	}
	working.Go(func() {
		defer r.leave(k)
		r.again.work(ctx, s)
	})
}

func (r *Runner) enter(k detect.Key) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.running[k] {
		return false
	}
	r.running[k] = true
	return true
}

func (r *Runner) leave(k detect.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.running, k)
}

// pauseScanner makes the jobs of a scanner that is down wait. resumeScanner ends that.
func (r *Runner) pauseScanner(scanner string) (until time.Time, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	was := r.rests[scanner]
	if now := time.Now(); now.Before(was.until) { // another job has just found it down
		return was.until, false
	}
	long := min(max(2*was.long, minRest), maxRest)
	until = time.Now().Add(long)
	r.rests[scanner] = rest{until, long}
	return until, was.long == 0
}

func (r *Runner) resumeScanner(scanner string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.rests, scanner)
}

// work takes a job and does its next steps, until it ends or has to wait.
func (r *Runner) work(ctx context.Context, scanner string, j *jobRow) {
	w := &worker{Runner: r, job: j}
	if w.take(ctx) != nil {
		return
	}
	s, ok := r.config.Load().scanner(scanner)
	if !ok {
		w.giveBack(time.Now())
		return
	}
	w.scanner = s
	r.count(scanner, func(s *Stats) { s.Running++ })
	defer r.count(scanner, func(s *Stats) { s.Running-- })
	err := w.run(ctx)
	switch {
	case err == nil || errors.Is(err, errTaken):
	case ctx.Err() != nil:
		w.giveBack(time.Now())
	default:
		w.putOff(ctx, err)
	}
}

// worker holds one job.
type worker struct {
	*Runner
	scanner *Scanner
	job     *jobRow
	renewed time.Time
}

// change changes the row of a job, if this replica still holds the job. Tags that were added
// meanwhile stay. set makes the change, and returns when the job is due.
func (r *Runner) change(ctx context.Context, j *jobRow, set func(*jobRow) time.Time) error {
	var stored jobRow
	was := *j
	err := r.o.Ledger.Commit(ctx, j.scope(), func(v detect.View) (detect.Changes, error) {
		there, err := read[jobRow](v, was.key())
		switch {
		case err != nil:
			return detect.Changes{}, err
		case there == nil || there.Epoch != was.Epoch:
			return detect.Changes{}, errTaken
		}
		next := was
		next.Tags = there.Tags
		due := set(&next)
		row, err := next.row(due)
		stored = next
		c := detect.Changes{Put: []detect.Row{row}}
		switch {
		case next.Shown && !was.Shown:
			c.Put = append(c.Put, detect.Row{Key: was.ownKey()})
		case was.Shown && !next.Shown:
			c.Delete = append(c.Delete, was.ownKey())
		}
		return c, err
	})
	if err == nil {
		*j = stored
	}
	return err
}

// take makes this replica the holder of the job, unless another is.
func (w *worker) take(ctx context.Context) error {
	until := time.Now().Add(leaseFor)
	if !w.free(w.job, time.Now()) {
		return errTaken
	}
	err := w.change(ctx, w.job, func(j *jobRow) time.Time {
		j.Holder, j.Until = w.o.Replica, until
		j.Epoch++
		return until
	})
	w.renewed = time.Now()
	return err
}

// save stores the progress of the job, and renews its lease.
func (w *worker) save(ctx context.Context) error {
	until := time.Now().Add(leaseFor)
	err := w.change(ctx, w.job, func(j *jobRow) time.Time { j.Until = until; return until })
	if err == nil {
		w.renewed = time.Now()
	}
	return err
}

// keep renews the lease if it is old.
func (w *worker) keep(ctx context.Context) error {
	if time.Since(w.renewed) <= renewAfter {
		return nil
	}
	return w.save(ctx)
}

// rest waits for a time, and keeps the lease meanwhile.
func (w *worker) rest(ctx context.Context, long time.Duration) error {
	for end := time.Now().Add(long); ; {
		if err := w.keep(ctx); err != nil {
			return err
		}
		left := time.Until(end)
		if left <= 0 {
			return ctx.Err()
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(min(left, renewAfter)):
		}
	}
}

// putOff gives the job back because the scanner or the registry cannot be asked. If it is the
// scanner, all of its jobs wait.
func (w *worker) putOff(ctx context.Context, why error) {
	trouble := OneLine(why.Error())
	until, tell := time.Now().Add(maxRest), trouble != w.job.Trouble
	var down *scannerDown
	if errors.As(why, &down) {
		until, tell = w.pauseScanner(w.scanner.Name)
	}
	w.job.Trouble = trouble
	if tell {
		w.news(Down, trouble)
	}
	_ = w.change(ctx, w.job, func(j *jobRow) time.Time {
		j.Holder, j.Until, j.Shown = "", time.Time{}, j.Shown && len(j.Scans) > 0
		return until
	})
}

// giveBack frees the job for others, also while this process ends.
func (w *worker) giveBack(due time.Time) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	_ = w.change(ctx, w.job, func(j *jobRow) time.Time { j.Holder, j.Until = "", time.Time{}; return due })
}

func (w *worker) news(s JobState, why string) {
	j := w.job
	w.o.Told(News{Scanner: j.Scanner, Upstream: j.Upstream, Repository: j.Repository, Digest: j.Digest, State: s, Why: why})
}
