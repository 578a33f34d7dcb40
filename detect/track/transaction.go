package track

import (
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// transaction settles a write, or releases a push that waits, within a commit of the ledger.
type transaction struct {
	tagindex.Transaction
	cfg          Config
	w            write
	result       settlement
	acknowledged bool             // the client has got the answer to its last push of the same
	subjectSeen  bool             // the manifest that an accessory belongs to is in the cache
	sizes        map[string]int64 // of the children of an index, as far as they are cached
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
	first, ok, err := tagindex.Read[tagindex.RepositoryRow](tx, tx.w.RepositoryKey())
	if err != nil {
		return detect.Event{}, err
	}
	if !ok {
		first.First = tx.w.At
		tx.Store(tagindex.NewRow(tx.w.RepositoryKey(), first, tx.Now))
	}
	return detect.Event{
		ID: tx.w.Event, Type: typ, At: tx.w.At, Upstream: tx.w.Upstream, External: tx.w.External,
		Repository: tx.w.Repository, FirstSeen: first.First, Visibility: tx.w.Visibility, Hint: tx.w.Hint,
		Client: tx.w.Client, RequestID: tx.w.RequestID, Inferred: tx.result.inferred,
	}, nil
}

// putTag puts a tag on a digest ("": it is gone), and returns the digest on which it stood.
func (tx *transaction) putTag(tag, digest string) (stood string, err error) {
	return tx.PutTag(tx.w.Place, tag, tagindex.TagRow{Digest: digest, At: tx.Now, Wrote: tx.w.At})
}

// putManifest adds the row of the manifest that was put.
func (tx *transaction) putManifest(digest string, a *detect.Artifact, book bool) {
	row := tagindex.ManifestRow{Book: book}
	if tx.w.Manifest != nil {
		row = *tx.w.Manifest
		row.Book = book
	}
	if a != nil {
		row.Artifact = *a
		row.Artifact.Annotations = nil
	}
	tx.PutManifest(tx.w.Place, digest, &row, tx.Now, false)
}

func (tx *transaction) hold(k detect.Key, held heldRow, due time.Time) {
	row := tagindex.NewRow(k, held, tx.Now)
	row.Due = due
	tx.Store(row)
}
