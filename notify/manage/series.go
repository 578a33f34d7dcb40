package manage

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
)

// Span is a period, divided into steps of whole minutes (within the last 2 hours) or whole hours
// (within the last 8 days).
type Span struct {
	From  time.Time // rounded down to a whole minute or hour
	Step  time.Duration
	Steps int // at most 200
}

// EventCounts returns the number of events by type; project "" means all projects in scope.
func (d *AccountEvents) EventCounts(ctx context.Context, by access.Principal, project string, s Span) ([]counters.Line, error) {
	if project != "" && !by.May(project) {
		return nil, fmt.Errorf("%w: project %.255s not found", ErrNotFound, project)
	}
	q := s.query(counters.Events)
	switch {
	case project != "":
		q.Keep = func(name string) bool { return name == project }
	case !by.Administrator:
		q.Keep = by.May
	}
	return d.Counters.Series(ctx, q)
}

// DeliveryCounts returns the number of attempts by outcome; webhook number 0 means all webhooks in
// scope.
func (d *AccountEvents) DeliveryCounts(ctx context.Context, by access.Principal, number int64, s Span) ([]counters.Line, error) {
	q := s.query(counters.Deliveries)
	switch {
	case number != 0:
		w, err := d.webhooks.one(ctx, by, number)
		if err != nil {
			return nil, err
		}
		q.Keep = func(key string) bool { return key == w.Key }
	case !by.Administrator:
		all, err := d.webhooks.all(ctx, by)
		if err != nil {
			return nil, err
		}
		q.Keep = func(key string) bool {
			return slices.ContainsFunc(all, func(w Webhook) bool { return w.Key == key })
		}
	}
	return d.Counters.Series(ctx, q)
}

// TrafficCounts returns the traffic of each upstream. Only administrators see it, because it covers
// all projects.
func (d *AccountEvents) TrafficCounts(ctx context.Context, by access.Principal, s Span) ([]counters.Line, error) {
	if !by.Administrator {
		return nil, fmt.Errorf("%w: traffic covers all projects", ErrForbidden)
	}
	q := s.query(counters.Traffic)
	q.Sum = false
	return d.Counters.Series(ctx, q)
}

func (s Span) query(m counters.Measure) counters.Query {
	return counters.Query{Measure: m, From: s.From, Step: s.Step, Steps: s.Steps, Sum: true}
}

// count adds the results of the attempts of the last 24 hours.
func (h *Health) count(s counters.Success) {
	if h.Tried = s.Tried; s.Tried > 0 {
		rate := float64(s.Delivered) / float64(s.Tried)
		h.SuccessRate = &rate
	}
}
