package engine

import (
	"context"
	"sync"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Signals wakes dispatchers whose lanes have got work, and followers of the event log. It never
// blocks the writer: a signal that was not received yet is kept, one for each webhook.
type Signals struct {
	wakes chan store.Wake

	mu      sync.Mutex
	waiting map[string][]store.Delivery // by webhook; nil: the lane must query
	pending chan struct{}               // holds one element while waiting is not empty
	news    chan struct{}
}

// NewSignals returns Signals with nothing waiting.
func NewSignals() *Signals {
	return &Signals{wakes: make(chan store.Wake), waiting: make(map[string][]store.Delivery), pending: make(chan struct{}, 1), news: make(chan struct{})}
}

// WakeUp makes a lane query what is due. "" stands for all lanes.
func (s *Signals) WakeUp(webhook string) {
	s.mu.Lock()
	s.waiting[webhook] = nil
	s.mu.Unlock()
	s.nudge()
}

// wakeWith wakes the lanes of new deliveries. It sends the deliveries with the signal if there are
// few.
func (s *Signals) wakeWith(deliveries []store.Delivery) {
	s.mu.Lock()
	for _, d := range deliveries {
		own, waits := s.waiting[d.Webhook]
		switch {
		case waits && own == nil:
		case len(own) < wakeMost:
			s.waiting[d.Webhook] = append(own, d)
		default:
			s.waiting[d.Webhook] = nil
		}
	}
	s.mu.Unlock()
	s.nudge()
}

// wakeMost bounds the deliveries that are sent with a signal.
const wakeMost = 32

func (s *Signals) nudge() {
	select {
	case s.pending <- struct{}{}:
	default:
	}
}

// Announce wakes the followers of the event log.
func (s *Signals) Announce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.news)
	s.news = make(chan struct{})
}

func (s *Signals) appended() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.news
}

// run sends the signals until ctx ends.
func (s *Signals) run(ctx context.Context) {
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

func (s *Signals) take() (store.Wake, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for webhook, own := range s.waiting {
		delete(s.waiting, webhook)
		return store.Wake{Webhook: webhook, New: own}, true
	}
	return store.Wake{}, false
}
