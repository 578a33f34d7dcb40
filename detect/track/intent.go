package track

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// An intent stands for a write whose outcome is not known yet. It is a row from before the last
// byte of the write goes upstream until the outcome is known. The row holds all that the event
// needs, so that another process can finish what this one began.
//
//	        Intend             Settle: a clear answer
//	nothing ─────▶ in flight ─────────────────────────▶ settled: the event or none,
//	                 │   │ ▲ └─ another try took the       ▲     in one commit with
//	            Drop │   │ │    row: joined, no event      │     the end of the row
//	                 ▼   │ │                               │
//	            dropped  │ └ a retry is an intent          │ the upstream was asked, a read
//	                     │   of its own                    │ showed it, or a retry's 404,
//	           LeaveOpen │ or a crash                      │ 409 or 412 proved it (event:
//	                     ▼                                 │ retries join for 10 min more)
//	                    open ──────────────────────────────┘
//	                    └──┘ the upstream does not say: asked again, after growing pauses
//
// A settlement that finds the row gone makes no event: another try of the same write took the row,
// and made the event. So there is one event, in whatever order things happen.

// Intent is a write on its way. The proxy holds it from Intend to Settle, LeaveOpen or Drop.
type Intent struct {
	ID       string // UUIDv7
	w        write
	key      detect.Key
	durable  bool     // its row was committed
	transfer Transfer // the write makes its client busy
}

// What a write does.
const (
	doPut    = "put"
	doDelete = "delete"
	doUpload = "upload"
	doRemove = "remove"
)

// write is the content of the row of an intent, as JSON.
type write struct {
	ID        string    `json:"id"`
	Event     string    `json:"event"` // the ID that its event will have
	At        time.Time `json:"at"`
	Do        string    `json:"do"`
	place               // flattened
	Reference string    `json:"ref"` // tag or digest; a chart's name/version
	Tags      []string  `json:"tags,omitempty"`
	Digest    string    `json:"digest,omitempty"` // of the bytes put, or the one deleted
	MediaType string    `json:"media_type,omitempty"`

	// What the bytes of a put say. They are read when the upstream has accepted them, and are
	// not part of the row: until then anybody may have sent them.
	Manifest *manifestRow      `json:"-"`
	Others   []string          `json:"-"` // digests of further children
	Notes    map[string]string `json:"-"`
	Opaque   bool              `json:"-"` // the bytes were read, and are no manifest

	Chart *detect.Chart `json:"chart,omitempty"`
	// upload: archives of which only the upstream can say whether it holds them
	Claims []detect.Chart `json:"claims,omitempty"`
	// the ID of the intent that asks about the claims
	Asks string `json:"asks,omitempty"`
	// in the intent that asks about claims: when the upstream accepted the upload
	Took time.Time `json:"took,omitzero"`
	// in the intent that asks about claims: whether a chart of the upload has had its event
	Named bool `json:"named,omitempty"`

	Client     detect.Client   `json:"client"`
	External   detect.External `json:"external"`
	RequestID  string          `json:"request_id,omitempty"`
	Visibility string          `json:"visibility,omitempty"`
	Before     before          `json:"before"`
}

// before is what stood at the reference when the intent was made, as far as it is known.
type before struct {
	Known        bool         `json:"known,omitempty"`
	Absent       bool         `json:"absent,omitempty"`
	Digest       string       `json:"digest,omitempty"`
	MediaType    string       `json:"media_type,omitempty"`
	Size         int64        `json:"size,omitempty"`
	Manifest     *manifestRow `json:"manifest,omitempty"`
	Tags         []string     `json:"tags,omitempty"`
	TagsComplete bool         `json:"tags_complete,omitempty"`
	// put to a tag: the digest itself was there already
	Present bool `json:"present,omitempty"`
}

// writes make intents and settle them.
type writes struct {
	*services
	tags         *tagIndex
	reads        *reads
	inFlight     inFlight    // intents that the proxy holds
	open         openIntents // intents whose outcome is unknown
	acknowledged acknowledged
	reading      chan struct{} // one element for each manifest that is being read back
	// when the next untagged push is due, as far as this process knows, in Unix nanoseconds; 0:
	// none waits
	nextUntagged atomic.Int64
	untagged     atomic.Int64
	givenUp      atomic.Int64
}

// Intend commits an intent for a manifest PUT or DELETE or a chart POST or DELETE. It must be
// called before the last byte goes upstream, when the body of the request is known (op.Sent or
// op.Upload) and op.Before is set. Where the store fails, Intend returns an intent that is only in
// memory, and an error that wraps detect.ErrStore; the caller decides whether to go on
// (store.on_failure). Every Intent ends in exactly one call of Settle, LeaveOpen or Drop.
func (t *writes) Intend(ctx context.Context, op *detect.Operation) (*Intent, error) {
	in := &Intent{w: t.newWrite(op)}
	in.ID = in.w.ID
	in.key = in.w.intentKey()
	t.inFlight.add(in)
	t.reads.busyWith(in, op)
	var final commitResult[write]
	// an observation of just now (the HEAD of a tag) is what stood before
	seen := t.tags.learned.takeScope(in.w.scope())
	made, now := in.w, time.Now()
	err := t.ledger.Commit(ctx, made.scope(), func(v detect.View) (detect.Changes, error) {
		tx := transaction{view: v, now: now}
		if err := learnAll(&tx, seen); err != nil {
			return detect.Changes{}, err
		}
		w := made
		if err := w.lookBefore(&tx); err != nil {
			return detect.Changes{}, err
		}
		final.set(w)
		tx.put(w.row(in.key))
		return tx.Changes, nil
	})
	if w, ok := final.get(); ok {
		in.w = w
	}
	if err != nil {
		return in, fmt.Errorf("committing an intent: %w", err)
	}
	in.durable = true
	return in, nil
}

func (t *writes) newWrite(op *detect.Operation) write {
	w := write{
		ID: newID(), Event: newID(), At: op.At,
		place:     placeOf(op),
		Reference: op.Reference, MediaType: op.Sent.MediaType,
		Client: op.Client, External: op.External, RequestID: op.ID,
		Visibility: t.visibility(op.Repository),
	}
	if w.At.IsZero() {
		w.At = time.Now()
	}
	switch op.Action {
	case detect.ManifestPut:
		w.Do, w.Tags, w.Digest = doPut, op.Tags, op.Sent.Digest
		if !detect.IsDigest(op.Reference) {
			w.Tags = []string{op.Reference}
		} else if w.Digest == "" || digestAlgorithm(w.Digest) != digestAlgorithm(op.Reference) {
			w.Digest = op.Reference
		}
	case detect.ManifestDelete:
		w.Do = doDelete
		if detect.IsDigest(op.Reference) {
			w.Digest = op.Reference
		}
	case detect.ChartPost:
		w.Do = doUpload
		w.readUpload(op.Upload)
	case detect.ChartDelete:
		w.Do, w.Chart = doRemove, &detect.Chart{Name: op.Chart, Version: op.Version}
		w.Reference = op.Chart + "/" + op.Version
	}
	w.Before = foundBefore(op.Before)
	return w
}

// readManifest reads the bytes of a put. The caller knows that the upstream has accepted them.
func (w *write) readManifest(b []byte, mediaType string) {
	m, err := detect.ReadManifest(b, mediaType)
	if err != nil {
		w.Opaque = true // its event has the upstream's digest and no more
		return
	}
	w.Manifest, w.Others, w.Notes, w.MediaType = rowOf(m, int64(len(b))), m.Others, m.Annotations, m.MediaType
	w.Manifest.Artifact.Annotations = nil
}

// row returns the row of an intent, which is at most MaxIntent bytes long. What is left out of a
// longer one is lost only if this process ends before the write is settled.
func (w write) row(k detect.Key) detect.Row {
	row := newRow(k, w, time.Time{})
	if len(row.Value) <= detect.MaxIntent {
		return row
	}
	if m := w.Before.Manifest; m != nil {
		a := m.Artifact
		a.Children, a.Platforms = nil, nil
		w.Before.Manifest = &manifestRow{Artifact: a, Own: m.Own, Book: m.Book}
		row = newRow(k, w, time.Time{})
	}
	if len(row.Value) > detect.MaxIntent { // the tag index has them too, unless it forgot some
		w.Before.Tags, w.Before.TagsComplete = nil, false
		row = newRow(k, w, time.Time{})
	}
	return row
}

func foundBefore(f *detect.Found) before {
	if f == nil {
		return before{}
	}
	b := before{
		Known: f.Absent || f.Digest != "", Absent: f.Absent, Digest: f.Digest, MediaType: f.MediaType, Size: f.Size,
		Tags: f.Tags, TagsComplete: f.TagsComplete,
	}
	if m, err := detect.ReadManifest(f.Manifest, f.MediaType); err == nil {
		m.Annotations = nil
		b.Manifest = rowOf(m, int64(len(f.Manifest)))
	}
	return b
}

// lookBefore completes what stood before from the tag index, where no look-up has shown it.
func (w *write) lookBefore(v detect.View) error {
	switch w.Do {
	case doPut:
		return w.lookBeforePut(v)
	case doDelete:
		return w.lookBeforeDelete(v)
	}
	if w.Before.Known || w.Chart.Name == "" {
		return nil
	}
	row, ok, err := read[chartRow](v, w.chartKey(chartFile(w.Chart)))
	if ok {
		w.Before.Known, w.Before.Digest, w.Before.Size = true, row.Chart.Digest, row.Chart.Size
	}
	return err
}

func (w *write) lookBeforePut(v detect.View) error {
	_, present, err := v.Get(w.manifestKey(w.Digest))
	if err != nil {
		return err
	}
	w.Before.Present = present
	if w.Before.Known || len(w.Tags) == 0 {
		if len(w.Tags) == 0 && present {
			w.Before.Known, w.Before.Digest = true, w.Digest
		}
		return nil
	}
	row, ok, err := read[tagRow](v, w.tagKey(w.Tags[0]))
	if ok {
		w.Before.Known, w.Before.Digest, w.Before.Absent = true, row.Digest, row.Digest == ""
	}
	return err
}

func (w *write) lookBeforeDelete(v detect.View) error {
	if w.Before.Known {
		return nil
	}
	if w.Digest != "" {
		_, ok, err := v.Get(w.manifestKey(w.Digest))
		if ok {
			w.Before.Known, w.Before.Digest = true, w.Digest
		}
		return err
	}
	row, ok, err := read[tagRow](v, w.tagKey(w.Reference))
	if ok {
		w.Before.Known, w.Before.Digest, w.Before.Absent = true, row.Digest, row.Digest == ""
	}
	return err
}

// same reports whether two writes may be tries of the same thing.
func (w *write) same(o *write) bool {
	return w.Do == o.Do && w.Reference == o.Reference && w.Digest == o.Digest && w.Client.ID() == o.Client.ID() && slices.Equal(w.Tags, o.Tags)
}

func (w *write) intentKey() detect.Key {
	return w.key(rowIntent, w.Reference, w.Client.ID(), w.ID)
}

func (w *write) doneKey() detect.Key {
	return w.key(rowSettled, w.Reference, w.Digest, w.Do, w.Client.ID())
}

// Settle ends an intent by a clear answer (2xx to 4xx). One commit adds the event and its
// deliveries, updates the tag index and removes the intent. An error that wraps detect.ErrStore
// means that the ledger will do it later; the client's answer need not wait for that.
func (t *writes) Settle(ctx context.Context, in *Intent, op *detect.Operation) error {
	defer t.inFlight.remove(in)
	out := in.w.answered(op)
	if out.done || out.status == http.StatusConflict || out.status == http.StatusPreconditionFailed {
		// 409 and 412 may prove that an earlier try was done
		t.understand(ctx, &in.w, op.Sent, out.digest)
	}
	t.reads.doneWith(in, out)
	return t.settle(ctx, in, out)
}

// LeaveOpen ends an intent whose outcome is unknown (5xx, a reset, a timeout). The upstream is
// asked at once, and again until it shows the outcome.
func (t *writes) LeaveOpen(in *Intent) {
	t.reads.doneWith(in, settlement{})
	t.inFlight.remove(in)
	if !t.open.add(in, time.Now()) && !in.durable {
		t.noteGivenUp(in.key)
	}
}

// Drop ends an intent that never reached the upstream. Where the store fails the row stays, and
// asking the upstream settles it.
func (t *writes) Drop(ctx context.Context, in *Intent) error {
	t.reads.doneWith(in, settlement{})
	defer t.inFlight.remove(in)
	if !in.durable {
		return nil
	}
	err := t.ledger.CommitLater(ctx, in.w.scope(), true, func(detect.View) (detect.Changes, error) {
		return detect.Changes{Delete: []detect.Key{in.key}}, nil
	})
	if err != nil {
		return fmt.Errorf("dropping an intent: %w", err)
	}
	return nil
}

// rowKey returns the key of the row of an intent, or nil if none was stored.
func (in *Intent) rowKey() *detect.Key {
	if !in.durable {
		return nil
	}
	return &in.key
}

func intentOf(row detect.Row) (*Intent, error) {
	in := &Intent{key: row.Key, durable: true}
	if err := json.Unmarshal(row.Value, &in.w); err != nil {
		return nil, fmt.Errorf("reading an intent: %w", err)
	}
	in.ID = in.w.ID
	return in, nil
}

func newID() string {
	id, err := uuid.NewV7()
	if err != nil { // no randomness: the system cannot run anything safely
		return uuid.NewString()
	}
	return id.String()
}

func placeOf(op *detect.Operation) place {
	return place{op.Upstream, op.Hint, op.Repository}
}

func chartFile(c *detect.Chart) string { return c.Name + "-" + c.Version + ".tgz" }

// askSoon opens the intents that ask about claims, so that the upstream is asked at once. If this
// process ends before, the next one finds their rows.
func (t *writes) askSoon(c detect.Changes) {
	for _, row := range c.Put {
		if row.Kind != rowIntent {
			continue
		}
		if in, err := intentOf(row); err == nil {
			t.open.add(in, time.Now())
		}
	}
}

func (t *writes) noteGivenUp(k detect.Key) {
	t.givenUp.Add(1)
	if tell := t.config().GivenUp; tell != nil {
		parts := strings.SplitN(k.ID, separator, 5)
		tell(parts[0], parts[min(2, len(parts)-1)], parts[min(3, len(parts)-1)])
	}
}
