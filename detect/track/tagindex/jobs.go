package tagindex

import "context"

const (
	// maxJobs bounds the jobs that wait.
	maxJobs = 1024
	// maxBodies bounds the bytes of bodies (of index.yaml files and lists of tags) that wait to
	// be read.
	maxBodies = 64 << 20
)

// Later leaves a look-up in the ledger, for which no request waits, to Work. It reports whether
// there was room for it.
func (t *Index) Later(job func(context.Context)) bool {
	select {
	case t.jobs <- job:
		return true
	default:
		return false
	}
}

// laterWith does what Later does for a job that holds a body of size bytes.
func (t *Index) laterWith(size int, job func(context.Context)) bool {
	n := int64(size)
	counted := func(ctx context.Context) {
		defer t.bodies.Add(-n)
		job(ctx)
	}
	if t.bodies.Add(n) > maxBodies || !t.Later(counted) {
		t.bodies.Add(-n)
		return false
	}
	return true
}

// Work runs the jobs that Later was given, until ctx ends. Then it runs those that are left, with
// the ended context: their events are recorded without what a look-up would have added.
func (t *Index) Work(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			t.finishJobs(ctx)
			return
		case job := <-t.jobs:
			job(ctx)
		}
	}
}

func (t *Index) finishJobs(ctx context.Context) {
	for {
		select {
		case job := <-t.jobs:
			job(ctx)
		default:
			return
		}
	}
}
