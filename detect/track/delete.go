package track

import (
	"slices"

	"github.com/bellbuoy/bellbuoy/detect"
)

// deleted decides a manifest DELETE that the upstream has done.
func (tx *transaction) deleted() error {
	if detect.IsDigest(tx.w.Reference) {
		return tx.deletedDigest()
	}
	return tx.deletedTag()
}

// deletedTag decides the delete of a tag. Its artifact stays.
func (tx *transaction) deletedTag() error {
	tag := tx.w.Reference
	stood, err := tx.putTag(tag, "")
	if err != nil {
		return err
	}
	if tx.w.Before.Digest != "" {
		stood = tx.w.Before.Digest
	}
	known, ok, err := tx.stood(stood)
	if err != nil {
		return err
	}
	if _, suffix, fallback := detect.FallbackTag(tag); fallback && suffix == "" && (!ok || isIndexKind(&known.Artifact)) {
		return nil // bookkeeping
	}
	e, err := tx.event(detect.DeleteTag)
	if err != nil {
		return err
	}
	e.Tags, e.Digest, e.TagsComplete = []string{tag}, stood, true
	e.Artifact = tx.goneArtifact(known, ok)
	if e.Artifact == nil {
		if _, suffix, fallback := detect.FallbackTag(tag); fallback && suffix != "" {
			e.Artifact = &detect.Artifact{}
		}
	}
	if e.Artifact != nil {
		tx.result.tags = e.Tags
		e.Artifact = tx.accessoryByTag(e.Artifact)
	}
	tx.emit(e)
	return nil
}

// stood returns what bellbuoy knows of a manifest that a delete concerns.
func (tx *transaction) stood(digest string) (manifestRow, bool, error) {
	if digest == "" {
		return manifestRow{}, false, nil
	}
	known, ok, err := read[manifestRow](tx, tx.w.manifestKey(digest))
	if err != nil || ok && known.Artifact.Kind != "" {
		return known, ok, err
	}
	if m := tx.w.Before.Manifest; m != nil {
		book := known.Book
		known, ok = *m, true
		known.Book = book
	}
	return known, ok, nil
}

// goneArtifact returns the description of what was deleted.
func (tx *transaction) goneArtifact(known manifestRow, ok bool) *detect.Artifact {
	b := &tx.w.Before
	switch {
	case ok && known.Artifact.Kind != "":
		return &known.Artifact
	case b.MediaType != "" || b.Size > 0:
		return &detect.Artifact{Kind: detect.OtherKind, MediaType: b.MediaType, Size: b.Size}
	case ok:
		return &known.Artifact
	}
	return nil
}

// deletedDigest decides the delete of a manifest with every tag on it.
func (tx *transaction) deletedDigest() error {
	digest := tx.w.Reference
	dummy, err := tx.deletedDummy(digest)
	if err != nil || dummy {
		return err
	}
	known, ok, err := tx.stood(digest)
	if err != nil {
		return err
	}
	tags, err := tx.forget(digest)
	if err != nil {
		return err
	}
	if b := &tx.w.Before; b.TagsComplete || len(b.Tags) > 0 {
		tags = b.Tags
	}
	if err := tx.outdate(tags); err != nil {
		return err
	}
	if ok && known.Book || ok && isIndexKind(&known.Artifact) && onlyFallback(tags) {
		return nil // bookkeeping
	}
	if err := tx.releaseHeld(tx.w.heldKey(digest)); err != nil {
		return err
	}
	e, err := tx.event(detect.DeleteArtifact)
	if err != nil {
		return err
	}
	e.Digest, e.Tags, e.TagsComplete = digest, tags, tx.w.Before.TagsComplete
	e.Artifact = tx.goneArtifact(known, ok)
	if e.Artifact != nil {
		if len(e.Artifact.Children) > 0 && known.Own > 0 {
			size, whole, err := tx.indexSize(&known)
			if err != nil {
				return err
			}
			e.Artifact.Size, e.Artifact.Inexact = size, e.Artifact.Inexact || !whole
		}
		tx.result.tags = tags
		e.Artifact = tx.accessoryByTag(e.Artifact)
	}
	tx.emit(e)
	return nil
}

// onlyFallback reports whether there are tags, and all of them are fallback tags.
func onlyFallback(tags []string) bool {
	for _, tag := range tags {
		if _, suffix, ok := detect.FallbackTag(tag); !ok || suffix != "" {
			return false
		}
	}
	return len(tags) > 0
}

// forget removes the rows of a manifest, and returns the tags that stood on it.
func (tx *transaction) forget(digest string) (tags []string, err error) {
	rows, err := tx.Scan(rowTagged, tx.w.taggedPrefix(digest).ID, maxTags)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		tag := tagOf(row.Key)
		tags = append(tags, tag)
		tx.drop(row.Key)
		tx.put(newRow(tx.w.tagKey(tag), tagRow{At: tx.now, Wrote: tx.w.At}, tx.now))
	}
	tx.drop(tx.w.manifestKey(digest))
	tx.gone(digest)
	slices.Sort(tags)
	return tags, nil
}

// maxTags bounds the tags in the event of a delete.
const maxTags = 10_000

// deletedDummy handles how regctl deletes a tag: the upstream has refused the DELETE of the tag, so
// regctl puts a dummy there and deletes that by digest. It reports whether this delete was such a
// one.
func (tx *transaction) deletedDummy(digest string) (bool, error) {
	held, keys, err := tx.dummies(digest)
	if err != nil {
		return false, err
	}
	for i, h := range held {
		if h.Client != tx.w.Client.ID() {
			continue
		}
		tx.drop(keys[i])
		if _, err := tx.forget(digest); err != nil {
			return false, err
		}
		e, err := tx.event(detect.DeleteTag)
		if err != nil {
			return false, err
		}
		e.Tags, e.Digest, e.TagsComplete = []string{h.Tag}, h.Stood, true
		known, ok, err := tx.stood(h.Stood)
		if err != nil {
			return false, err
		}
		if ok {
			e.Artifact = &known.Artifact
		}
		tx.emit(e)
		return true, nil
	}
	return false, nil
}
