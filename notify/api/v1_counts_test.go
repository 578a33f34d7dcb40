package api

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// tally implements V1Counts.
type tally struct{ asked manage.Span }

func (c *tally) EventCounts(_ context.Context, by access.Principal, project string, s manage.Span) ([]counters.Line, error) {
	c.asked = s
	if project != "" && !by.May(project) {
		return nil, manage.ErrNotFound
	}
	return []counters.Line{{Label: "PUSH_ARTIFACT", Points: []counters.Point{{}, {Count: 3}}}}, nil
}

func (c *tally) DeliveryCounts(_ context.Context, _ access.Principal, webhook int64, s manage.Span) ([]counters.Line, error) {
	c.asked = s
	if webhook == 9 {
		return nil, manage.ErrNotFound
	}
	p := counters.Point{Count: 2, Posts: 2, Latency: 30 * time.Millisecond}
	p.Histogram[0], p.Histogram[2] = 1, 1
	return []counters.Line{{Label: "delivered", Points: []counters.Point{p}}}, nil
}

func (c *tally) TrafficCounts(_ context.Context, _ access.Principal, s manage.Span) ([]counters.Line, error) {
	c.asked = s
	if s.Steps == 100 {
		return nil, errors.New("a secret of the store")
	}
	return []counters.Line{{Name: "registry", Points: []counters.Point{{Count: 1, In: 2, Out: 3, Errors: 1}}}}, nil
}

func TestCountsOfV1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // the bubble's time begins at midnight
		time.Sleep(90 * time.Minute)
		c := &tally{}
		v := newV1()
		v.Counts = c
		h := v.Handler()
		at := func(hour, minute int) time.Time { return time.Date(2000, 1, 1, hour, minute, 0, 0, time.UTC) }
		for _, tt := range []struct {
			who    access.Principal
			path   string
			status int
			says   string
			asked  manage.Span
		}{
			{limited, "/counts/events?last=2", 200, `{"from":"2000-01-01T01:29:00Z","lines":[{"of":"PUSH_ARTIFACT","points":[{"count":0},{"count":3}]}]}`, manage.Span{From: at(1, 29), Step: time.Minute, Steps: 2}},
			{limited, "/counts/events?by=hour&last=2", 200, `"from":"2000-01-01T00:00:00Z"`, manage.Span{From: at(0, 0), Step: time.Hour, Steps: 2}},
			{limited, "/counts/events", 200, "", manage.Span{From: at(0, 31), Step: time.Minute, Steps: 60}},
			{limited, "/counts/events?project=nobodys", 404, "", manage.Span{From: at(0, 31), Step: time.Minute, Steps: 60}},
			{limited, "/counts/events?by=day", 422, "", manage.Span{}},
			{limited, "/counts/events?last=193", 422, "", manage.Span{}},
			{limited, "/counts/deliveries?last=1", 200, `[{"of":"delivered","points":[{"count":2,"mean_ms":15,"p50_ms":5,"p95_ms":50}]}]`, manage.Span{From: at(1, 30), Step: time.Minute, Steps: 1}},
			{limited, "/counts/deliveries?webhook=9&last=1", 404, "", manage.Span{From: at(1, 30), Step: time.Minute, Steps: 1}},
			{limited, "/counts/traffic", 403, "", manage.Span{}},
			{administrator, "/counts/traffic?last=1", 200, `[{"of":"registry","points":[{"count":1,"in":2,"out":3,"errors":1}]}]`, manage.Span{From: at(1, 30), Step: time.Minute, Steps: 1}},
			{administrator, "/counts/traffic?last=100", 500, "", manage.Span{From: at(1, 30).Add(-99 * time.Minute), Step: time.Minute, Steps: 100}},
		} {
			c.asked = manage.Span{}
			w := askV1(h, tt.who, http.MethodGet, tt.path, "")
			if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.says) || strings.Contains(w.Body.String(), "secret") || c.asked != tt.asked {
				t.Errorf("%s: %d %s of %+v, want %d %s of %+v", tt.path, w.Code, w.Body, c.asked, tt.status, tt.says, tt.asked)
			}
		}
	})
}
