package store

import (
	"context"
	"sync"
)

// signals tells dispatchers which lanes got work, and followers that there are new events. It never holds up the writer:
// what nobody has taken yet is kept once for each webhook.
type signals struct {
	wakes chan string

	mu      sync.Mutex
	waiting map[string]bool
	pending chan struct{} // one token while waiting is not empty
	news    chan struct{}
}

func newSignals() *signals {
	return &signals{wakes: make(chan string), waiting: make(map[string]bool), pending: make(chan struct{}, 1), news: make(chan struct{})}
}

func (s *signals) wakeUp(webhook string) {
	s.mu.Lock()
	s.waiting[webhook] = true
	s.mu.Unlock()
	select {
	case s.pending <- struct{}{}:
	default:
	}
}

func (s *signals) announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}

func (s *signals) appended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}

// run hands the wakes out until ctx ends.
func (s *signals) run(ctx context.Context) {
	for {
		select {
		case <-s.pending:
		case <-ctx.Done():
			return
		}
		for webhook, ok := s.take(); ok; webhook, ok = s.take() {
			select {
			case s.wakes <- webhook:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *signals) take() (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for webhook := range s.waiting {
		delete(s.waiting, webhook)
		return webhook, true
	}
	return "", false
}
