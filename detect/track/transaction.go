package track

import (
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// transaction is one run of a function within a commit of the ledger. The result depends only on
// the View and on what was fixed before, so that the function can run again. What a transaction
// reads includes what it has changed.
type transaction struct {
	view detect.View
	detect.Changes
	dropped      map[detect.Key]bool // the keys in Delete
	cfg          Config
	now          time.Time
	w            write
	result       settlement
	learning     bool             // the rows come from observations, not from a write
	acknowledged bool             // the client has got the answer to its last push of the same
	subjectSeen  bool             // the manifest that an accessory belongs to is in the cache
	sizes        map[string]int64 // of the children of an index, as far as they are cached
}

// put stores a row.
func (tx *transaction) put(row detect.Row) {
	for i := range tx.Put {
		if tx.Put[i].Key == row.Key {
			tx.Put[i] = row
			return
		}
	}
	tx.Put = append(tx.Put, row)
}

// drop deletes a row.
func (tx *transaction) drop(k detect.Key) {
	tx.Put = slices.DeleteFunc(tx.Put, func(r detect.Row) bool { return r.Key == k })
	if !tx.dropped[k] {
		if tx.dropped == nil {
			tx.dropped = map[detect.Key]bool{}
		}
		tx.dropped[k] = true
		tx.Delete = append(tx.Delete, k)
	}
}

// Get reads a row as it will be after this transaction.
func (tx *transaction) Get(k detect.Key) (detect.Row, bool, error) {
	for i := range tx.Put {
		if tx.Put[i].Key == k {
			return tx.Put[i], true, nil
		}
	}
	if tx.dropped[k] {
		return detect.Row{}, false, nil
	}
	return tx.view.Get(k)
}

// Scan reads rows by prefix as they will be after this transaction.
func (tx *transaction) Scan(kind detect.RowKind, prefix string, limit int) ([]detect.Row, error) {
	rows, err := tx.view.Scan(kind, prefix, limit)
	if err != nil || len(tx.Put)+len(tx.Delete) == 0 {
		return rows, err
	}
	found := make([]detect.Row, 0, len(rows))
	for _, r := range rows {
		if !tx.dropped[r.Key] && !slices.ContainsFunc(tx.Put, func(p detect.Row) bool { return p.Key == r.Key }) {
			found = append(found, r)
		}
	}
	for _, r := range tx.Put {
		if r.Kind == kind && strings.HasPrefix(r.ID, prefix) {
			found = append(found, r)
		}
	}
	slices.SortFunc(found, func(a, b detect.Row) int { return strings.Compare(a.ID, b.ID) })
	return found, nil
}

// emit adds an event, unless its kind is muted.
func (tx *transaction) emit(e detect.Event) {
	if !tx.cfg.Accessories && e.Artifact != nil && e.Artifact.Kind.Accessory() {
		return
	}
	tx.Events = append(tx.Events, e)
}

// event returns the event of the write, without the fields of its type. It adds the row of a
// repository that is new.
func (tx *transaction) event(typ detect.Type) (detect.Event, error) {
	first, ok, err := read[repositoryRow](tx, tx.w.repositoryKey())
	if err != nil {
		return detect.Event{}, err
	}
	if !ok {
		first.First = tx.w.At
		tx.put(newRow(tx.w.repositoryKey(), first, tx.now))
	}
	return detect.Event{
		ID: tx.w.Event, Type: typ, At: tx.w.At, Upstream: tx.w.Upstream, External: tx.w.External,
		Repository: tx.w.Repository, FirstSeen: first.First, Visibility: tx.w.Visibility, Hint: tx.w.Hint,
		Client: tx.w.Client, RequestID: tx.w.RequestID, Inferred: tx.result.inferred,
	}, nil
}

// stands notes that a manifest is there, for what follows from it. What a mirror was asked for by
// ?ns= is in no repository of the upstream's own.
func (tx *transaction) stands(digest string, row *manifestRow, at time.Time) {
	if tx.w.Hint != "" {
		return
	}
	c := detect.ManifestChange{
		Upstream: tx.w.Upstream, Repository: tx.w.Repository, Digest: digest, At: at, Shown: tx.learning,
		Read: row.Artifact.Kind != "" && row.Own > 0, Own: row.Own, Blobs: row.Layers, Sizes: row.Sizes,
		More: row.Artifact.Inexact && !isIndexKind(&row.Artifact),
	}
	if row.Config != "" {
		c.Blobs = append(c.Blobs[:len(c.Blobs):len(c.Blobs)], row.Config)
	}
	tx.Manifests = append(tx.Manifests, c)
}

// gone notes that a manifest is no longer there.
func (tx *transaction) gone(digest string) {
	if tx.w.Hint == "" {
		tx.Manifests = append(tx.Manifests, detect.ManifestChange{Upstream: tx.w.Upstream, Repository: tx.w.Repository, Digest: digest, At: tx.now, Gone: true})
	}
}

// putTag puts a tag on a digest, and returns the digest on which it stood.
func (tx *transaction) putTag(tag, digest string) (stood string, err error) {
	k := tx.w.tagKey(tag)
	row, ok, err := read[tagRow](tx, k)
	if err != nil {
		return "", err
	}
	if ok && row.At.After(tx.now) {
		// a delayed commit: another replica has been shown something newer
		return "", nil
	}
	if ok && row.Digest != "" && row.Digest != digest {
		tx.drop(tx.w.taggedKey(row.Digest, tag))
	}
	wrote := row.Wrote
	if !tx.learning && tx.w.At.After(wrote) {
		wrote = tx.w.At
	}
	tx.put(newRow(k, tagRow{Digest: digest, At: tx.now, Wrote: wrote}, tx.now))
	if digest != "" {
		tx.put(newRow(tx.w.taggedKey(digest, tag), struct{}{}, tx.now))
	}
	return row.Digest, nil
}

// putManifest adds the row of a manifest.
func (tx *transaction) putManifest(digest string, a *detect.Artifact, book bool) {
	row := manifestRow{Book: book}
	if tx.w.Manifest != nil {
		row = *tx.w.Manifest
		row.Book = book
	}
	if a != nil {
		row.Artifact = *a
		row.Artifact.Annotations = nil
	}
	tx.put(newRow(tx.w.manifestKey(digest), row, tx.now))
	tx.stands(digest, &row, tx.now)
}
