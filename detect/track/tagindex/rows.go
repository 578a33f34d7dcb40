package tagindex

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// TagRow is the value of the row of a tag. Digest "" means that nothing stands there.
type TagRow struct {
	Digest string    `json:"d,omitempty"`
	At     time.Time `json:"at"`         // when the upstream said so
	Wrote  time.Time `json:"w,omitzero"` // the time of the newest settled write
}

// ManifestRow is the value of the row of a manifest: all of it but its annotations. If only its
// digest is known, the kind of the artifact is "".
type ManifestRow struct {
	Artifact detect.Artifact `json:"a"`
	Config   string          `json:"c,omitempty"`
	Layers   []string        `json:"l,omitempty"`
	Sizes    []int64         `json:"ls,omitempty"`   // of Layers, then of Config
	Book     bool            `json:"book,omitempty"` // an index that only fallback tags have named
}

// RepositoryRow is the value of the row of a repository.
type RepositoryRow struct {
	First time.Time `json:"first"` // when it was first seen
}

// ChartRow is the value of the row of a chart.
type ChartRow struct {
	Chart detect.Chart `json:"chart"`
	// the tenant whose index.yaml lists an archive that is elsewhere
	Tenant string `json:"tenant,omitempty"`
}

// NewRow encodes a value, which the types of rows always allow. Characters are not escaped for
// HTML, so that a row is not six times as long as what it was made of.
func NewRow(k detect.Key, value any, seen time.Time) detect.Row {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(value); err != nil {
		return detect.Row{Key: k, Value: []byte("{}"), Seen: seen}
	}
	return detect.Row{Key: k, Value: bytes.TrimSuffix(b.Bytes(), []byte("\n")), Seen: seen}
}

// Read reads and decodes a row. ok is false if there is none. A row that cannot be decoded counts
// as none: another version has written it.
func Read[T any](v detect.View, k detect.Key) (value T, ok bool, err error) {
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

// RowOf returns what is stored of a manifest. ReadManifest has bounded it.
func RowOf(m *detect.Manifest) *ManifestRow {
	row := &ManifestRow{Artifact: m.Artifact, Config: m.Config, Layers: m.Layers, Sizes: m.Sizes}
	row.Artifact.Annotations = nil
	return row
}

// Manifest returns the manifest in a row.
func (r *ManifestRow) Manifest() *detect.Manifest {
	return &detect.Manifest{Artifact: r.Artifact, Config: r.Config, Layers: r.Layers, Sizes: r.Sizes}
}
