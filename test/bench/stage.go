package main

import (
	"context"
	"io"
	"time"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A stage has the processes of a measurement. They end when within returns.
type stage struct {
	*harness.Program
	profiles string // the directory for bellbuoy's profiles; "": none are taken
}

// within calls do with a new stage, and then ends everything that was started there.
func within(ctx context.Context, log io.Writer, profiles string, do func(s *stage)) error {
	return harness.Within(ctx, log, func(p *harness.Program) { do(&stage{p, profiles}) })
}

// must ends the stage if there is an error.
func (s *stage) must(err error) {
	if err != nil {
		s.Fatalf("%w", err)
	}
}

// until polls until a condition is true, and ends the stage if that takes too long.
func (s *stage) until(timeout time.Duration, what string, ok func() bool) {
	for deadline := time.Now().Add(timeout); !ok(); s.pause(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("still waiting for %s after %v", what, timeout)
		}
	}
}

// pause sleeps, and ends the stage if it is interrupted.
func (s *stage) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.Context().Done():
		s.Fatalf("interrupted")
	}
}
