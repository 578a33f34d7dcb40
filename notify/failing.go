package notify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// trouble is since when a receiver has taken nothing, and why. Its zero value is none. The owner of the lane guards it.
type failureState struct {
	Since time.Time `json:"failing_since,omitzero"`
	Why   string    `json:"failing_why,omitempty"`
}

const longestWhy = 400 // bytes

// note takes the result of an attempt that began at that time.
func (t *failureState) note(at time.Time, r webhook.Result) {
	if r.Outcome == webhook.Delivered {
		*t = failureState{}
		return
	}
	if t.Since.IsZero() {
		t.Since = at
	}
	t.Why = whyFailed(r)
}

// whyFailed is what a person wants to read of a failed attempt.
func whyFailed(r webhook.Result) string {
	why := r.Err
	if r.Status != 0 {
		why = fmt.Sprintf("%d %s", r.Status, http.StatusText(r.Status))
	}
	if why == "" {
		why = string(r.Reason)
	}
	return strings.ToValidUTF8(why[:min(len(why), longestWhy)], "")
}

// readTrouble is what is stored of it beside the circuit.
func readFailure(state []byte) (t failureState) {
	if json.Unmarshal(state, &t) != nil {
		return failureState{}
	}
	return t
}
