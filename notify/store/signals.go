package store

import (
	"context"
	"sync"
)

// signals tells dispatchers which lanes got work, and followers that there are new events. It never holds up the writer:
// what nobody has taken yet is kept once for each webhook.
type signals struct {
	wakes chan Wake

	mu      sync.Mutex
	waiting map[string][]Delivery // by webhook; nil: look
	pending chan struct{}         // one token while waiting is not empty
	news    chan struct{}
}

func newSignals() *signals {
	return &signals{wakes: make(chan Wake), waiting: make(map[string][]Delivery), pending: make(chan struct{}, 1), news: make(chan struct{})}
}

func (s *signals) wakeUp(webhook string) {
	s.mu.Lock()
	s.waiting[webhook] = nil
	s.mu.Unlock()
	s.nudge()
}

// handOver wakes the lanes of new deliveries and gives them along, as far as they are few.
func (s *signals) handOver(deliveries []Delivery) {
	s.mu.Lock()
	for _, d := range deliveries {
		own, waits := s.waiting[d.Webhook]
		switch {
		case waits && own == nil:
		case len(own) < handedMost:
			s.waiting[d.Webhook] = append(own, d)
		default:
			s.waiting[d.Webhook] = nil
		}
	}
	s.mu.Unlock()
	s.nudge()
}

// handedMost bounds what is held for a lane that has not been told yet.
const handedMost = 32

func (s *signals) nudge() {
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
		for w, ok := s.take(); ok; w, ok = s.take() {
			select {
			case s.wakes <- w:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *signals) take() (Wake, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for webhook, own := range s.waiting {
		delete(s.waiting, webhook)
		return Wake{webhook, own}, true
	}
	return Wake{}, false
}
