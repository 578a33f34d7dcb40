package track

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// tagRow is the value of a row of kind tag. Digest "" means that nothing stands there.
type tagRow struct {
	Digest string    `json:"d,omitempty"`
	At     time.Time `json:"at"`         // when the upstream said so
	Wrote  time.Time `json:"w,omitzero"` // the time of the newest settled write
}

type manifestRow struct {
	Artifact detect.Artifact `json:"a"`
	Config   string          `json:"c,omitempty"`
	Layers   []string        `json:"l,omitempty"`
	Sizes    []int64         `json:"ls,omitempty"`   // of Layers, then of Config
	Own      int64           `json:"own,omitempty"`  // bytes of the manifest itself
	Book     bool            `json:"book,omitempty"` // an index that only fallback tags have named
}

type repositoryRow struct {
	First time.Time `json:"first"`
}

// heldRow is an event that waits.
type heldRow struct {
	Event  detect.Event `json:"event"`
	Client string       `json:"client"`
	Since  time.Time    `json:"since"`
	Tag    string       `json:"tag,omitempty"`   // the tag that a dummy of regctl may be deleting
	Stood  string       `json:"stood,omitempty"` // the digest on which that tag stood
}

type refusedRow struct {
	Digest string    `json:"d,omitempty"`
	At     time.Time `json:"at"`
}

type settledRow struct {
	Event string    `json:"event"`
	At    time.Time `json:"at"`             // when it was settled
	Wrote time.Time `json:"wrote,omitzero"` // the time of its request
}

type chartRow struct {
	Chart detect.Chart `json:"chart"`
	// the tenant whose index.yaml lists an archive that lies elsewhere
	Tenant string `json:"tenant,omitempty"`
}

// newRow encodes a value, which the types above always allow. Characters are not escaped for HTML,
// so that a row is not six times as long as what it was made of.
func newRow(k detect.Key, value any, seen time.Time) detect.Row {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return detect.Row{Key: k, Value: []byte("{}"), Seen: seen}
	}
	return detect.Row{Key: k, Value: bytes.TrimSuffix(b.Bytes(), []byte("\n")), Seen: seen}
}

// read reads and decodes a row. ok is false if there is none. A row that cannot be decoded counts
// as none: another version has written it.
func read[T any](v detect.View, k detect.Key) (value T, ok bool, err error) {
	row, ok, err := v.Get(k)
	if err != nil || !ok {
		return value, false, err
	}
	if json.Unmarshal(row.Value, &value) != nil {
		var zero T
		return zero, false, nil
	}
	return value, true, nil
}

// rowOf returns what is kept of a manifest: all but its annotations. ReadManifest has bounded it.
func rowOf(m *detect.Manifest, own int64) *manifestRow {
	return &manifestRow{Artifact: m.Artifact, Config: m.Config, Layers: m.Layers, Sizes: m.Sizes, Own: own}
}

// manifest returns the manifest in a row.
func (r *manifestRow) manifest() *detect.Manifest {
	return &detect.Manifest{Artifact: r.Artifact, Config: r.Config, Layers: r.Layers, Sizes: r.Sizes}
}
