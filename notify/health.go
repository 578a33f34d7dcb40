package notify

import "sync"

// health is the result of the last operation of one kind.
type health struct {
	mu  sync.Mutex
	err error
}

type healthChange uint8

const (
	healthUnchanged healthChange = iota
	startedFailing
	recovered
)

// note records the result of an operation and returns how it changed the health.
func (h *health) note(err error) healthChange {
	h.mu.Lock()
	defer h.mu.Unlock()
	before := h.err
	h.err = err
	switch {
	case before == nil && err != nil:
		return startedFailing
	case before != nil && err == nil:
		return recovered
	}
	return healthUnchanged
}

func (h *health) last() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.err
}
