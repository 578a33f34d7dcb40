package console

import (
	"context"
	"errors"
	"sync"
	"time"
)

// turns bounds how many pages are made at once. Without it, the memory and goroutines of the
// console would grow with the requests that people and their scripts send.
type turns struct {
	mu  sync.Mutex
	all int
	of  map[string]int // by account; none is zero

	making chan struct{} // holds a value for each page that is being made
}

const (
	mostOfAccount = 256  // requests of an account that are not answered yet
	mostRequests  = 1024 // of all accounts
	mostMade      = 16   // pages that are made at the same time; the others wait
	turnPatience  = 10 * time.Second
	writePatience = 30 * time.Second // for a page to be taken by its reader
)

// Errors of a request that is one too many.
var (
	errTooMany = errors.New("your account has many requests that are not answered yet")
	errBusy    = errors.New("too many people use the console at the moment")
)

func newTurns() *turns {
	return &turns{of: map[string]int{}, making: make(chan struct{}, mostMade)}
}

// enter counts a request of an account until leave is called.
func (t *turns) enter(account string) (leave func(), err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.of[account] >= mostOfAccount:
		return nil, errTooMany
	case t.all >= mostRequests:
		return nil, errBusy
	}
	t.all++
	t.of[account]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.all--
		if t.of[account]--; t.of[account] == 0 {
			delete(t.of, account)
		}
	}, nil
}

// wait waits until a page may be made. done must be called when it is made; further calls of it do
// nothing.
func (t *turns) wait(ctx context.Context) (done func(), err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, turnPatience, errBusy)
	defer cancel()
	select {
	case t.making <- struct{}{}:
		return sync.OnceFunc(func() { <-t.making }), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}
