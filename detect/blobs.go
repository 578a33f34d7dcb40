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

// blob decides what a blob's answer is: with a layer, the pull that it belongs to is a download.
func (p *pass) blob(op *Operation) {
	b := blobRead{op.Reference, idOf(op.Reference)}
	full := !op.Range && op.Status != http.StatusPartialContent
	found := p.candidates(b.id)
	if len(found) == 0 && p.t.goOn(p.s, func(a *session) bool { return a.reads(b.id) }) {
		found = p.candidates(b.id)
	}
	if len(found) > 0 {
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
	layers := downloading(found, b)
	if len(layers) == 0 {
		for _, q := range found {
			q.config = true
		}
		return
	}
	if full && p.s.ask(b, p.cfg.Bounds.Session) && op != nil {
		op.traced.full = b
	}
	if !(full && p.askedAgain(layers, b, op, true)) && !p.platformAfter(layers, b) {
		p.counted(layers, true)
	}
	for _, q := range layers {
		q.fetch(b)
	}
}

// mounted: a blob of what the client has read was taken over into another repository. A mount sends
// nothing: it is a further pull only where the manifest was read again after the first mount. Who
// pushes what it has pulled mounts too.
func (p *pass) mounted(b blobID) {
	found := p.candidates(b)
	layers := downloading(found, b)
	if len(layers) > 0 {
		p.s.ask(b, p.cfg.Bounds.Session)
		if !p.askedAgain(layers, b, nil, false) {
			p.counted(layers, false)
		}
	}
	for _, q := range found {
		q.config = true
		if !q.mounted {
			q.mounted, q.again = true, 0
		}
	}
}

// downloading are the readings that a blob is a layer of.
func downloading(found []*pull, b blobID) (layers []*pull) {
	for _, q := range found {
		if q.downloads(b) {
			layers = append(layers, q)
		}
	}
	return layers
}

// askedAgain is where row 2 ends: a layer asked for in full more often than there are pulls that need
// it is the next pull, if its manifest was read again, or its tag resolved again (row 8).
func (p *pass) askedAgain(found []*pull, b blobID, op *Operation, download bool) bool {
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
		if q.state == counted && p.readAnew(q, download) {
			p.again(q, op)
			return true
		}
	}
	return false
}

// readAnew reports whether a further pull of the same was begun, and takes what shows it.
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

// again tells the next pull of what has been pulled before.
func (p *pass) again(q *pull, op *Operation) {
	q.times++
	e := q.event(p.s)
	if op != nil {
		e.RequestID = op.ID
	}
	e.At = p.now
	p.tell(e)
}

// platformAfter is row 8 while the index is remembered: its tag was resolved again, and a layer of a
// platform not fetched before follows (containerd reads the manifests of all platforms at once).
func (p *pass) platformAfter(found []*pull, b blobID) bool {
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
		further.kids = []kid{{digest: k.digest, content: k.content, fetched: true}}
		p.count(further)
		return true
	}
	return false
}

// counted decides which of the readings that list a layer are downloads now: of each reference the
// newest that is undecided. What was asked for by digest alone gives way to a tag of the same layers,
// and to an index that it was read of. Where none is undecided, it is an inspection that a layer
// follows late.
func (p *pass) counted(found []*pull, late bool) {
	var named []string
	live := slices.DeleteFunc(slices.Clone(found), func(q *pull) bool { return !q.lives() })
	tagged := slices.ContainsFunc(live, func(q *pull) bool { return q.tag != "" })
	for i := len(live) - 1; i >= 0; i-- {
		q := live[i]
		if q.state != undecided || q.tag == "" && (tagged || childOfAny(q, live)) {
			continue
		}
		if name := q.tag + "@" + q.digest; !slices.Contains(named, name) {
			named = append(named, name)
			p.count(q)
		}
	}
	if late && len(live) == 0 && len(found) > 0 {
		p.count(found[len(found)-1])
	}
}

// childOfAny reports whether what was read is a child of an index that was read too.
func childOfAny(q *pull, among []*pull) bool {
	return slices.ContainsFunc(among, func(o *pull) bool { return o != q && o.parentOf(q.digest) })
}

// fromStore is row 8: a tag was resolved, its manifest was in the client's own store, and what is missing of it is fetched.
func (p *pass) fromStore(op *Operation, b blobID) bool {
	if p.s.forgot.reads || p.s.forgot.children {
		return false
	}
	for i := len(p.s.heads) - 1; i >= 0; i-- {
		h := p.s.heads[i]
		if h.digest == op.Reference {
			return p.manifestAsBlob(op, h)
		}
		c := p.t.index.content(h.digest)
		if c == nil || !p.holds(c, b) {
			continue
		}
		if !p.ofLivePull(op, b, h) {
			p.pullFromStore(op, b, h, c)
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

// ofLivePull reports whether a blob belongs to a pull that is going on: it is one of a child that the client did not
// have to read, and no HEAD has begun another pull since (BuildKit sends one for each platform).
func (p *pass) ofLivePull(op *Operation, b blobID, h head) bool {
	q := p.s.newest(func(q *pull) bool { return q.lives() && q.tag == h.tag && q.digest == h.digest })
	if q == nil || q.state == counted && h.at.After(q.countedAt) {
		return false
	}
	for _, k := range p.kidsWith(q.content, op.Reference) {
		if len(q.kids) < p.cfg.Bounds.Session && !q.hasRead(k.digest) {
			q.kids = append(q.kids, k)
		}
	}
	if q.lists(b) {
		p.belongs([]*pull{q}, b, !op.Range && op.Status != http.StatusPartialContent, op)
	}
	return true
}

// pullFromStore begins a pull by one of its blobs. The HEAD is taken; an equal one that is older stays for another
// client behind the same address.
func (p *pass) pullFromStore(op *Operation, b blobID, h head, c *content) {
	q := p.pullOf(op, h, c)
	p.add(q)
	p.s.takeHead(h.digest)
	if older := p.s.headOf(h.digest); older != nil && older.tag == h.tag {
		q.readAt = older.at.Add(-1)
	}
	if !q.downloads(b) {
		q.config = true
		return
	}
	p.count(q)
	q.fetch(b)
	if p.s.ask(b, p.cfg.Bounds.Session) {
		op.traced.full = b
	}
}

func (p *pass) pullOf(op *Operation, h head, c *content) *pull {
	q := &pull{
		tag: h.tag, digest: h.digest, content: c, times: 1, readAt: p.now, lull: p.s.lull,
		at: op.At, operator: op.Client.Operator, claimed: op.Client.Claimed, external: op.External, requestID: op.ID,
	}
	q.kids = p.kidsWith(c, op.Reference)
	return q
}

// kidsWith are the children of an index that list a blob, as far as memory knows them.
func (p *pass) kidsWith(c *content, blob string) (found []kid) {
	if c == nil || !c.index {
		return nil
	}
	for i := range c.artifact.Children {
		d := c.artifact.Children[i].Digest
		if k := p.t.index.content(d); k != nil && k.lists(idOf(blob)) {
			found = append(found, kid{digest: d, content: k})
		}
	}
	return found
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
		p.s.takeHead(h.digest)
	}
	p.manifestRead(&m)
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

// maxLoaded bounds the manifests whose contents one look-up brings into memory.
const maxLoaded = 512

// loadContents brings the contents of manifests from the ledger into memory; false when nothing came.
func (t *Tracker) loadContents(ctx context.Context, at place, digests []string) (found bool) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, _ = t.view(ctx, func(v View) error { // a store that fails makes pulls fewer
		for len(digests) > 0 && len(digests) < maxLoaded {
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
