package notify

import (
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// TestTrouble: since the first failure, why by the last, and over with the first success; also
// after a restart.
func TestTrouble(t *testing.T) {
	begun := time.Date(2026, 11, 28, 10, 0, 0, 0, time.UTC)
	var trouble failureState
	trouble.note(begun, webhook.Result{Outcome: webhook.Retry, Reason: webhook.ReasonTimeout, Err: "no answer within 15s"})
	trouble.note(begun.Add(time.Minute), webhook.Result{Outcome: webhook.Permanent, Status: 400, Err: "answered 400"})
	if !trouble.Since.Equal(begun) || trouble.Why != "400 Bad Request" {
		t.Errorf("%+v", trouble)
	}
	c := circuit{open: true, retryAt: begun.Add(time.Hour)}
	if again := readFailure(c.state(trouble)); !again.Since.Equal(begun) || again.Why != trouble.Why {
		t.Errorf("after a restart: %+v", again)
	}
	if s := readCircuit(c.state(trouble)); !s.Open || !s.RetryAt.Equal(c.retryAt) {
		t.Errorf("the circuit after a restart: %+v", s)
	}
	trouble.note(begun, webhook.Result{Outcome: webhook.Retry, Err: strings.Repeat("ü", longestWhy)})
	if len(trouble.Why) > longestWhy || !strings.HasSuffix(trouble.Why, "ü") {
		t.Errorf("%d bytes", len(trouble.Why))
	}
	if trouble.note(begun, webhook.Result{Outcome: webhook.Delivered, Status: 200}); !trouble.Since.IsZero() || trouble.Why != "" {
		t.Errorf("after a success: %+v", trouble)
	}
}
