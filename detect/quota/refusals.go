package quota

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/detect"
)

const (
	// refusals for one client in one repository without a longer pause belong to one push
	together   = 30 * time.Second
	maxRefused = 4096 // pairs of client and repository in memory
)

// Refusals records pushes that an upstream refuses because of its own quota: one QUOTA_EXCEED for
// each push and client, regardless of the number of refused blobs and of the client's retries.
type Refusals struct {
	ledger     detect.Ledger
	visibility atomic.Pointer[func(repository string) string]
	last       *lru.Cache[detect.Key, time.Time]
}

// NewRefusals returns Refusals that commit to the ledger.
func NewRefusals(l detect.Ledger) *Refusals {
	last, err := lru.New[detect.Key, time.Time](maxRefused)
	if err != nil {
		panic(err) // only for a size below 1
	}
	r := &Refusals{ledger: l, last: last}
	r.Configure(func(string) string { return "private" })
	return r
}

// Configure sets the function that returns the visibility of a repository.
func (r *Refusals) Configure(visibility func(repository string) string) {
	r.visibility.Store(&visibility)
}

// Note records an answered request if it was refused because of a quota. op has the answer, its
// body and its client. After an error the ledger commits later, unless it has no room for that.
func (r *Refusals) Note(ctx context.Context, op *detect.Operation) error {
	details, refused := Refused(op)
	if !refused {
		return nil
	}
	now := time.Now()
	k := key(rowRefused, op.Upstream, op.Repository, op.Client.ID())
	last, known := r.last.Get(k)
	r.last.Add(k, now)
	if known && now.Sub(last) < together {
		return nil
	}
	e := r.event(op, details)
	err := r.ledger.CommitLater(ctx, op.Upstream+"/"+op.Repository, false, func(v detect.View) (detect.Changes, error) {
		row, ok, err := v.Get(k)
		if err != nil || ok && now.Sub(row.Seen) < together {
			return detect.Changes{}, err // another replica has recorded it
		}
		return detect.Changes{Events: []detect.Event{e}, Put: []detect.Row{{Key: k, Value: []byte("{}"), Seen: now}}}, nil
	})
	if err != nil {
		return fmt.Errorf("committing the event of a push that was refused for a quota: %w", err)
	}
	return nil
}

// event returns the QUOTA_EXCEED of a refused push. Only a refused manifest has a tag or a digest.
func (r *Refusals) event(op *detect.Operation, details string) detect.Event {
	e := detect.Event{
		ID: detect.NewID(), Type: detect.QuotaExceed, At: op.At, Upstream: op.Upstream, External: op.External,
		Repository: op.Repository, Hint: op.Hint, Visibility: (*r.visibility.Load())(op.Repository),
		Client: op.Client, RequestID: op.ID, Quota: &detect.Quota{Project: detect.Project(op.Repository), Details: details},
	}
	if op.Action == detect.ManifestPut {
		e.Digest, e.Tags = op.Sent.Digest, op.Tags
		if detect.IsDigest(op.Reference) {
			e.Digest = op.Reference
		} else {
			e.Tags = []string{op.Reference}
		}
	}
	return e
}
