package api

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// V1Counts returns counts by minute and hour within an account's scope. *manage.Desk implements it.
type V1Counts interface {
	EventCounts(ctx context.Context, by access.Principal, project string, s manage.Span) ([]counters.Line, error)
	DeliveryCounts(ctx context.Context, by access.Principal, webhook int64, s manage.Span) ([]counters.Line, error)
	TrafficCounts(ctx context.Context, by access.Principal, s manage.Span) ([]counters.Line, error)
}

// V1CountLines holds counts in steps.
type V1CountLines struct {
	From  time.Time     `json:"from" doc:"when the first step begins"`
	Lines []V1CountLine `json:"lines" nullable:"false"`
}

// V1CountLine holds the counts of one type, outcome or upstream.
type V1CountLine struct {
	Of     string         `json:"of" doc:"a type of events, an outcome of attempts, or an upstream"`
	Points []V1CountPoint `json:"points" nullable:"false" doc:"one for each step, the newest last"`
}

// V1CountPoint holds the counts of one step.
type V1CountPoint struct {
	Count  int64   `json:"count" doc:"events, attempts or requests"`
	MeanMS float64 `json:"mean_ms,omitempty" doc:"of attempts: average time of the receiver"`
	P50MS  float64 `json:"p50_ms,omitempty" doc:"of attempts: median time of the receiver"`
	P95MS  float64 `json:"p95_ms,omitempty" doc:"of attempts: 95 % took at most this time"`
	In     int64   `json:"in,omitempty" doc:"of traffic: bytes of requests"`
	Out    int64   `json:"out,omitempty" doc:"of traffic: bytes of answers"`
	Errors int64   `json:"errors,omitempty" doc:"of traffic: answers of 500 and above"`
}

// CountSteps has the parameters of counts.
type CountSteps struct {
	By   string `query:"by" enum:"minute,hour" default:"minute" doc:"length of a step; minutes are kept for 2 hours, hours for 8 days"`
	Last int    `query:"last" minimum:"1" maximum:"192" default:"60" doc:"number of steps; the last one has not ended"`
}

// span returns the steps of which the last one contains now.
func (s *CountSteps) span(now time.Time) manage.Span {
	step := time.Minute
	if s.By == "hour" {
		step = time.Hour
	}
	return manage.Span{From: now.Truncate(step).Add(-time.Duration(s.Last-1) * step).UTC(), Step: step, Steps: s.Last}
}

type countAnswer struct{ Body V1CountLines }

// addCounts adds the endpoints of counts.
func (v *V1) addCounts() {
	addV1(v, operation("countEvents", "GET /counts/events", "Numbers of events by type, for each minute or hour", "counts"), everyAccount,
		func(ctx context.Context, by access.Principal, in *struct {
			CountSteps
			Project string `query:"project" maxLength:"255" doc:"only events of this project"`
		}) (*countAnswer, error) {
			span := in.span(time.Now())
			return countsOf(span, func() ([]counters.Line, error) { return v.Counts.EventCounts(ctx, by, in.Project, span) })
		})
	addV1(v, operation("countAttempts", "GET /counts/deliveries", "Numbers of attempts to deliver by outcome, for each minute or hour", "counts"), everyAccount,
		func(ctx context.Context, by access.Principal, in *struct {
			CountSteps
			Webhook int64 `query:"webhook" minimum:"1" doc:"only deliveries of the webhook with this number"`
		}) (*countAnswer, error) {
			span := in.span(time.Now())
			return countsOf(span, func() ([]counters.Line, error) { return v.Counts.DeliveryCounts(ctx, by, in.Webhook, span) })
		})
	addV1(v, operation("countTraffic", "GET /counts/traffic", "Numbers of requests and bytes by upstream, for each minute or hour", "counts"), administratorsOnly,
		func(ctx context.Context, by access.Principal, in *struct{ CountSteps }) (*countAnswer, error) {
			span := in.span(time.Now())
			return countsOf(span, func() ([]counters.Line, error) { return v.Counts.TrafficCounts(ctx, by, span) })
		})
}

func countsOf(s manage.Span, count func() ([]counters.Line, error)) (*countAnswer, error) {
	lines, err := count()
	if err != nil {
		return nil, err
	}
	out := &countAnswer{Body: V1CountLines{From: s.From, Lines: []V1CountLine{}}}
	for _, line := range lines {
		shown := V1CountLine{Of: line.Name + line.Label} // one of them is ""
		for _, p := range line.Points {
			shown.Points = append(shown.Points, V1CountPoint{Count: p.Count, MeanMS: inMillis(p.Mean()), P50MS: inMillis(p.Quantile(0.5)),
				P95MS: inMillis(p.Quantile(0.95)), In: p.In, Out: p.Out, Errors: p.Errors})
		}
		out.Body.Lines = append(out.Body.Lines, shown)
	}
	return out, nil
}

func inMillis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
