package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A stage is to the harness what a test is to it otherwise: where things are started, fail, and are cleaned up.
type stage struct {
	ctx     context.Context
	out     io.Writer
	cleanup []func()
	failed  bool
}

// failure is what Fatalf throws and clear catches.
type failure struct{ error }

func newStage(ctx context.Context, out io.Writer) *stage { return &stage{ctx: ctx, out: out} }

func (s *stage) Helper()                  {}
func (s *stage) Context() context.Context { return s.ctx }
func (s *stage) Cleanup(f func())         { s.cleanup = append(s.cleanup, f) }
func (s *stage) Failed() bool             { return s.failed }

func (s *stage) Logf(format string, args ...any) {
	fmt.Fprintf(s.out, format+"\n", args...)
}

func (s *stage) Errorf(format string, args ...any) {
	s.failed = true
	s.Logf(format, args...)
}

func (s *stage) Fatalf(format string, args ...any) {
	s.failed = true
	panic(failure{fmt.Errorf(format, args...)})
}

func (s *stage) TempDir() string {
	dir, err := os.MkdirTemp("", "bellbuoy-demo-")
	if err != nil {
		s.Fatalf("making a directory: %v", err)
	}
	s.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// clear ends what was started, the last first, and turns a failure into the error. It is deferred by whoever made the stage.
func (s *stage) clear(err *error) {
	thrown := recover()
	if f, ok := thrown.(failure); ok {
		*err, thrown = errors.Join(*err, f.error), nil
		if s.ctx.Err() != nil { // Ctrl-C is no failure, and what it interrupted is none either
			s.failed, *err = false, errors.New("interrupted")
		}
	}
	for _, f := range slices.Backward(s.cleanup) {
		f()
	}
	if thrown != nil {
		panic(thrown)
	}
	if *err == nil && s.failed {
		*err = errors.New("something went wrong above")
	}
}
