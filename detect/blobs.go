package detect

import (
	"context"
	"net/http"
	"slices"
	"time"
)

// blobRead is a blob that was asked for, as far as it matters later.
type blobRead struct {
	digest string
	id     blobID
}

// blob decides what a blob's answer is: the pull that it belongs to downloads.
func (p *pass) blob(op *Operation) {
	b := blobRead{op.Reference, idOf(op.Reference)}
	full := !op.Range && op.Status != http.StatusPartialContent
	if found := p.candidates(b.id); len(found) > 0 {
		p.belongs(found, b.id, full, op)
		return
	}
	if q := p.unreadable(); q != nil {
		p.count(q)
		return
	}
	if p.fromStore(op, b.id) { // row 8
		return
	}
	if p.s.reading > 0 && len(p.s.strays) < p.cfg.Bounds.Session {
		p.s.strays = append(p.s.strays, stray{b, full})
	}
}

// candidates are the readings that a blob may belong to, oldest first.
func (p *pass) candidates(b blobID) (found []*pull) {
	for _, q := range p.s.pulls {
		if q.lists(b) {
			found = append(found, q)
		}
	}
	return found
}

// unreadable is a reading whose manifest says nothing (too long, schema 1): any blob that belongs to nothing else is taken for its own.
func (p *pass) unreadable() *pull {
	return p.s.newest(func(q *pull) bool { return q.content == nil && q.state == undecided })
}

// belongs: a blob of what the client has read was answered.
func (p *pass) belongs(found []*pull, b blobID, full bool, op *Operation) {
	if full && layerOfAny(found, b) {
		if p.s.ask(b, p.cfg.Bounds.Session) && op != nil {
			op.traced.full = b
		}
		if p.askedAgain(found, b, op, true) {
			return
		}
	}
	p.counted(found)
}

// mounted: a blob of what the client has read was taken over into another repository. A layer that was there already is the next pull only
// where its manifest was read again: who pushes what it has pulled mounts too.
func (p *pass) mounted(b blobID) {
	found := p.candidates(b)
	if layerOfAny(found, b) {
		p.s.ask(b, p.cfg.Bounds.Session)
		if p.askedAgain(found, b, nil, false) {
			return
		}
	}
	p.counted(found)
}

func layerOfAny(found []*pull, b blobID) bool {
	return slices.ContainsFunc(found, func(q *pull) bool { return q.layer(b) })
}

// askedAgain is where row 2 ends: a layer asked for in full more often than there are pulls that need it is the next pull, if its manifest
// was read again, or its tag resolved again (row 8; not for mounts).
func (p *pass) askedAgain(found []*pull, b blobID, op *Operation, heads bool) bool {
	pulls := 0
	for _, q := range found {
		if q.state != resolved {
			pulls += q.times
		}
	}
	if p.s.asked[b] <= pulls {
		return false
	}
	for i := len(found) - 1; i >= 0; i-- {
		q := found[i]
		h := p.s.headOf(q.digest)
		again := heads && h != nil && h.at.After(q.readAt)
		if q.again == 0 && !again || q.state != counted {
			continue
		}
		if q.again > 0 {
			q.again--
		} else {
			p.s.dropHeads(h.tag)
		}
		q.times++
		e := q.event(p.s, false)
		if op != nil {
			e.RequestID = op.ID
		}
		e.At = p.now
		p.tell(e)
		return true
	}
	return false
}

// counted decides which of the readings that list a blob download now: of each reference the newest that is undecided. What was asked for by digest
// alone gives way to a tag of the same digest. Where none is undecided, it is one whose quiet had passed without a blob.
func (p *pass) counted(found []*pull) {
	var named []string
	tagged := slices.ContainsFunc(found, func(q *pull) bool { return q.tag != "" && q.state != resolved })
	decided := false
	for i := len(found) - 1; i >= 0; i-- {
		q := found[i]
		if q.state != undecided || q.tag == "" && tagged {
			continue
		}
		if name := q.tag + "@" + q.digest; !slices.Contains(named, name) {
			named = append(named, name)
			p.count(q)
			decided = true
		}
	}
	if decided || len(found) == 0 {
		return
	}
	if q := found[len(found)-1]; q.state == resolved {
		p.count(q)
	}
}

// fromStore is row 8: a tag was resolved, its manifest was in the client's own store, and what is missing of it is fetched.
func (p *pass) fromStore(op *Operation, b blobID) bool {
	for i := len(p.s.heads) - 1; i >= 0; i-- {
		h := p.s.heads[i]
		if h.digest == op.Reference {
			return p.manifestAsBlob(op, h)
		}
		c := p.t.index.content(h.digest)
		if c == nil || !p.holds(c, b) {
			continue
		}
		q := p.pullOf(op, h, c)
		p.add(q)
		p.s.dropHeads(h.tag)
		p.count(q)
		if c.isLayer(b) && p.s.ask(b, p.cfg.Bounds.Session) {
			op.traced.full = b
		}
		return true
	}
	if c := p.t.index.content(op.Reference); c != nil {
		return p.manifestAsBlob(op, head{digest: op.Reference})
	}
	if !p.last {
		p.t.lookUpStored(p.s, op)
	}
	return false
}

func (p *pass) pullOf(op *Operation, h head, c *content) *pull {
	q := &pull{
		tag: h.tag, digest: h.digest, content: c, times: 1, readAt: p.now, lull: p.s.lull,
		at: op.At, operator: op.Client.Operator, claimed: op.Client.Claimed, external: op.External, requestID: op.ID,
	}
	if c != nil && c.index {
		for i := range c.artifact.Children {
			d := c.artifact.Children[i].Digest
			if k := p.t.index.content(d); k != nil && k.lists(idOf(op.Reference)) {
				q.kids = append(q.kids, kid{d, k})
			}
		}
	}
	return q
}

// holds tells whether a blob belongs to a manifest, or to a child of an index.
func (p *pass) holds(c *content, b blobID) bool {
	if c.lists(b) {
		return true
	}
	for i := range c.artifact.Children {
		if k := p.t.index.content(c.artifact.Children[i].Digest); k != nil && k.lists(b) {
			return true
		}
	}
	return false
}

// manifestAsBlob: registries give manifests through …/blobs/ too.
func (p *pass) manifestAsBlob(op *Operation, h head) bool {
	c := p.t.index.content(op.Reference)
	m := manifestRead{op: op, digest: op.Reference, content: c, head: h}
	if h.tag != "" {
		p.s.dropHeads(h.tag)
	}
	switch {
	case p.isAccessory(&m), p.isRepeat(&m), p.isChild(&m):
	default:
		p.begin(&m)
	}
	return true
}

// settleStrays gives a manifest the blobs that were asked for before its last byte had been noted.
func (p *pass) settleStrays(q *pull) {
	p.s.strays = slices.DeleteFunc(p.s.strays, func(b stray) bool {
		if !q.lists(b.op.id) {
			return false
		}
		p.belongs([]*pull{q}, b.op.id, b.full, nil)
		return true
	})
}

// lookUpStored asks the ledger whether a tag that was resolved stands on an image that this blob belongs to: what memory no longer holds
// is then there for the blobs that follow. It gives up nothing but time.
func (t *Tracker) lookUpStored(s *session, op *Operation) {
	at, who := s.place(), s.key
	var digests []string
	for i := range s.heads {
		if !s.heads[i].looked {
			s.heads[i].looked = true
			digests = append(digests, s.heads[i].digest)
		}
	}
	if len(digests) == 0 {
		return
	}
	blob := Operation{
		Request:  Request{Action: BlobGet, Repository: op.Repository, Reference: op.Reference, Hint: op.Hint},
		Upstream: op.Upstream, Kind: op.Kind, ID: op.ID, At: op.At, Client: op.Client, External: op.External, Status: op.Status, Range: op.Range,
	}
	t.later(func(ctx context.Context) {
		if t.loadContents(ctx, at, digests) {
			t.blobAgain(who, &blob)
		}
	})
}

// loadContents brings the contents of manifests from the ledger into memory; false when nothing came.
func (t *Tracker) loadContents(ctx context.Context, at place, digests []string) (found bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, _ = t.view(ctx, func(v View) error { // a store that fails makes pulls fewer
		for len(digests) > 0 && len(digests) < maxRowBlobs {
			digest := digests[0]
			digests = digests[1:]
			if t.index.content(digest) != nil {
				continue
			}
			row, ok, err := read[manifestRow](v, at.manifestKey(digest))
			if err != nil {
				return err
			}
			if !ok || row.Artifact.Kind == "" {
				continue
			}
			found = true
			t.index.keep(digest, contentOf(row.manifest(), row.Own))
			for i := range row.Artifact.Children {
				digests = append(digests, row.Artifact.Children[i].Digest)
			}
		}
		return nil
	})
	return found
}

// blobAgain decides a blob once more, with what the ledger knew.
func (t *Tracker) blobAgain(k sessionKey, op *Operation) {
	sh, id := t.sessions.find(k)
	sh.mu.Lock()
	s, _ := sh.session(k, id)
	if s == nil {
		sh.mu.Unlock()
		return
	}
	p := pass{t: t, s: s, now: time.Now(), cfg: t.cfg.Load(), last: true}
	if len(p.candidates(idOf(op.Reference))) == 0 {
		p.fromStore(op, idOf(op.Reference))
	}
	sh.weigh(s)
	sh.mu.Unlock()
	t.tell(p.told)
}
