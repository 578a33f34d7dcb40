package manage

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/counters"
	"github.com/bellbuoy/bellbuoy/notify/store/sqlite"
)

// TestCountsInScope: an account gets the counts of its projects and webhooks. Traffic is for
// administrators.
func TestCountsInScope(t *testing.T) {
	s, err := sqlite.Open(t.Context(), sqlite.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	stored := notify.NewWebhooks(s)
	d := NewDesk(Parts{Stored: stored, Numbers: notify.NewNumbers(s, zap.NewNop()), Log: zap.NewNop(),
		Running: NewRunning(stored, func(*notify.Set) {}, zap.NewNop())})
	var total counters.Point
	d.Counters = counters.New(counters.Options{Rows: s, Replica: "one", Log: zap.NewNop(),
		Traffic: func(yield func(string, counters.Point)) { yield("registry", total) }})
	numbers := map[string]int64{}
	for _, project := range []string{"team", "team-two", "other"} {
		w, err := stored.Make(t.Context(), notify.Stored{Project: project, Name: "ci", Definition: []byte(`{}`)})
		if err != nil {
			t.Fatal(err)
		}
		numbers[project] = w.Number
		d.Counters.Event(project, "PUSH_ARTIFACT")
		d.Counters.Attempt(w.Key, "delivered", time.Millisecond)
		d.Counters.Attempt(w.Key, "retry", time.Millisecond)
	}
	total = counters.Point{Count: 5}
	ops, dev := access.Principal{Name: "ops", Administrator: true}, access.Principal{Name: "dev", Projects: []string{"team*"}}
	span := Span{From: time.Now(), Step: time.Hour, Steps: 1}
	for _, tt := range []struct {
		what  string
		lines func() ([]counters.Line, error)
		want  string
		err   error
	}{
		{"events, ops", func() ([]counters.Line, error) { return d.EventCounts(t.Context(), ops, "", span) }, "[PUSH_ARTIFACT 3]", nil},
		{"events, dev", func() ([]counters.Line, error) { return d.EventCounts(t.Context(), dev, "", span) }, "[PUSH_ARTIFACT 2]", nil},
		{"events of a project, dev", func() ([]counters.Line, error) { return d.EventCounts(t.Context(), dev, "team", span) }, "[PUSH_ARTIFACT 1]", nil},
		{"events of another's project, dev", func() ([]counters.Line, error) { return d.EventCounts(t.Context(), dev, "other", span) }, "[]", ErrNotFound},
		{"deliveries, ops", func() ([]counters.Line, error) { return d.DeliveryCounts(t.Context(), ops, 0, span) }, "[delivered 3 retry 3]", nil},
		{"deliveries, dev", func() ([]counters.Line, error) { return d.DeliveryCounts(t.Context(), dev, 0, span) }, "[delivered 2 retry 2]", nil},
		{"deliveries of a webhook, dev", func() ([]counters.Line, error) {
			return d.DeliveryCounts(t.Context(), dev, numbers["team-two"], span)
		}, "[delivered 1 retry 1]", nil},
		{"deliveries of another's webhook, dev", func() ([]counters.Line, error) { return d.DeliveryCounts(t.Context(), dev, numbers["other"], span) }, "[]", ErrNotFound},
		{"traffic, ops", func() ([]counters.Line, error) { return d.TrafficCounts(t.Context(), ops, span) }, "[registry 5]", nil},
		{"traffic, dev", func() ([]counters.Line, error) { return d.TrafficCounts(t.Context(), dev, span) }, "[]", ErrForbidden},
	} {
		lines, err := tt.lines()
		shown := []string{}
		for _, line := range lines {
			shown = append(shown, fmt.Sprint(line.Name+line.Label, " ", line.Points[0].Count))
		}
		slices.Sort(shown)
		if got := fmt.Sprint(shown); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("%s: %s %v, want %s %v", tt.what, got, err, tt.want, tt.err)
		}
	}
}

func TestHealthCounts(t *testing.T) {
	var h Health
	if h.count(counters.Success{}); h.SuccessRate != nil || h.Tried != 0 {
		t.Errorf("%+v", h)
	}
	if h.count(counters.Success{Tried: 4, Delivered: 3}); h.SuccessRate == nil || *h.SuccessRate != 0.75 || h.Tried != 4 {
		t.Errorf("%+v", h)
	}
}
