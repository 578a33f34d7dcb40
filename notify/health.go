package notify

import "sync"

// health is how the last commit went.
type health struct {
	mu  sync.Mutex
	err error
}

type turn uint8

const (
	unchanged turn = iota
	failing
	recovered
)

// note tells whether the outcome of a commit changed anything.
func (h *health) note(err error) turn {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.err
	h.err = err
	switch {
	case before == nil && err != nil:
		return failing
	case before != nil && err == nil:
		return recovered
	}
	return unchanged
}

func (h *health) last() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
