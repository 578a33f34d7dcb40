package pulls

import (
	"context"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// fromStore is row 8: a tag was resolved, its manifest was in the client's own store, and the blobs
// that the store lacks are fetched.
func (p *pass) fromStore(op *detect.Operation, b tagindex.BlobID) bool {
	if p.s.forgot.reads || p.s.forgot.children {
		return false
	}
	for i := len(p.s.heads) - 1; i >= 0; i-- {
		h := p.s.heads[i]
		if h.digest == op.Reference {
			return p.manifestAsBlob(op, h)
		}
		c := p.t.tags.Content(h.digest)
		if c == nil || !p.holds(c, b) {
			continue
		}
		if !p.ofLivePull(op, b, h) {
			p.pullFromStore(op, b, h, c)
		}
		return true
	}
	if c := p.t.tags.Content(op.Reference); c != nil {
		return p.manifestAsBlob(op, head{digest: op.Reference})
	}
	if !p.last {
		p.t.lookUpStored(p.s, op)
	}
	return false
}

// ofLivePull reports whether a blob belongs to a pull that is under way: it is a blob of a child
// that the client did not have to read, and no HEAD has begun another pull since (BuildKit sends
// one for each platform).
func (p *pass) ofLivePull(op *detect.Operation, b tagindex.BlobID, h head) bool {
	q := p.s.newest(func(q *pull) bool { return q.lives() && q.tag == h.tag && q.digest == h.digest })
	if q == nil || q.state == downloaded && h.at.After(q.downloadedAt) {
		return false
	}
	for _, k := range p.childrenWith(q.content, op.Reference) {
		if len(q.childReads) < p.maxChildReads() && !q.hasRead(k.digest) {
			q.childReads = append(q.childReads, k)
		}
	}
	if q.lists(b) {
		p.belongs([]*pull{q}, b, op.WholeBlob(), op)
	}
	return true
}

// pullFromStore begins a pull with one of its blobs. It takes the HEAD; an older equal one stays
// for another client at the same address.
func (p *pass) pullFromStore(op *detect.Operation, b tagindex.BlobID, h head, c *tagindex.Content) {
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
	p.download(q)
	q.fetch(b)
	if p.s.ask(b, p.cfg.Bounds.Session) {
		p.full = b
	}
}

func (p *pass) pullOf(op *detect.Operation, h head, c *tagindex.Content) *pull {
	q := &pull{
		tag: h.tag, digest: h.digest, content: c, times: 1, readAt: p.now, lull: p.s.lull,
		at: op.At, operator: op.Client.Operator, claimed: op.Client.Claimed, external: op.External, requestID: op.ID,
	}
	q.childReads = p.childrenWith(c, op.Reference)
	return q
}

// childrenWith returns the children of an index that list a blob, as far as they are in memory.
func (p *pass) childrenWith(c *tagindex.Content, blob string) (found []childRead) {
	if c == nil || !c.IsIndex {
		return nil
	}
	for i := range c.Artifact.Children {
		d := c.Artifact.Children[i].Digest
		if k := p.t.tags.Content(d); k != nil && k.Lists(tagindex.IDOf(blob)) {
			found = append(found, childRead{digest: d, content: k})
		}
	}
	return found
}

// holds reports whether a blob belongs to a manifest, or to a child of an index.
func (p *pass) holds(c *tagindex.Content, b tagindex.BlobID) bool {
	if c.Lists(b) {
		return true
	}
	for i := range c.Artifact.Children {
		if k := p.t.tags.Content(c.Artifact.Children[i].Digest); k != nil && k.Lists(b) {
			return true
		}
	}
	return false
}

// manifestAsBlob handles a manifest that was read as a blob: registries serve manifests under
// /blobs/ too.
func (p *pass) manifestAsBlob(op *detect.Operation, h head) bool {
	c := p.t.tags.Content(op.Reference)
	m := manifestRead{op: op, digest: op.Reference, content: c, head: h}
	if h.tag != "" {
		p.s.takeHead(h.digest)
	}
	p.manifestRead(&m)
	return true
}

// lookUpStored looks up in the ledger whether a tag that was resolved stands on an image with this
// blob. Then the blob is decided again, and what was found is in memory for the blobs that follow.
func (t *Pulls) lookUpStored(s *session, op *detect.Operation) {
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
	blob := detect.Operation{
		Request:  detect.Request{Action: detect.BlobGet, Repository: op.Repository, Reference: op.Reference, Hint: op.Hint},
		Upstream: op.Upstream, Kind: op.Kind, ID: op.ID, At: op.At, Client: op.Client, External: op.External, Status: op.Status, Range: op.Range, Whole: op.Whole,
	}
	t.tags.Later(func(ctx context.Context) {
		if t.tags.LoadContents(ctx, at, digests) {
			t.blobAgain(who, &blob)
		}
	})
}

// blobAgain decides a blob once more, with what the ledger has shown.
func (t *Pulls) blobAgain(k sessionKey, op *detect.Operation) {
	sh, id := t.sessions.find(k)
	sh.mu.Lock()
	s, _ := sh.session(k, id)
	if s == nil {
		sh.mu.Unlock()
		return
	}
	p := pass{t: t, s: s, now: time.Now(), cfg: t.cfg.Load(), last: true}
	if len(p.candidates(tagindex.IDOf(op.Reference))) == 0 {
		p.fromStore(op, tagindex.IDOf(op.Reference))
	}
	sh.weigh(s)
	sh.mu.Unlock()
	t.emit(p.events)
}
