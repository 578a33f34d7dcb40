package track

import (
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// The kinds of row of writes, and the parts of their IDs. After the colon: what the row stands for,
// and how long it lives. These rows end by themselves.
const (
	// upstream, hint, repository, reference, client, intent: a write; until its outcome is
	// known, or 7 days
	rowIntent detect.RowKind = "intent"
	// upstream, hint, repository, reference, digest, action, client: a write that was settled
	// without an answer, so that a retry joins it; 10 min. With "undone" and an intent instead
	// of action and client: a write that the upstream was shown not to have done
	rowSettled detect.RowKind = "done"
	// upstream, hint, repository, reference, digest, client: a push whose answer the client may
	// not have got; 10 min at most
	rowAnswer detect.RowKind = "answer"
	// upstream, hint, repository, digest[, tag]: an event that waits: of a push by digest; with
	// a tag, of what may be a dummy of regctl
	rowHeld detect.RowKind = "held"
	// upstream, hint, repository, tag, client: the DELETE of a tag that the upstream refused;
	// 60 s
	rowRefused detect.RowKind = "refused"
	// upstream, hint, repository, client: a push that is under way at some replica; as long as
	// it is
	rowBusy detect.RowKind = "busy"
)

// BoundedKinds returns the kinds of row whose least recently seen rows may be dropped.
func BoundedKinds() []detect.RowKind { return tagindex.Kinds() }

// heldRow is an event that waits.
type heldRow struct {
	Event  detect.Event `json:"event"`
	Client string       `json:"client"`
	Since  time.Time    `json:"since"`
	Tag    string       `json:"tag,omitempty"`   // the tag that a dummy of regctl may be deleting
	Stood  string       `json:"stood,omitempty"` // the digest on which that tag stood
}

func (w *write) heldKey(digest string) detect.Key { return w.Key(rowHeld, digest) }

// refusedRow is the DELETE of a tag that the upstream refused.
type refusedRow struct {
	Digest string    `json:"d,omitempty"` // on which the tag stood
	At     time.Time `json:"at"`
}

// settledRow is a write that was settled.
type settledRow struct {
	Event string    `json:"event"`
	At    time.Time `json:"at"`             // when it was settled
	Wrote time.Time `json:"wrote,omitzero"` // the time of its request
}
