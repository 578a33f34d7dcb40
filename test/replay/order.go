package replay

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

// A step is a moment of a request.
type step struct {
	line   int // index into the scenario's lines
	moment moment
	at     time.Duration // since the scenario's begin
}

type moment uint8

const (
	started  moment = iota // the upstream sees the request
	answered               // the upstream answers
	ended                  // the client has all of the answer
)

// turns lets the steps of a scenario happen in their recorded order, and not before their recorded
// time. The player and the upstream wait for the turn of a step, and report when the step is over.
// If a request fails, the player reports all of its remaining steps.
type turns struct {
	mu      sync.Mutex
	begin   time.Time // zero until the first request may go
	steps   []step
	over    map[[2]int]bool
	next    int           // the first step that is not over
	changed chan struct{} // closed and replaced when next moves
}

// stuckAfter is how late a turn may be before the scenario fails.
const stuckAfter = time.Minute

var errStuck = errors.New("the scenario is stuck: an earlier step does not happen")

func newTurns(lines []Line) *turns {
	t := &turns{over: map[[2]int]bool{}, changed: make(chan struct{})}
	ms := func(v float64) time.Duration { return time.Duration(v * float64(time.Millisecond)) }
	first := lines[0].StartMS
	for i := range lines {
		l := &lines[i]
		start := l.StartMS - first
		t.steps = append(t.steps,
			step{i, started, ms(start)}, step{i, answered, ms(start + cmp.Or(l.FirstMS, l.TookMS))}, step{i, ended, ms(start + l.TookMS)})
	}
	slices.SortStableFunc(t.steps, func(a, b step) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.line, b.line), cmp.Compare(a.moment, b.moment))
	})
	return t
}

// wait waits until it is a step's turn.
func (t *turns) wait(ctx context.Context, line int, m moment) error {
	stuck := time.NewTimer(time.Hour)
	defer stuck.Stop()
	for {
		t.mu.Lock()
		current, changed := t.next < len(t.steps) && t.steps[t.next].line == line && t.steps[t.next].moment == m, t.changed
		var at time.Duration
		if current {
			at = t.steps[t.next].at
		}
		over := t.over[key(line, m)]
		t.mu.Unlock()
		switch {
		case over:
			return nil
		case current:
			return t.until(ctx, at)
		}
		stuck.Reset(stuckAfter)
		select {
		case <-changed:
		case <-stuck.C:
			return errStuck
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// start lets the first request go.
func (t *turns) start() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begin = time.Now()
}

func (t *turns) begun() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.begin
}

// until waits until a recorded time.
func (t *turns) until(ctx context.Context, at time.Duration) error {
	select {
	case <-time.After(time.Until(t.begun().Add(at))):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// done reports that steps are over.
func (t *turns) done(line int, moments ...moment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, m := range moments {
		t.over[key(line, m)] = true
	}
	before := t.next
	for t.next < len(t.steps) && t.over[key(t.steps[t.next].line, t.steps[t.next].moment)] {
		t.next++
	}
	if t.next != before {
		close(t.changed)
		t.changed = make(chan struct{})
	}
}

func key(line int, m moment) [2]int { return [2]int{line, int(m)} }

// lanes distributes the requests over connections, as recorded. A request that began while another
// one was in flight on the same connection (HTTP/2) gets a connection of its own.
func lanes(lines []Line) [][]int {
	type lane struct {
		conn  int
		until float64
		lines []int
	}
	var all []*lane
	for i := range lines {
		l := &lines[i]
		j := slices.IndexFunc(all, func(o *lane) bool { return o.conn == l.Conn && o.until <= l.StartMS })
		if j < 0 {
			all = append(all, &lane{conn: l.Conn})
			j = len(all) - 1
		}
		all[j].until = l.StartMS + l.TookMS
		all[j].lines = append(all[j].lines, i)
	}
	out := make([][]int, len(all))
	for i, l := range all {
		out[i] = l.lines
	}
	return out
}
