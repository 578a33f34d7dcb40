package track

import (
	"context"
	"sync"
	"time"
)

// Run runs the timers until ctx ends: for quiet clients, untagged pushes, open intents, and for
// what waits to be looked up or stored. After that it makes no new decision. What waits durably
// goes on in the next process.
func (t *Tracker) Run(ctx context.Context) error {
	var all sync.WaitGroup
	all.Go(func() { t.tags.Work(ctx) })
	all.Go(func() { t.recovery.askOpenIntents(ctx) })
	all.Go(func() { t.dropAnswers(ctx) })
	t.timers(ctx)
	all.Wait()
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTimeout)
	defer cancel()
	t.dropAnswerRows(last)
	return nil
}

// timers ends the waiting of everything that waits for quiet.
func (t *Tracker) timers(ctx context.Context) {
	// how often this process looks for rows that it has not put itself
	const slow = 10 * time.Second
	timer := time.NewTimer(0)
	defer timer.Stop()
	var lastSlow, lastFlush time.Time
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		cfg, now := t.config(), time.Now()
		t.pulls.EndQuiet(now)
		if now.Sub(lastFlush) >= flushEvery {
			lastFlush = now
			t.tags.Flush(ctx)
			t.dropAnswerRows(ctx) // what the store refused before
		}
		isSlow := now.Sub(lastSlow) >= slow
		if isSlow || t.untaggedDue(now) {
			t.releaseDue(ctx)
		}
		if isSlow {
			lastSlow = now
			t.sweep(ctx)
			t.markBusy(ctx)
		}
		timer.Reset(grain(cfg))
	}
}

// flushEvery is how long observations are gathered before they are stored together.
const flushEvery = time.Second

// grain is how often the timers run.
func grain(cfg Config) time.Duration {
	return min(max(min(cfg.Pull, cfg.UntaggedPush)/10, 20*time.Millisecond), 500*time.Millisecond)
}
