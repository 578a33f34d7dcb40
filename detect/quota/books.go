package quota

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The kinds of row. The parts of their IDs are joined with an information separator, which no part
// contains.
const (
	rowProject  detect.RowKind = "quota.project"
	rowManifest detect.RowKind = "quota.manifest"
	rowBlob     detect.RowKind = "quota.blob"
	rowGone     detect.RowKind = "quota.gone"
	rowRefused  detect.RowKind = "quota.refused"

	separator = "\x1f"
)

// BoundedKinds returns the kinds of row whose least recently seen rows may be dropped. The number
// of other rows is that of the manifests and blobs in projects with a quota.
func BoundedKinds() []detect.RowKind { return []detect.RowKind{rowGone, rowRefused} }

func key(kind detect.RowKind, parts ...string) detect.Key {
	return detect.Key{Kind: kind, ID: strings.Join(parts, separator)}
}

// manifestRow is a manifest in a repository.
type manifestRow struct {
	Own     int64    `json:"own,omitempty"`
	Blobs   []string `json:"b,omitempty"` // each once
	Inexact bool     `json:"x,omitempty"` // there are more blobs, or their sizes are unknown
}

// blobRow is a blob, or a manifest, of a project.
type blobRow struct {
	Size int64 `json:"s"`
	Uses int   `json:"n"` // by manifest rows; 0: the row is deleted
}

// books are the rows that one run of Derive has read and changed.
type books struct {
	view      detect.View
	manifests map[detect.Key]*entry[manifestRow]
	blobs     map[detect.Key]*entry[blobRow]
	projects  map[detect.Key]*entry[Usage]
	gone      []detect.Row
	events    []detect.Event
}

// entry is a row in the books. If row is nil, it does not exist.
type entry[T any] struct {
	row     *T
	changed bool
}

func newBooks(v detect.View) *books {
	return &books{view: v, manifests: map[detect.Key]*entry[manifestRow]{}, blobs: map[detect.Key]*entry[blobRow]{}, projects: map[detect.Key]*entry[Usage]{}}
}

// find returns a row of the books. It reads one that is not in them yet.
func find[T any](v detect.View, rows map[detect.Key]*entry[T], k detect.Key) (*entry[T], error) {
	if e := rows[k]; e != nil {
		return e, nil
	}
	row, ok, err := v.Get(k)
	if err != nil {
		return nil, err
	}
	e := new(entry[T])
	if ok {
		e.row = new(T)
		if err := json.Unmarshal(row.Value, e.row); err != nil {
			return nil, fmt.Errorf("reading a row of kind %s: %w", k.Kind, err)
		}
	}
	rows[k] = e
	return e, nil
}

func (b *books) project(upstream, project string) (*Usage, error) {
	e, err := find(b.view, b.projects, key(rowProject, upstream, project))
	if err != nil {
		return nil, err
	}
	if e.row == nil {
		e.row = new(Usage)
	}
	return e.row, nil
}

// touch marks a project's row as changed. The project must be in the books.
func (b *books) touch(upstream, project string) {
	b.projects[key(rowProject, upstream, project)].changed = true
}

// reset removes the levels that a project's usage has fallen below.
func (b *books) reset(upstream, project string, r Rule) {
	if e := b.projects[key(rowProject, upstream, project)]; e != nil && e.row != nil {
		e.row.reset(r)
	}
}

func (b *books) add(e detect.Event) { b.events = append(b.events, e) }

// change updates the books for a change of a manifest.
func (b *books) change(m *detect.ManifestChange) error {
	e, err := find(b.view, b.manifests, key(rowManifest, m.Upstream, m.Repository, m.Digest))
	switch {
	case err != nil:
		return err
	case m.Gone && e.row == nil, !m.Gone && e.row != nil && (!e.row.Inexact || !better(m, e.row)):
		return nil
	}
	if overtaken, err := b.overtaken(m); err != nil || overtaken {
		return err
	}
	project := detect.Project(m.Repository)
	u, err := b.project(m.Upstream, project)
	if err != nil {
		return err
	}
	b.touch(m.Upstream, project)
	if u.Since.IsZero() {
		u.Since = m.At
	}
	if e.row != nil {
		if err := b.release(u, m, e.row); err != nil {
			return err
		}
	}
	e.row, e.changed = nil, true
	if m.Gone {
		b.gone = append(b.gone, detect.Row{Key: key(rowGone, m.Upstream, m.Repository, m.Digest), Value: []byte("{}"), Seen: m.At})
		return nil
	}
	e.row = rowOf(m)
	return b.use(u, m, e.row)
}

// overtaken reports whether a manifest that a read showed was deleted after the read.
func (b *books) overtaken(m *detect.ManifestChange) (bool, error) {
	if m.Gone || !m.Shown {
		return false, nil
	}
	row, ok, err := b.view.Get(key(rowGone, m.Upstream, m.Repository, m.Digest))
	return ok && !row.Seen.Before(m.At), err
}

// better reports whether a change has more of the manifest's sizes than its row.
func better(m *detect.ManifestChange, row *manifestRow) bool {
	return m.Read && (row.Own == 0 || len(m.Sizes) >= len(m.Blobs) && !m.More)
}

// rowOf returns the row of a manifest.
func rowOf(m *detect.ManifestChange) *manifestRow {
	row := &manifestRow{Own: m.Own, Inexact: !m.Read || m.More || len(m.Sizes) < len(m.Blobs)}
	if len(m.Sizes) < len(m.Blobs) {
		return row // written by an older version
	}
	row.Blobs = slices.DeleteFunc(slices.Clone(m.Blobs), func(d string) bool { return d == "" || d == m.Digest })
	slices.Sort(row.Blobs)
	row.Blobs = slices.Compact(row.Blobs)
	return row
}

// use adds a manifest and its blobs to the usage.
func (b *books) use(u *Usage, m *detect.ManifestChange, row *manifestRow) error {
	u.Manifests++
	if row.Inexact {
		u.Inexact++
	}
	if err := b.count(u, m, m.Digest, row.Own, 1); err != nil {
		return err
	}
	sizes := make(map[string]int64, len(m.Sizes))
	for i, digest := range m.Blobs[:min(len(m.Blobs), len(m.Sizes))] {
		sizes[digest] = m.Sizes[i]
	}
	for _, digest := range row.Blobs {
		if err := b.count(u, m, digest, sizes[digest], 1); err != nil {
			return err
		}
	}
	return nil
}

// release subtracts a manifest, and its blobs that no other manifest names, from the usage.
func (b *books) release(u *Usage, m *detect.ManifestChange, row *manifestRow) error {
	u.Manifests--
	if row.Inexact {
		u.Inexact--
	}
	if err := b.count(u, m, m.Digest, 0, -1); err != nil {
		return err
	}
	for _, digest := range row.Blobs {
		if err := b.count(u, m, digest, 0, -1); err != nil {
			return err
		}
	}
	return nil
}

// count adds uses, which may be negative, to a blob. The first use adds its size to the usage, and
// the end of the last one subtracts it.
func (b *books) count(u *Usage, m *detect.ManifestChange, digest string, size int64, uses int) error {
	e, err := find(b.view, b.blobs, key(rowBlob, m.Upstream, detect.Project(m.Repository), digest))
	if err != nil {
		return err
	}
	if e.row == nil {
		e.row = new(blobRow)
	}
	e.changed = true
	if uses > 0 && e.row.Size == 0 { // a new blob, or one of unknown size
		e.row.Size = min(size, maxBlob)
		u.Used += e.row.Size
	}
	if e.row.Uses += uses; e.row.Uses <= 0 {
		u.Used -= e.row.Size
		*e.row = blobRow{}
	}
	return nil
}

// maxBlob bounds the size of one digest, whatever a manifest claims. No blob has a pebibyte, and
// the sum of 8,000 of these does not overflow.
const maxBlob = 1 << 50

// changes returns the changed rows, ordered by key, and the events.
func (b *books) changes() detect.Changes {
	c := detect.Changes{Events: b.events, Put: b.gone}
	write(&c, b.manifests, func(*manifestRow) bool { return false })
	write(&c, b.blobs, func(r *blobRow) bool { return r.Uses == 0 })
	write(&c, b.projects, func(*Usage) bool { return false })
	slices.SortFunc(c.Put, func(x, y detect.Row) int { return compareKeys(x.Key, y.Key) })
	slices.SortFunc(c.Delete, compareKeys)
	return c
}

func compareKeys(x, y detect.Key) int {
	return cmp.Or(cmp.Compare(x.Kind, y.Kind), cmp.Compare(x.ID, y.ID))
}

// write adds the changed rows. over reports whether a row is no longer needed.
func write[T any](c *detect.Changes, rows map[detect.Key]*entry[T], over func(*T) bool) {
	for k, e := range rows {
		switch {
		case !e.changed:
		case e.row == nil || over(e.row):
			c.Delete = append(c.Delete, k)
		default:
			value, _ := json.Marshal(e.row) // these types always encode
			c.Put = append(c.Put, detect.Row{Key: k, Value: value})
		}
	}
}
