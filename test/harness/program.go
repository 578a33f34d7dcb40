package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
)

// A Program is the T of a program that is not a test, such as the demo and the benchmark. What it
// started ends when Within returns.
type Program struct {
	ctx     context.Context
	out     io.Writer
	cleanup []func()
	failed  bool
}

// failure is what Fatalf panics with, for Within to recover.
type failure struct{ error }

// Within calls do with a new Program and then ends everything that was started with it, the last
// first. It returns the error of Fatalf, an error if Errorf was called, or the error of ctx if do
// failed after ctx had ended.
func Within(ctx context.Context, out io.Writer, do func(*Program)) (err error) {
	p := &Program{ctx: ctx, out: out}
	defer func() {
		thrown := recover()
		if f, ok := thrown.(failure); ok {
			err, thrown = f.error, nil
			if ctx.Err() != nil { // an interruption by Ctrl-C is no failure
				p.failed, err = false, errors.New("interrupted")
			}
		}
		for _, f := range slices.Backward(p.cleanup) {
			f()
		}
		if thrown != nil {
			panic(thrown)
		}
		if err == nil && p.failed {
			err = errors.New("something went wrong above")
		}
	}()
	do(p)
	return nil
}

func (p *Program) Helper()                  {}
func (p *Program) Context() context.Context { return p.ctx }
func (p *Program) Cleanup(f func())         { p.cleanup = append(p.cleanup, f) }
func (p *Program) Failed() bool             { return p.failed }

func (p *Program) Logf(format string, args ...any) { fmt.Fprintf(p.out, format+"\n", args...) }

func (p *Program) Errorf(format string, args ...any) {
	p.failed = true
	p.Logf(format, args...)
}

func (p *Program) Fatalf(format string, args ...any) {
	p.failed = true
	panic(failure{fmt.Errorf(format, args...)})
}

func (p *Program) TempDir() string {
	dir, err := os.MkdirTemp("", "bellbuoy-")
	if err != nil {
		p.Fatalf("making a directory: %v", err)
	}
	p.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
