package track

import (
	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
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
	if _, suffix, fallback := detect.FallbackTag(tag); fallback && suffix == "" && (!ok || known.Artifact.IsIndex()) {
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
func (tx *transaction) stood(digest string) (tagindex.ManifestRow, bool, error) {
	if digest == "" {
		return tagindex.ManifestRow{}, false, nil
	}
	known, ok, err := tagindex.Read[tagindex.ManifestRow](tx, tx.w.ManifestKey(digest))
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
func (tx *transaction) goneArtifact(known tagindex.ManifestRow, ok bool) *detect.Artifact {
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
	tags, err := tx.Forget(tx.w.Place, digest, tx.w.At)
	if err != nil {
		return err
	}
	if b := &tx.w.Before; b.TagsComplete || len(b.Tags) > 0 {
		tags = b.Tags
	}
	if err := tx.outdate(tags); err != nil {
		return err
	}
	if ok && known.Book || ok && known.Artifact.IsIndex() && onlyFallback(tags) {
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
	if e.Artifact, err = tx.deletedArtifact(known, ok, tags); err != nil {
		return err
	}
	tx.emit(e)
	return nil
}

// deletedArtifact returns the description of an artifact that was deleted with its tags, or nil.
func (tx *transaction) deletedArtifact(known tagindex.ManifestRow, ok bool, tags []string) (*detect.Artifact, error) {
	a := tx.goneArtifact(known, ok)
	if a == nil {
		return nil, nil
	}
	if len(a.Children) > 0 && known.Artifact.Own > 0 {
		size, whole, err := tx.indexSize(&known)
		if err != nil {
			return nil, err
		}
		a.Size, a.Inexact = size, a.Inexact || !whole
	}
	tx.result.tags = tags
	return tx.accessoryByTag(a), nil
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
		tx.Drop(keys[i])
		if _, err := tx.Forget(tx.w.Place, digest, tx.w.At); err != nil {
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
