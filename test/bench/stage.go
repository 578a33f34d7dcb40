package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// A stage is to the harness what a test is to it otherwise: where things are started, fail, and are cleaned up. A stage may have
// stages inside it, for what lives shorter.
type stage struct {
	ctx      context.Context
	log      io.Writer
	profiles string // the directory for bellbuoy's profiles; "": none are taken
	cleanup  []func()
	failed   bool
}

// failure is what Fatalf throws and within catches.
type failure struct{ error }

// within runs do on a stage of its own, and ends everything that was started there, the last first.
func within(ctx context.Context, log io.Writer, profiles string, do func(s *stage)) (err error) {
	s := &stage{ctx: ctx, log: log, profiles: profiles}
	defer func() {
		thrown := recover()
		if f, ok := thrown.(failure); ok {
			err, thrown = f.error, nil
		}
		for _, f := range slices.Backward(s.cleanup) {
			f()
		}
		if thrown != nil {
			panic(thrown)
		}
		if err == nil && s.failed {
			err = errors.New("something went wrong above")
		}
	}()
	do(s)
	return nil
}

func (s *stage) Helper()                  {}
func (s *stage) Context() context.Context { return s.ctx }
func (s *stage) Cleanup(f func())         { s.cleanup = append(s.cleanup, f) }
func (s *stage) Failed() bool             { return s.failed }

func (s *stage) Logf(format string, args ...any) { fmt.Fprintf(s.log, format+"\n", args...) }

func (s *stage) Errorf(format string, args ...any) {
	s.failed = true
	s.Logf(format, args...)
}

func (s *stage) Fatalf(format string, args ...any) {
	s.failed = true
	panic(failure{fmt.Errorf(format, args...)})
}

func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", "bellbuoy-bench-")
	s.must(err)
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// must ends the stage where there is an error.
func (s *stage) must(err error) {
	if err != nil {
		s.Fatalf("%w", err)
	}
}

// until polls, and ends the stage when what it waits for does not come in time.
func (s *stage) until(timeout time.Duration, what string, ok func() bool) {
	for deadline := time.Now().Add(timeout); !ok(); s.pause(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.Fatalf("still waiting for %s after %v", what, timeout)
		}
	}
}

// pause sleeps, and ends the stage when that is interrupted.
func (s *stage) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
		s.Fatalf("interrupted")
	}
}
