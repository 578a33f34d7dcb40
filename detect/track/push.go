package track

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// dummyHold is how long the push of a tag waits for the delete that shows it to be a dummy of
// regctl. With the grain of the timers, it stays below 10 s.
const dummyHold = 9 * time.Second

// dummyWindow is how long after the refused DELETE of a tag a push to it may be such a dummy.
const dummyWindow = time.Minute

// pushed decides a manifest PUT that the upstream has done, by the table of pushes in
// docs/design.md, in the order of its rows.
func (tx *transaction) pushed() error {
	e, err := tx.event(detect.PushArtifact)
	if err != nil {
		return err
	}
	e.Digest, e.Mismatch, e.Tags = tx.result.digest, tx.result.mismatch, tx.result.tags
	if e.Artifact, err = tx.artifact(); err != nil {
		return err
	}
	switch {
	case tx.bookkeeping():
		return tx.pushedBook(e)
	case len(e.Tags) == 0:
		return tx.pushedUntagged(e)
	}
	return tx.pushedTagged(e)
}

// artifact returns the description of what was put.
func (tx *transaction) artifact() (*detect.Artifact, error) {
	m := tx.w.Manifest
	switch {
	case m != nil:
	case tx.w.MediaType == "":
		return nil, nil
	case tx.w.Opaque:
		return tx.accessoryByTag(&detect.Artifact{Kind: detect.OtherKind, MediaType: tx.w.MediaType}), nil
	default:
		// its bytes have not been read
		return tx.accessoryByTag(&detect.Artifact{MediaType: tx.w.MediaType}), nil
	}
	a := m.Artifact
	a.Annotations = tx.w.Notes
	if len(a.Children) > 0 {
		size, whole, err := tx.indexSize(m)
		if err != nil {
			return nil, err
		}
		a.Size, a.Inexact = size, a.Inexact || !whole
	}
	return tx.accessoryByTag(&a), nil
}

// accessoryByTag sets kind and subject of what is put to a tag sha256-<hex>.sig, .att or .sbom.
func (tx *transaction) accessoryByTag(a *detect.Artifact) *detect.Artifact {
	for _, tag := range tx.result.tags {
		subject, suffix, ok := detect.FallbackTag(tag)
		if !ok || suffix == "" {
			continue
		}
		switch suffix {
		case ".sig":
			a.Kind = detect.Signature
		case ".att":
			a.Kind = detect.Attestation
		case ".sbom":
			a.Kind = detect.SBOM
		}
		if a.Subject == "" {
			a.Subject = subject
		}
	}
	return a
}

// maxSizedChildren bounds the rows that are read for the size of one index: other writes wait for
// the transaction.
const maxSizedChildren = 256

// indexSize returns the size of an index with all its children. Of a child that bellbuoy does not
// know, the size of its manifest counts. whole is false where there were too many to look for.
func (tx *transaction) indexSize(m *tagindex.ManifestRow) (size int64, whole bool, err error) {
	size, whole = m.Artifact.Own, true
	looks := maxSizedChildren
	for _, c := range m.Artifact.Children {
		n, cached := tx.sizes[c.Digest]
		switch {
		case cached:
		case looks == 0:
			n, whole = c.Size, false
		default:
			looks--
			if n, err = tx.childSize(c); err != nil {
				return 0, false, err
			}
		}
		if size > math.MaxInt64-n {
			return math.MaxInt64, false, nil
		}
		size += n
	}
	return size, whole, nil
}

// childSize returns the size of a child as the ledger has it.
func (tx *transaction) childSize(c detect.Child) (int64, error) {
	row, ok, err := tagindex.Read[tagindex.ManifestRow](tx, tx.w.ManifestKey(c.Digest))
	if err != nil || !ok || row.Artifact.Size <= 0 {
		return c.Size, err
	}
	return row.Artifact.Size, nil
}

// bookkeeping reports whether this is an index put to a fallback tag, which stands in for the
// referrers API.
func (tx *transaction) bookkeeping() bool {
	if len(tx.result.tags) != 1 || tx.w.Manifest == nil || !tx.w.Manifest.Artifact.IsIndex() {
		return false
	}
	_, suffix, ok := detect.FallbackTag(tx.result.tags[0])
	return ok && suffix == ""
}

// pushedBook stores an index put to a fallback tag. It has no event, and no push stops waiting: a
// client that copies an image with attestations puts such tags before the index that lists both.
func (tx *transaction) pushedBook(e detect.Event) error {
	known, ok, err := tagindex.Read[tagindex.ManifestRow](tx, tx.w.ManifestKey(e.Digest))
	if err != nil {
		return err
	}
	tx.putManifest(e.Digest, e.Artifact, !ok || known.Book)
	_, err = tx.putTag(e.Tags[0], e.Digest)
	return err
}

// pushedUntagged makes the event of a put by digest wait for an index or a tag, durably. The event
// of an accessory of something that stands on its own does not wait.
func (tx *transaction) pushedUntagged(e detect.Event) error {
	known, ok, err := tagindex.Read[tagindex.ManifestRow](tx, tx.w.ManifestKey(e.Digest))
	if err != nil {
		return err
	}
	e.Unchanged = ok && !known.Book
	tx.putManifest(e.Digest, e.Artifact, false)
	if e.Artifact != nil {
		if err := tx.absorb(e.Artifact.Children, tx.w.Others); err != nil {
			return err
		}
	}
	waits, err := tx.waits(e.Artifact)
	if err != nil {
		return err
	}
	held, again, err := tagindex.Read[heldRow](tx, tx.w.heldKey(e.Digest))
	switch {
	case err != nil:
		return err
	case !waits:
		if again {
			tx.Drop(tx.w.heldKey(e.Digest))
		}
		tx.emit(e)
		return nil
	case !again:
		held = heldRow{Event: e, Client: tx.w.Client.ID(), Since: tx.Now}
	}
	tx.hold(tx.w.heldKey(e.Digest), held, tx.Now.Add(tx.cfg.UntaggedPush))
	return nil
}

// waits reports whether a put by digest may still turn out to be part of something. The
// attestations of BuildKit stand in an index even where their image is known and unchanged.
func (tx *transaction) waits(a *detect.Artifact) (bool, error) {
	if a == nil || a.Subject == "" || a.ArtifactType == detect.BuildKitAttestation {
		return true, nil
	}
	_, waiting, err := tagindex.Read[heldRow](tx, tx.w.heldKey(a.Subject))
	if err != nil || waiting {
		return waiting, err
	}
	_, known, err := tx.Get(tx.w.ManifestKey(a.Subject))
	return !known && !tx.subjectSeen, err
}

// pushedTagged emits the push of a tag. The children that waited for this index, and the same
// digest put without a tag before, are part of it.
func (tx *transaction) pushedTagged(e detect.Event) error {
	if e.Artifact != nil {
		if err := tx.absorb(e.Artifact.Children, tx.w.Others); err != nil {
			return err
		}
	}
	if err := tx.absorb([]detect.Child{{Digest: e.Digest}}, nil); err != nil {
		return err
	}
	if err := tx.moveTags(&e); err != nil {
		return err
	}
	tx.putManifest(e.Digest, e.Artifact, false)
	dummy, err := tx.maybeDummy(e)
	if err == nil && !dummy {
		tx.emit(e)
	}
	return err
}

// moveTags puts the tags on the digest of the push, and sets in the event where they stood before.
func (tx *transaction) moveTags(e *detect.Event) error {
	e.Unchanged = true
	for i, tag := range e.Tags {
		row, ok, err := tagindex.Read[tagindex.TagRow](tx, tx.w.TagKey(tag))
		if err != nil {
			return err
		}
		if stood := tx.stoodBefore(i, row, ok); stood != e.Digest {
			e.Unchanged = false
			if e.Previous == "" {
				e.Previous = stood
			}
		}
		if tx.result.overtaken {
			continue // a later write has moved it
		}
		if _, err := tx.putTag(tag, e.Digest); err != nil {
			return err
		}
	}
	return nil
}

// stoodBefore returns the digest on which a tag stood before this push; "" where it is not known.
// The tag index may already show this push, if somebody has read it meanwhile.
func (tx *transaction) stoodBefore(i int, row tagindex.TagRow, ok bool) string {
	b, later := &tx.w.Before, tx.result.overtaken || row.At.After(tx.Now)
	switch {
	case i == 0 && b.Known && (!ok || later || row.Digest == tx.result.digest):
		return b.Digest
	case later, row.Digest == tx.result.digest && row.At.After(tx.w.At):
		return ""
	}
	return row.Digest
}

// absorb ends the waiting of pushes that are part of this one: children, and further ones that are
// known by digest only.
func (tx *transaction) absorb(children []detect.Child, others []string) error {
	waiting, err := tx.heldAmong(children, others)
	for _, k := range waiting {
		tx.Drop(k)
	}
	return err
}

// heldAmong returns the keys of the children that wait. For an index with many children, one scan
// of all that waits in the repository finds them. others are sorted.
func (tx *transaction) heldAmong(children []detect.Child, others []string) (waiting []detect.Key, err error) {
	const few, many = 4, 4096
	if len(children)+len(others) > few {
		prefix := tx.w.heldKey("").ID
		rows, err := tx.Scan(rowHeld, prefix, many)
		if err != nil {
			return nil, err
		}
		if len(rows) < many {
			return listedAmong(rows, prefix, children, others), nil
		}
	}
	for _, c := range children {
		others = append(others[:len(others):len(others)], c.Digest)
	}
	for _, digest := range others {
		k := tx.w.heldKey(digest)
		_, waits, err := tx.Get(k)
		if err != nil {
			return nil, err
		}
		if waits {
			waiting = append(waiting, k)
		}
	}
	return waiting, nil
}

// listedAmong returns the keys of the rows that wait under the digest of a child.
func listedAmong(rows []detect.Row, prefix string, children []detect.Child, others []string) (found []detect.Key) {
	listed := make(map[string]bool, len(children))
	for _, c := range children {
		listed[c.Digest] = true
	}
	for _, row := range rows {
		digest := strings.TrimPrefix(row.ID, prefix)
		if _, other := slices.BinarySearch(others, digest); other || listed[digest] {
			found = append(found, row.Key)
		}
	}
	return found
}

// releaseHeld emits the event that waits under a key.
func (tx *transaction) releaseHeld(k detect.Key) error {
	held, ok, err := tagindex.Read[heldRow](tx, k)
	if err != nil || !ok {
		return err
	}
	tx.Drop(k)
	tx.emit(held.Event)
	return nil
}

// rememberRefusal adds a row for a tag whose DELETE the upstream refused: the next push of this
// client to it may be a dummy of regctl.
func (tx *transaction) rememberRefusal() {
	row := tagindex.NewRow(tx.w.Key(rowRefused, tx.w.Reference, tx.w.Client.ID()), refusedRow{Digest: tx.w.Before.Digest, At: tx.Now}, tx.Now)
	row.Due = tx.Now.Add(dummyWindow)
	tx.Store(row)
}

// maybeDummy makes the push to a tag wait if the same client has just failed to delete the tag. It
// reports whether it did.
func (tx *transaction) maybeDummy(e detect.Event) (bool, error) {
	if len(e.Tags) != 1 || detect.IsDigest(tx.w.Reference) {
		return false, nil
	}
	k := tx.w.Key(rowRefused, e.Tags[0], tx.w.Client.ID())
	refused, ok, err := tagindex.Read[refusedRow](tx, k)
	if err != nil || !ok || tx.Now.Sub(refused.At) > dummyWindow {
		return false, err
	}
	tx.Drop(k)
	held := heldRow{Event: e, Client: tx.w.Client.ID(), Since: tx.Now, Tag: e.Tags[0], Stood: refused.Digest}
	if e.Previous != "" {
		held.Stood = e.Previous
	}
	tx.hold(tx.w.Key(rowHeld, e.Digest, held.Tag), held, tx.Now.Add(dummyHold))
	return true, nil
}

// dummies returns the pushes of a digest that may be dummies of regctl.
func (tx *transaction) dummies(digest string) (found []heldRow, keys []detect.Key, err error) {
	rows, err := tx.Scan(rowHeld, tx.w.Key(rowHeld, digest, "").ID, 16)
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		var h heldRow
		if json.Unmarshal(row.Value, &h) == nil && h.Tag != "" {
			found, keys = append(found, h), append(keys, row.Key)
		}
	}
	return found, keys, nil
}
