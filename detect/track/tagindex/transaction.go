package tagindex

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Transaction is one run of a function within a commit of the ledger. The changes depend only on
// the View and on what was fixed before, so that the function can run again. What a transaction
// reads includes what it has changed.
type Transaction struct {
	detect.Changes
	Now time.Time

	view    detect.View
	dropped map[detect.Key]bool // the keys in Delete
}

// NewTransaction begins a transaction that reads v.
func NewTransaction(v detect.View, now time.Time) Transaction { return Transaction{view: v, Now: now} }

// Store stores a row.
func (tx *Transaction) Store(row detect.Row) {
	for i := range tx.Put {
		if tx.Put[i].Key == row.Key {
			tx.Put[i] = row
			return
		}
	}
	tx.Put = append(tx.Put, row)
}

// Drop deletes a row.
func (tx *Transaction) Drop(k detect.Key) {
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
func (tx *Transaction) Get(k detect.Key) (detect.Row, bool, error) {
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
func (tx *Transaction) Scan(kind detect.RowKind, prefix string, limit int) ([]detect.Row, error) {
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

// PutTag stores the row of a tag, and returns the digest on which the tag stood. A row with no
// digest means that the tag is gone. A row that is newer than this one stays.
func (tx *Transaction) PutTag(p Place, tag string, row TagRow) (stood string, err error) {
	k := p.TagKey(tag)
	old, ok, err := Read[TagRow](tx, k)
	if err != nil {
		return "", err
	}
	if ok && old.At.After(row.At) {
		return "", nil // a delayed commit: another replica has been shown something newer
	}
	if ok && old.Digest != "" && old.Digest != row.Digest {
		tx.Drop(p.taggedKey(old.Digest, tag))
	}
	if old.Wrote.After(row.Wrote) {
		row.Wrote = old.Wrote
	}
	tx.Store(NewRow(k, row, row.At))
	if row.Digest != "" {
		tx.Store(NewRow(p.taggedKey(row.Digest, tag), struct{}{}, row.At))
	}
	return old.Digest, nil
}

// PutManifest stores the row of a manifest that is in a repository at a time. shown means that a
// read has shown it, and not a write.
func (tx *Transaction) PutManifest(p Place, digest string, row *ManifestRow, at time.Time, shown bool) {
	tx.Store(NewRow(p.ManifestKey(digest), row, tx.Now))
	if p.Hint != "" {
		return // what a mirror was asked for by ?ns= is in no repository of the upstream's own
	}
	a := &row.Artifact
	c := detect.ManifestChange{
		Upstream: p.Upstream, Repository: p.Repository, Digest: digest, At: at, Shown: shown,
		Read: a.Kind != "" && a.Own > 0, Own: a.Own, Blobs: row.Layers, Sizes: row.Sizes,
		More: a.Inexact && !a.IsIndex(),
	}
	if row.Config != "" {
		c.Blobs = append(c.Blobs[:len(c.Blobs):len(c.Blobs)], row.Config)
	}
	tx.Manifests = append(tx.Manifests, c)
}

// MaxTags bounds the tags in the event of a delete.
const MaxTags = 10_000

// Forget removes the rows of a manifest that was deleted by a write, and returns the tags that
// stood on it, sorted. wrote is the time of the write.
func (tx *Transaction) Forget(p Place, digest string, wrote time.Time) (tags []string, err error) {
	tags, err = tagsIn(tx, p.taggedPrefix(digest), MaxTags)
	if err != nil {
		return nil, err
	}
	for _, tag := range tags {
		tx.Drop(p.taggedKey(digest, tag))
		tx.Store(NewRow(p.TagKey(tag), TagRow{At: tx.Now, Wrote: wrote}, tx.Now))
	}
	tx.Drop(p.ManifestKey(digest))
	if p.Hint == "" {
		tx.Manifests = append(tx.Manifests, detect.ManifestChange{Upstream: p.Upstream, Repository: p.Repository, Digest: digest, At: tx.Now, Gone: true})
	}
	return tags, nil
}

// CommitResult keeps what the last run of the function of a commit has made. A ledger that gave up
// waiting may still run it.
type CommitResult[T any] struct {
	mu    sync.Mutex
	value T
	ok    bool
}

// Set keeps a value.
func (r *CommitResult[T]) Set(v T) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.value, r.ok = v, true
}

// Get returns the last value. ok is false if there is none.
func (r *CommitResult[T]) Get() (value T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.value, r.ok
}
