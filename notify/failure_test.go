package notify

import (
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// TestFailureState: a receiver fails since its first failure, for the reason of the last one, until
// the first success. The state survives a restart.
func TestFailureState(t *testing.T) {
	begun := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
	var state failureState
	state.note(begun, webhook.Result{Outcome: webhook.Retry, Reason: webhook.ReasonTimeout, Err: "no answer within 15s"})
	state.note(begun.Add(time.Minute), webhook.Result{Outcome: webhook.Permanent, Status: 400, Err: "answered 400"})
	if !state.Since.Equal(begun) || state.Why != "400 Bad Request" {
		t.Errorf("%+v", state)
	}
	c := circuit{open: true, retryAt: begun.Add(time.Hour)}
	if again := readFailure(c.state(state)); !again.Since.Equal(begun) || again.Why != state.Why {
		t.Errorf("after a restart: %+v", again)
	}
	if s := readCircuit(c.state(state)); !s.Open || !s.RetryAt.Equal(c.retryAt) {
		t.Errorf("the circuit after a restart: %+v", s)
	}
	state.note(begun, webhook.Result{Outcome: webhook.Retry, Err: strings.Repeat("ü", longestWhy)})
	if len(state.Why) > longestWhy || !strings.HasSuffix(state.Why, "ü") {
		t.Errorf("%d bytes", len(state.Why))
	}
	if state.note(begun, webhook.Result{Outcome: webhook.Delivered, Status: 200}); !state.Since.IsZero() || state.Why != "" {
		t.Errorf("after a success: %+v", state)
	}
}
