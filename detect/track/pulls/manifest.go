package pulls

import (
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// pass handles one operation of a session, under the lock of its shard.
type pass struct {
	t      *Pulls
	s      *session
	head   head            // the HEAD that the transfer has taken
	full   tagindex.BlobID // the layer that the transfer asks for in full
	now    time.Time
	cfg    *Config
	events []detect.Event
	last   bool // what memory does not hold was looked up in the ledger already
}

// manifestRead is a manifest that was read in full.
type manifestRead struct {
	op      *detect.Operation
	tag     string // as asked for; "" when asked for by digest
	digest  string
	content *tagindex.Content
	head    head // the HEAD that names its tag
}

func (m *manifestRead) byDigest() bool { return m.tag == "" }

// plain reports whether no tag is named, not even by a HEAD.
func (m *manifestRead) plain() bool { return m.byDigest() && m.head.tag == "" }

// manifest handles a manifest that was read in full.
func (p *pass) manifest(op *detect.Operation, c *tagindex.Content) {
	m := manifestRead{op: op, digest: op.DigestRead(), content: c, head: p.head}
	if !detect.IsDigest(op.Reference) {
		m.tag = op.Reference
		p.s.takeHeadOf(m.tag)
	}
	if m.digest != "" || m.tag != "" {
		p.manifestRead(&m)
	}
}

// manifestRead goes through the table of pulls in docs/design.md, in the order of its rows.
func (p *pass) manifestRead(m *manifestRead) {
	switch {
	case p.isAccessory(m): // row 1
	case p.isRepeat(m): // row 2
	case p.isChild(m): // row 3
	case p.s.forgot.reads, p.s.forgot.some && m.plain(), p.s.dropped.has(m.tag, m.digest):
		// it may be part of a pull that was dropped to make room
	default:
		p.begin(m) // rows 4 to 9
	}
}

// isAccessory is row 1: fallback tags, and what the client found by listing referrers.
func (p *pass) isAccessory(m *manifestRead) bool {
	limit := p.cfg.Bounds.Session
	if p.s.showFallback(m.tag, m.digest, limit) || m.byDigest() && slices.Contains(p.s.listed, m.digest) {
		if m.content != nil && m.content.IsIndex {
			for i := range m.content.Artifact.Children {
				p.s.list(m.content.Artifact.Children[i].Digest, limit)
			}
		}
		return true
	}
	if !m.byDigest() || m.content == nil {
		return false
	}
	a := m.content.Artifact
	return a.Subject != "" && slices.Contains(p.s.subjects, a.Subject) ||
		p.s.forgot.accessories && (a.Subject != "" || a.Kind.Accessory())
}

// isRepeat is row 2: the same reference, or the digest on which it stands, is read again before the
// client was quiet for `repeat`. What follows decides what the read may still become: the read of
// an index for another child, or a second download.
func (p *pass) isRepeat(m *manifestRead) bool {
	same := p.s.newest(func(q *pull) bool {
		return q.lull == p.s.lull && (q.digest == m.digest && q.named(m) || m.plain() && q.lives() && q.parentOf(m.digest))
	})
	if same == nil || same.digest != m.digest {
		return false // a child of an index that was read since is read as a child
	}
	same.again++
	if len(same.childReads) > 0 {
		same.reread = true // before any child was read, it is one client that reads twice
	}
	same.readAt = p.now
	return true
}

// named reports whether a read asks for the same reference as this pull: the tag, or a digest that
// no other tag was resolved to.
func (q *pull) named(m *manifestRead) bool {
	switch {
	case !m.byDigest():
		return q.tag == m.tag
	case m.head.tag != "":
		return q.tag == m.head.tag
	}
	return true
}

// isChild is row 3: a child of an index that the client is reading. If a HEAD has resolved a tag to
// the child after the index was read, the read is a pull of that tag; an older HEAD was for
// something else.
func (p *pass) isChild(m *manifestRead) bool {
	if !m.byDigest() {
		return false
	}
	parent := p.s.newest(func(q *pull) bool { return q.lives() && q.parentOf(m.digest) })
	if parent == nil || m.head.tag != "" && m.head.at.After(parent.readAt) {
		return false
	}
	p.s.giveHeadBack(m.head, p.cfg.Bounds.Session)
	full := len(parent.childReads) >= p.maxChildReads()
	p.s.pulls = slices.DeleteFunc(p.s.pulls, func(q *pull) bool {
		// it was read before, and is part of this pull now
		return q.digest == m.digest && q.tag == "" && q.state == undecided && (q.readBack || full)
	})
	if !full && !parent.hasRead(m.digest) {
		if p.chosenAnew(parent) {
			parent = p.next(parent)
		}
		parent.childReads = append(parent.childReads, childRead{digest: m.digest, content: m.content})
	}
	p.s.forgot.children = p.s.forgot.children || full
	p.takeStrays(parent)
	return true
}

// maxChildReads bounds the children of an index that are remembered as read.
func (p *pass) maxChildReads() int { return 8 * p.cfg.Bounds.Session }

// chosenAnew reports whether a child that was not read before begins the next pull of its index. It
// does if the index was read again meanwhile, or, with the index in the client's own store, if its
// tag was resolved again.
func (p *pass) chosenAnew(parent *pull) bool {
	return parent.again > 0 && parent.reread && len(parent.childReads) > 0 || p.resolvedAnew(parent)
}

// resolvedAnew reports whether the tag of a download was resolved again after its first layer. It
// takes that HEAD.
func (p *pass) resolvedAnew(q *pull) bool {
	if q.state != downloaded || q.tag == "" {
		return false
	}
	h := p.s.headOf(q.digest)
	if h == nil || h.tag != q.tag || !h.at.After(q.downloadedAt) {
		return false
	}
	p.s.takeHead(q.digest)
	return true
}

// next begins a further pull of what was pulled before.
func (p *pass) next(of *pull) *pull {
	if of.again > 0 {
		of.again--
	}
	of.reread = false
	q := &pull{
		tag: of.tag, digest: of.digest, content: of.content, times: 1, readAt: p.now, lull: p.s.lull,
		at: p.now, operator: of.operator, claimed: of.claimed, external: of.external, requestID: of.requestID,
	}
	p.add(q)
	return q
}

// begin is rows 4 to 9: a pull of its own. What follows decides what it is: a put or delete of the
// same by the client (row 5), a layer, or quiet.
func (p *pass) begin(m *manifestRead) {
	q := &pull{
		tag: m.tag, digest: m.digest, content: m.content, times: 1, readAt: p.now, lull: p.s.lull,
		at: m.op.At, operator: m.op.Client.Operator, claimed: m.op.Client.Claimed, external: m.op.External, requestID: m.op.ID,
	}
	if q.at.IsZero() {
		q.at = p.now
	}
	if m.byDigest() {
		q.readBack = slices.Contains(p.s.puts, m.digest) || p.s.forgot.puts // row 4
		q.tag = m.head.tag                                                  // row 7
		if q.tag == "" {
			p.viaKnownIndex(q, m) // row 8, for an index
		}
	}
	p.add(q)
	p.takeStrays(q)
}

// viaKnownIndex handles a tag that was resolved to an index in the client's own store, and of which
// a child is read.
func (p *pass) viaKnownIndex(q *pull, m *manifestRead) {
	for i := len(p.s.heads) - 1; i >= 0; i-- {
		h := p.s.heads[i]
		if c := p.t.tags.Content(h.digest); c.HasChild(m.digest) {
			q.tag, q.digest, q.content = h.tag, h.digest, c
			q.childReads = []childRead{{digest: m.digest, content: m.content}}
			q.readBack = false
			p.s.takeHead(h.digest)
			return
		}
	}
}

// add remembers a pull. Where there is no room, the oldest is dropped: first those that only wait
// for late layers, last those of indexes, by which their children are recognised.
func (p *pass) add(q *pull) {
	if len(p.s.pulls) >= p.cfg.Bounds.Session {
		if i := slices.IndexFunc(p.s.pulls, func(o *pull) bool { return !o.lives() }); i >= 0 {
			p.s.pulls = append(slices.Delete(p.s.pulls, i, i+1), q)
			return
		}
		i := max(slices.IndexFunc(p.s.pulls, func(o *pull) bool { return o.content == nil || !o.content.IsIndex }), 0)
		p.s.drop(i)
		if q.tag == "" && q.state == undecided {
			return
		}
	}
	p.s.pulls = append(p.s.pulls, q)
}

// download emits a pull that is a download. Inspections of the same that wait for a layer are
// removed: the layers belong to this pull.
func (p *pass) download(q *pull) {
	q.state, q.downloadedAt, q.rested = downloaded, p.now, false
	p.s.pulls = slices.DeleteFunc(p.s.pulls, func(o *pull) bool {
		return o.state == inspected && (o.digest == q.digest || q.hasRead(o.digest))
	})
	p.emit(q.event(p.s))
}

func (p *pass) emit(e detect.Event) {
	if e.Client.Name() == "" {
		e.Client.Claimed = p.s.key.who // read without a name, by a client that has one
	}
	if e.Client.Operator == "" && e.Client.Claimed != "" && e.Client.Claimed == p.s.operator {
		e.Client.Operator, e.Client.Claimed = e.Client.Claimed, "" // its name was vouched for since
	}
	p.events = append(p.events, e)
}

// emitInspection emits an inspection, when its client has been quiet. A session that had no room
// for some of its reads emits none: the pull may be a part of one that was dropped.
func (p *pass) emitInspection(q *pull) {
	if q.state != undecided {
		return
	}
	if !q.readBack && !p.s.forgot.some {
		p.emit(q.event(p.s))
	}
	q.state = inspected
}

// endQuiet ends what waits for its client to be quiet: undecided pulls are inspections, and HEADs
// wait for no GET any more. Inspections stay, because their layers may follow late, and with them
// the downloads to which late layers may belong instead.
func (s *session) endQuiet(events []detect.Event) []detect.Event {
	p := pass{s: s, events: events}
	for _, q := range s.pulls {
		p.emitInspection(q)
	}
	if s.newest(func(q *pull) bool { return q.state == inspected }) == nil {
		s.pulls = nil
	}
	if len(s.pulls) > restPulls {
		s.pulls = slices.Delete(s.pulls, 0, len(s.pulls)-restPulls)
	}
	for _, q := range s.pulls {
		q.again, q.reread, q.rested = 0, false, true
	}
	s.heads, s.puts, s.strays, s.asked, s.writing = nil, nil, nil, nil, time.Time{}
	s.forgot, s.dropped = forgotten{accessories: s.forgot.accessories}, nil
	return p.events
}

// restPulls is how many pulls are kept of a client that has been quiet.
const restPulls = 8
