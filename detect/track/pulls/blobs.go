package pulls

import (
	"slices"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// blobRead is a blob that was asked for.
type blobRead struct {
	digest string
	id     tagindex.BlobID
}

// blob handles the answer to a blob. If it is a layer, the pull to which it belongs is a download.
func (p *pass) blob(op *detect.Operation) {
	b := blobRead{op.Reference, tagindex.IDOf(op.Reference)}
	full := op.WholeBlob()
	found := p.candidates(b.id)
	if len(found) == 0 && p.t.adoptHalf(p.s, func(a *session) bool { return a.reads(b.id) }) {
		found = p.candidates(b.id)
	}
	if len(found) > 0 {
		p.belongs(found, b.id, full, op)
		return
	}
	if q := p.unreadable(); q != nil {
		p.download(q)
		return
	}
	if p.fromStore(op, b.id) { // row 8
		return
	}
	if p.s.reading > 0 && len(p.s.strays) < p.cfg.Bounds.Session {
		p.s.strays = append(p.s.strays, stray{b, full})
	}
}

// candidates returns the pulls that a blob may belong to, oldest first. Late layers belong to a
// download whose client was quiet since, unless its tag was resolved again.
func (p *pass) candidates(b tagindex.BlobID) (found []*pull) {
	for _, q := range p.s.pulls {
		if q.lists(b) && !(q.rested && q.state == downloaded && p.s.headOf(q.digest) != nil) {
			found = append(found, q)
		}
	}
	return found
}

// unreadable returns a pull whose manifest could not be read (too long, schema 1), or nil. Every
// blob that belongs to no other pull counts for it.
func (p *pass) unreadable() *pull {
	return p.s.newest(func(q *pull) bool { return q.content == nil && q.state == undecided })
}

// belongs handles a blob of the given pulls.
func (p *pass) belongs(found []*pull, b tagindex.BlobID, full bool, op *detect.Operation) {
	layers := downloading(found, b)
	if len(layers) == 0 {
		for _, q := range found {
			q.config = true
		}
		return
	}
	if full && p.s.ask(b, p.cfg.Bounds.Session) && op != nil {
		p.full = b
	}
	if !(full && p.askedAgain(layers, b, op, true)) && !p.platformAfter(layers, b) {
		p.decideDownloads(layers, b, true)
	}
	for _, q := range layers {
		q.fetch(b)
	}
}

// mounted handles a blob that was mounted from this repository into another. A mount sends nothing,
// and a client that pushes what it has pulled mounts too: so it is a further pull only if the
// manifest was read again after the first mount.
func (p *pass) mounted(b tagindex.BlobID) {
	found := p.candidates(b)
	for _, q := range found {
		q.config = true
		if !q.downloads(b) && !q.mounted {
			q.mounted, q.again = true, 0
		}
	}
	layers := downloading(found, b)
	if len(layers) == 0 {
		return
	}
	p.s.ask(b, p.cfg.Bounds.Session)
	if !p.askedAgain(layers, b, nil, false) {
		p.decideDownloads(layers, b, false)
	}
	for _, q := range layers {
		if !q.mounted {
			q.mounted, q.again = true, 0
		}
	}
}

// downloading returns the pulls that have the blob as a layer. It reuses the array of found, which
// stays as it was only if there are none.
func downloading(found []*pull, b tagindex.BlobID) (layers []*pull) {
	layers = found[:0]
	for _, q := range found {
		if q.downloads(b) {
			layers = append(layers, q)
		}
	}
	return layers
}

// askedAgain is the end of row 2: a layer that is asked for in full more often than there are pulls
// for it begins the next pull, if its manifest was read again or its tag resolved again (row 8).
func (p *pass) askedAgain(found []*pull, b tagindex.BlobID, op *detect.Operation, download bool) bool {
	pulls := 0
	for _, q := range found {
		if q.lives() {
			pulls += q.times
		}
	}
	if p.s.asked[b] <= pulls {
		return false
	}
	for i := len(found) - 1; i >= 0; i-- {
		q := found[i]
		if q.state == downloaded && p.readAnew(q, download) {
			p.again(q, op)
			return true
		}
	}
	return false
}

// readAnew reports whether a read or a HEAD has begun a further pull of the same. It removes what
// shows that, so that it counts once.
func (p *pass) readAnew(q *pull, download bool) bool {
	if q.again > 0 && (download || q.mounted) {
		q.again--
		return true
	}
	if h := p.s.headOf(q.digest); download && h != nil && h.at.After(q.readAt) {
		p.s.takeHead(q.digest)
		return true
	}
	return false
}

// again emits the next pull of what was pulled before.
func (p *pass) again(q *pull, op *detect.Operation) {
	q.times++
	e := q.event(p.s)
	if op != nil {
		e.RequestID = op.ID
	}
	e.At = p.now
	p.emit(e)
}

// platformAfter is row 8 while the session still has the index: its tag was resolved again, and a
// layer of another platform follows (containerd reads the manifests of all platforms at once). It
// reports whether it has begun a pull.
func (p *pass) platformAfter(found []*pull, b tagindex.BlobID) bool {
	for i := len(found) - 1; i >= 0; i-- {
		q := found[i]
		if q.state == undecided {
			return false
		}
		k := q.unfetched(b)
		if k == nil || !p.resolvedAnew(q) {
			continue
		}
		further := p.next(q)
		further.childReads = []childRead{{digest: k.digest, content: k.content, fetched: true}}
		p.download(further)
		return true
	}
	return false
}

// decideDownloads decides which of the pulls that list a layer are downloads now. Of each reference
// these are the newest undecided ones, as many as have asked for the layer. A pull by digest gives
// way to a pull of a tag with the same layers, and to the index that it was read of. If the client
// has been quiet since all of them, a late layer makes an inspection a download.
func (p *pass) decideDownloads(found []*pull, b tagindex.BlobID, late bool) {
	live, tagged := false, false
	for _, q := range found {
		live = live || q.lives()
		tagged = tagged || q.state == undecided && q.tag != ""
	}
	if !live {
		if q := found[len(found)-1]; late && q.state == inspected {
			p.download(q)
		}
		return
	}
	asked := max(p.s.asked[b], 1)
	for i := len(found) - 1; i >= 0; i-- {
		q := found[i]
		switch {
		case q.state != undecided:
		case q.tag != "" && pullsOf(found, q) < asked, !tagged && !childOfAny(q, found) && pullsOf(found, nil) < asked:
			p.download(q)
		}
	}
}

// pullsOf returns how many downloads there are: of one reference, or of all.
func pullsOf(found []*pull, of *pull) (n int) {
	for _, q := range found {
		if q.state == downloaded && q.lives() && (of == nil || q.tag == of.tag && q.digest == of.digest) {
			n += q.times
		}
	}
	return n
}

// childOfAny reports whether a digest is a child of an index that was read too.
func childOfAny(q *pull, among []*pull) bool {
	return slices.ContainsFunc(among, func(o *pull) bool { return o != q && o.parentOf(q.digest) })
}

// takeStrays gives a manifest the blobs that were asked for before its last byte had arrived.
func (p *pass) takeStrays(q *pull) {
	p.s.strays = slices.DeleteFunc(p.s.strays, func(b stray) bool {
		if !q.lists(b.op.id) {
			return false
		}
		p.belongs([]*pull{q}, b.op.id, b.full, nil)
		return true
	})
}
