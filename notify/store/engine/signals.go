package engine

import (
	"context"
	"sync"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Signals tells dispatchers which lanes got work, and followers that there are new events. It never
// holds up the writer: what nobody has taken yet is kept once for each webhook.
type Signals struct {
	wakes chan store.Wake

	mu      sync.Mutex
	waiting map[string][]store.Delivery // by webhook; nil: look
	pending chan struct{}               // one token while waiting is not empty
	news    chan struct{}
}

// NewSignals returns signals without waiting lanes.
func NewSignals() *Signals {
	return &Signals{wakes: make(chan store.Wake), waiting: make(map[string][]store.Delivery), pending: make(chan struct{}, 1), news: make(chan struct{})}
}

// WakeUp makes a lane ask what is due; "" makes all ask.
func (s *Signals) WakeUp(webhook string) {
	s.mu.Lock()
	s.waiting[webhook] = nil
	s.mu.Unlock()
	s.nudge()
}

// wakeWith wakes the lanes of new deliveries and gives them along, as far as they are few.
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

// wakeMost bounds what is held for a lane that has not been told yet.
const wakeMost = 32

func (s *Signals) nudge() {
	select {
	case s.pending <- struct{}{}:
	default:
	}
}

// Announce tells followers that there are new events.
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

// run hands the wakes out until ctx ends.
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
