package tagindex

import "context"

// maxJobs bounds the jobs that wait.
const maxJobs = 1024

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
