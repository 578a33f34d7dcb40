package track

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// dummyHold is how long a tag's push waits for the delete that would show it to be regctl's dummy. With the timers' grain it stays below 10 s.
const dummyHold = 9 * time.Second

// dummyWindow is how long after a refused DELETE of a tag a push to it may be such a dummy.
const dummyWindow = time.Minute

// pushed decides a manifest PUT that the upstream did (DESIGN §4.2, Pushes, in the order of its rows).
func (d *decision) pushed() error {
	e, err := d.event(detect.PushArtifact)
	if err != nil {
		return err
	}
	e.Digest, e.Mismatch, e.Tags = d.out.digest, d.out.mismatch, d.out.tags
	if e.Artifact, err = d.artifact(); err != nil {
		return err
	}
	switch {
	case d.bookkeeping():
		return d.pushedBook(e)
	case len(e.Tags) == 0:
		return d.pushedUntagged(e)
	}
	return d.pushedTagged(e)
}

// artifact describes what was put, as the event shall show it.
func (d *decision) artifact() (*detect.Artifact, error) {
	m := d.w.Manifest
	switch {
	case m != nil:
	case d.w.MediaType == "":
		return nil, nil
	case d.w.Opaque:
		return d.accessoryByTag(&detect.Artifact{Kind: detect.OtherKind, MediaType: d.w.MediaType}), nil
	default:
		return d.accessoryByTag(&detect.Artifact{MediaType: d.w.MediaType}), nil // nobody has read it yet
	}
	a := m.Artifact
	a.Annotations = d.w.Notes
	if len(a.Children) > 0 {
		size, err := d.indexSize(m)
		if err != nil {
			return nil, err
		}
		a.Size = size
	}
	return d.accessoryByTag(&a), nil
}

// accessoryByTag gives what is put to sha256-<hex>.sig, .att or .sbom the kind and the subject that the tag names.
func (d *decision) accessoryByTag(a *detect.Artifact) *detect.Artifact {
	for _, tag := range d.out.tags {
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

// indexSize is an index's own size and its children's in full, as far as bellbuoy knows them; else their manifests'.
func (d *decision) indexSize(m *manifestRow) (int64, error) {
	size := m.Own
	for _, c := range m.Artifact.Children {
		n, err := d.childSize(c)
		if err != nil {
			return 0, err
		}
		if size > math.MaxInt64-n {
			return math.MaxInt64, nil
		}
		size += n
	}
	return size, nil
}

func (d *decision) childSize(c detect.Child) (int64, error) {
	if n, ok := d.sizes[c.Digest]; ok {
		return n, nil
	}
	row, ok, err := read[manifestRow](d, d.w.manifestKey(c.Digest))
	if err != nil || !ok || row.Artifact.Size <= 0 {
		return c.Size, err
	}
	return row.Artifact.Size, nil
}

// bookkeeping tells whether this is an index under a fallback tag: what stands in for the referrers API.
func (d *decision) bookkeeping() bool {
	if len(d.out.tags) != 1 || d.w.Manifest == nil || !isIndexKind(&d.w.Manifest.Artifact) {
		return false
	}
	_, suffix, ok := detect.FallbackTag(d.out.tags[0])
	return ok && suffix == ""
}

// isIndexKind: an index that is an accessory by what it says of itself is an index still.
func isIndexKind(a *detect.Artifact) bool { return a.Kind == detect.Index || len(a.Children) > 0 }

// pushedBook gives no event of its own. What it lists goes on waiting: who copies an image built with
// attestations puts such tags before the index that lists both.
func (d *decision) pushedBook(e detect.Event) error {
	known, ok, err := read[manifestRow](d, d.w.manifestKey(e.Digest))
	if err != nil {
		return err
	}
	d.putManifest(e.Digest, e.Artifact, !ok || known.Book)
	_, err = d.putTag(e.Tags[0], e.Digest)
	return err
}

// pushedUntagged: the event waits for an index or a tag, durably, unless it is an accessory of something that stands on its own.
func (d *decision) pushedUntagged(e detect.Event) error {
	known, ok, err := read[manifestRow](d, d.w.manifestKey(e.Digest))
	if err != nil {
		return err
	}
	e.Unchanged = ok && !known.Book
	d.putManifest(e.Digest, e.Artifact, false)
	if e.Artifact != nil {
		if err := d.absorb(e.Artifact.Children, d.w.Others); err != nil {
			return err
		}
	}
	waits, err := d.waits(e.Artifact)
	if err != nil {
		return err
	}
	held, again, err := read[heldRow](d, d.w.heldKey(e.Digest))
	switch {
	case err != nil:
		return err
	case !waits:
		if again {
			d.drop(d.w.heldKey(e.Digest))
		}
		d.emit(e)
		return nil
	case !again:
		held = heldRow{Event: e, Client: clientID(d.w.Client), Since: d.now}
	}
	d.hold(d.w.heldKey(e.Digest), held, d.now.Add(d.cfg.UntaggedPush))
	return nil
}

// waits reports whether a put by digest may still turn out to be part of something. What BuildKit attests
// stands in an index, also where its image is known and unchanged.
func (d *decision) waits(a *detect.Artifact) (bool, error) {
	if a == nil || a.Subject == "" || a.ArtifactType == detect.BuildKitAttestation {
		return true, nil
	}
	_, waiting, err := read[heldRow](d, d.w.heldKey(a.Subject))
	if err != nil || waiting {
		return waiting, err
	}
	_, known, err := d.Get(d.w.manifestKey(a.Subject))
	return !known && !d.subjectSeen, err
}

// pushedTagged: the children that waited for this index, and the same digest put without a tag before, are part of it.
func (d *decision) pushedTagged(e detect.Event) error {
	if e.Artifact != nil {
		if err := d.absorb(e.Artifact.Children, d.w.Others); err != nil {
			return err
		}
	}
	if err := d.absorb([]detect.Child{{Digest: e.Digest}}, nil); err != nil {
		return err
	}
	if err := d.moveTags(&e); err != nil {
		return err
	}
	d.putManifest(e.Digest, e.Artifact, false)
	dummy, err := d.maybeDummy(e)
	if err == nil && !dummy {
		d.emit(e)
	}
	return err
}

// moveTags notes where the tags stand now, and tells the event where they stood.
func (d *decision) moveTags(e *detect.Event) error {
	e.Unchanged = true
	for i, tag := range e.Tags {
		row, ok, err := read[tagRow](d, d.w.tagKey(tag))
		if err != nil {
			return err
		}
		if stood := d.stoodBefore(i, row, ok); stood != e.Digest {
			e.Unchanged = false
			if e.Previous == "" {
				e.Previous = stood
			}
		}
		if d.out.overtaken {
			continue // it stands elsewhere by now
		}
		if _, err := d.putTag(tag, e.Digest); err != nil {
			return err
		}
	}
	return nil
}

// stoodBefore is where a tag stood before this push; "" where that is not known. What the index says may already be this push's
// own doing, which somebody has read in the meantime.
func (d *decision) stoodBefore(i int, row tagRow, ok bool) string {
	b, later := &d.w.Before, d.out.overtaken || row.At.After(d.now)
	switch {
	case i == 0 && b.Known && (!ok || later || row.Digest == d.out.digest):
		return b.Digest
	case later, row.Digest == d.out.digest && row.At.After(d.w.At):
		return ""
	}
	return row.Digest
}

// absorb ends the waiting of what has become part of this push: of children, and of further ones
// that are known by digest only.
func (d *decision) absorb(children []detect.Child, others []string) error {
	waiting, err := d.heldAmong(children, others)
	for _, k := range waiting {
		d.drop(k)
	}
	return err
}

// heldAmong are the keys of the children that wait. Where an index lists many, one look at all that
// waits in the repository finds them. others are sorted.
func (d *decision) heldAmong(children []detect.Child, others []string) (waiting []detect.Key, err error) {
	const few, many = 4, 4096
	if len(children)+len(others) > few {
		prefix := d.w.heldKey("").ID
		rows, err := d.Scan(rowHeld, prefix, many)
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
		k := d.w.heldKey(digest)
		_, waits, err := d.Get(k)
		if err != nil {
			return nil, err
		}
		if waits {
			waiting = append(waiting, k)
		}
	}
	return waiting, nil
}

// listedAmong are the keys of the rows that wait under the digest of a child.
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

// releaseHeld gives the event of what waits under a key, now.
func (d *decision) releaseHeld(k detect.Key) error {
	held, ok, err := read[heldRow](d, k)
	if err != nil || !ok {
		return err
	}
	d.drop(k)
	d.emit(held.Event)
	return nil
}

func (d *decision) hold(k detect.Key, held heldRow, due time.Time) {
	row := newRow(k, held, d.now)
	row.Due = due
	d.put(row)
}

// rememberRefusal notes that the upstream refused to delete a tag: what this client puts there next may be regctl's dummy.
func (d *decision) rememberRefusal() {
	row := newRow(d.w.key(rowRefused, d.w.Reference, clientID(d.w.Client)), refusedRow{Digest: d.w.Before.Digest, At: d.now}, d.now)
	row.Due = d.now.Add(dummyWindow)
	d.put(row)
}

// maybeDummy holds the event of a push to a tag that the same client has just failed to delete.
func (d *decision) maybeDummy(e detect.Event) (bool, error) {
	if len(e.Tags) != 1 || detect.IsDigest(d.w.Reference) {
		return false, nil
	}
	k := d.w.key(rowRefused, e.Tags[0], clientID(d.w.Client))
	refused, ok, err := read[refusedRow](d, k)
	if err != nil || !ok || d.now.Sub(refused.At) > dummyWindow {
		return false, err
	}
	d.drop(k)
	held := heldRow{Event: e, Client: clientID(d.w.Client), Since: d.now, Tag: e.Tags[0], Stood: refused.Digest}
	if e.Previous != "" {
		held.Stood = e.Previous
	}
	d.hold(d.w.key(rowHeld, e.Digest, held.Tag), held, d.now.Add(dummyHold))
	return true, nil
}

// putTag notes that a tag stands on a digest, and tells where it stood.
func (d *decision) putTag(tag, digest string) (stood string, err error) {
	k := d.w.tagKey(tag)
	row, ok, err := read[tagRow](d, k)
	if err != nil {
		return "", err
	}
	if ok && row.At.After(d.now) {
		return "", nil // what waited for the store came later than what another replica was told since
	}
	if ok && row.Digest != "" && row.Digest != digest {
		d.drop(d.w.taggedKey(row.Digest, tag))
	}
	wrote := row.Wrote
	if !d.learning && d.w.At.After(wrote) {
		wrote = d.w.At
	}
	d.put(newRow(k, tagRow{Digest: digest, At: d.now, Wrote: wrote}, d.now))
	if digest != "" {
		d.put(newRow(d.w.taggedKey(digest, tag), struct{}{}, d.now))
	}
	return row.Digest, nil
}

// putManifest notes that a manifest is there.
func (d *decision) putManifest(digest string, a *detect.Artifact, book bool) {
	row := manifestRow{Book: book}
	if d.w.Manifest != nil {
		row = *d.w.Manifest
		row.Book = book
	}
	if a != nil {
		row.Artifact = *a
		row.Artifact.Annotations = nil
	}
	d.put(newRow(d.w.manifestKey(digest), row, d.now))
}

// dummies are the pushes that wait to be told from regctl's dummy, of one digest.
func (d *decision) dummies(digest string) (found []heldRow, keys []detect.Key, err error) {
	rows, err := d.Scan(rowHeld, d.w.key(rowHeld, digest, "").ID, 16)
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
