package notify

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// failureState records since when a receiver has been failing, and why. Its zero value means that
// it does not fail. The lane's lock guards it.
type failureState struct {
	Since time.Time `json:"failing_since,omitzero"`
	Why   string    `json:"failing_why,omitempty"`
}

const longestWhy = 400 // bytes

// note records the result of an attempt that began at the given time.
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

// whyFailed describes a failed attempt for people.
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

// readFailure decodes the failure state that is stored with the circuit.
func readFailure(state []byte) (t failureState) {
	if json.Unmarshal(state, &t) != nil {
		return failureState{}
	}
	return t
}
