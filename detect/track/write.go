package track

import (
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// What a write does.
const (
	doPut    = "put"
	doDelete = "delete"
	doUpload = "upload"
	doRemove = "remove"
)

// write is the content of the row of an intent, as JSON.
type write struct {
	ID             string    `json:"id"`
	Event          string    `json:"event"` // the ID that its event will have
	At             time.Time `json:"at"`
	Do             string    `json:"do"`
	tagindex.Place           // flattened
	Reference      string    `json:"ref"` // tag or digest; a chart's name/version
	Tags           []string  `json:"tags,omitempty"`
	Digest         string    `json:"digest,omitempty"` // of the bytes put, or the one deleted
	MediaType      string    `json:"media_type,omitempty"`

	// What the bytes of a put say. They are read when the upstream has accepted them, and are
	// not part of the row: until then anybody may have sent them.
	Manifest *tagindex.ManifestRow `json:"-"`
	Others   []string              `json:"-"` // digests of further children
	Notes    map[string]string     `json:"-"`
	Opaque   bool                  `json:"-"` // the bytes were read, and are no manifest

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
	Known        bool                  `json:"known,omitempty"`
	Absent       bool                  `json:"absent,omitempty"`
	Digest       string                `json:"digest,omitempty"`
	MediaType    string                `json:"media_type,omitempty"`
	Size         int64                 `json:"size,omitempty"`
	Manifest     *tagindex.ManifestRow `json:"manifest,omitempty"`
	Tags         []string              `json:"tags,omitempty"`
	TagsComplete bool                  `json:"tags_complete,omitempty"`
	// put to a tag: the digest itself was there already
	Present bool `json:"present,omitempty"`
}

func (t *writes) newWrite(op *detect.Operation) write {
	w := write{
		ID: detect.NewID(), Event: detect.NewID(), At: op.At,
		Place:     tagindex.PlaceOf(op),
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
		} else if w.Digest == "" || detect.DigestAlgorithm(w.Digest) != detect.DigestAlgorithm(op.Reference) {
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
	w.Manifest, w.Others, w.Notes, w.MediaType = tagindex.RowOf(m), m.Others, m.Annotations, m.MediaType
}

// row returns the row of an intent, which is at most MaxIntent bytes long. What is left out of a
// longer one is lost only if this process ends before the write is settled.
func (w write) row(k detect.Key) detect.Row {
	row := tagindex.NewRow(k, w, time.Time{})
	if len(row.Value) <= detect.MaxIntent {
		return row
	}
	if m := w.Before.Manifest; m != nil {
		a := m.Artifact
		a.Children, a.Platforms = nil, nil
		w.Before.Manifest = &tagindex.ManifestRow{Artifact: a, Book: m.Book}
		row = tagindex.NewRow(k, w, time.Time{})
	}
	if len(row.Value) > detect.MaxIntent { // the tag index has them too, unless it forgot some
		w.Before.Tags, w.Before.TagsComplete = nil, false
		row = tagindex.NewRow(k, w, time.Time{})
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
		b.Manifest = tagindex.RowOf(m)
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
	row, ok, err := tagindex.Read[tagindex.ChartRow](v, w.ChartKey(tagindex.ChartFile(w.Chart)))
	if ok {
		w.Before.Known, w.Before.Digest, w.Before.Size = true, row.Chart.Digest, row.Chart.Size
	}
	return err
}

func (w *write) lookBeforePut(v detect.View) error {
	_, present, err := v.Get(w.ManifestKey(w.Digest))
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
	row, ok, err := tagindex.Read[tagindex.TagRow](v, w.TagKey(w.Tags[0]))
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
		_, ok, err := v.Get(w.ManifestKey(w.Digest))
		if ok {
			w.Before.Known, w.Before.Digest = true, w.Digest
		}
		return err
	}
	row, ok, err := tagindex.Read[tagindex.TagRow](v, w.TagKey(w.Reference))
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
	return w.Key(rowIntent, w.Reference, w.Client.ID(), w.ID)
}

func (w *write) doneKey() detect.Key {
	return w.Key(rowSettled, w.Reference, w.Digest, w.Do, w.Client.ID())
}
