package track

import (
	"slices"

	"github.com/bellbuoy/bellbuoy/detect"
)

// deleted decides a manifest DELETE that the upstream did.
func (d *decision) deleted() error {
	if detect.IsDigest(d.w.Reference) {
		return d.deletedDigest()
	}
	return d.deletedTag()
}

// deletedTag: the tag went, its artifact stays.
func (d *decision) deletedTag() error {
	tag := d.w.Reference
	stood, err := d.putTag(tag, "")
	if err != nil {
		return err
	}
	if d.w.Before.Digest != "" {
		stood = d.w.Before.Digest
	}
	known, ok, err := d.stood(stood)
	if err != nil {
		return err
	}
	if _, suffix, fallback := detect.FallbackTag(tag); fallback && suffix == "" && (!ok || isIndexKind(&known.Artifact)) {
		return nil // bookkeeping
	}
	e, err := d.event(detect.DeleteTag)
	if err != nil {
		return err
	}
	e.Tags, e.Digest, e.TagsComplete = []string{tag}, stood, true
	e.Artifact = d.goneArtifact(known, ok)
	if e.Artifact == nil {
		if _, suffix, fallback := detect.FallbackTag(tag); fallback && suffix != "" {
			e.Artifact = &detect.Artifact{}
		}
	}
	if e.Artifact != nil {
		d.out.tags = e.Tags
		e.Artifact = d.accessoryByTag(e.Artifact)
	}
	d.emit(e)
	return nil
}

// stood is what bellbuoy knows of a manifest that a delete concerns.
func (d *decision) stood(digest string) (manifestRow, bool, error) {
	if digest == "" {
		return manifestRow{}, false, nil
	}
	known, ok, err := read[manifestRow](d, d.w.manifestKey(digest))
	if err != nil || ok && known.Artifact.Kind != "" {
		return known, ok, err
	}
	if m := d.w.Before.Manifest; m != nil {
		book := known.Book
		known, ok = *m, true
		known.Book = book
	}
	return known, ok, nil
}

// goneArtifact describes what was deleted.
func (d *decision) goneArtifact(known manifestRow, ok bool) *detect.Artifact {
	b := &d.w.Before
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

// deletedDigest: the manifest went, and every tag on it.
func (d *decision) deletedDigest() error {
	digest := d.w.Reference
	dummy, err := d.deletedDummy(digest)
	if err != nil || dummy {
		return err
	}
	known, ok, err := d.stood(digest)
	if err != nil {
		return err
	}
	tags, err := d.forget(digest)
	if err != nil {
		return err
	}
	if b := &d.w.Before; b.TagsComplete || len(b.Tags) > 0 {
		tags = b.Tags
	}
	if err := d.outdate(tags); err != nil {
		return err
	}
	if ok && known.Book || ok && isIndexKind(&known.Artifact) && onlyFallback(tags) {
		return nil // bookkeeping
	}
	if err := d.releaseHeld(d.w.heldKey(digest)); err != nil {
		return err
	}
	e, err := d.event(detect.DeleteArtifact)
	if err != nil {
		return err
	}
	e.Digest, e.Tags, e.TagsComplete = digest, tags, d.w.Before.TagsComplete
	e.Artifact = d.goneArtifact(known, ok)
	if e.Artifact != nil {
		if len(e.Artifact.Children) > 0 && known.Own > 0 {
			if e.Artifact.Size, err = d.indexSize(&known); err != nil {
				return err
			}
		}
		d.out.tags = tags
		e.Artifact = d.accessoryByTag(e.Artifact)
	}
	d.emit(e)
	return nil
}

// onlyFallback tells whether there are tags, and all of them are bookkeeping.
func onlyFallback(tags []string) bool {
	for _, tag := range tags {
		if _, suffix, ok := detect.FallbackTag(tag); !ok || suffix != "" {
			return false
		}
	}
	return len(tags) > 0
}

// forget ends what is known of a manifest, and returns the tags that stood on it.
func (d *decision) forget(digest string) (tags []string, err error) {
	rows, err := d.Scan(rowTagged, d.w.taggedPrefix(digest).ID, maxTags)
	if err != nil {
		return nil, err
	}
	for _, row := range rows {
		tag := tagOf(row.Key)
		tags = append(tags, tag)
		d.drop(row.Key)
		d.put(newRow(d.w.tagKey(tag), tagRow{At: d.now, Wrote: d.w.At}, d.now))
	}
	d.drop(d.w.manifestKey(digest))
	slices.Sort(tags)
	return tags, nil
}

// maxTags bounds the tags that a delete lists.
const maxTags = 10_000

// deletedDummy tells regctl's way of deleting a tag: the upstream refused the tag's DELETE, so a dummy was put there and is now deleted.
func (d *decision) deletedDummy(digest string) (bool, error) {
	held, keys, err := d.dummies(digest)
	if err != nil {
		return false, err
	}
	for i, h := range held {
		if h.Client != clientID(d.w.Client) {
			continue
		}
		d.drop(keys[i])
		if _, err := d.forget(digest); err != nil {
			return false, err
		}
		e, err := d.event(detect.DeleteTag)
		if err != nil {
			return false, err
		}
		e.Tags, e.Digest, e.TagsComplete = []string{h.Tag}, h.Stood, true
		known, ok, err := d.stood(h.Stood)
		if err != nil {
			return false, err
		}
		if ok {
			e.Artifact = &known.Artifact
		}
		d.emit(e)
		return true, nil
	}
	return false, nil
}
