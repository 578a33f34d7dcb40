package detect

import (
	"slices"
	"time"
)

// pass is one operation's way through its session, under the shard's lock.
type pass struct {
	t    *Tracker
	s    *session
	now  time.Time
	cfg  *Config
	told []Event
	last bool // what memory does not hold has been looked up already
}

// read is a manifest that was read in full.
type manifestRead struct {
	op      *Operation
	tag     string // as asked for; "" when asked for by digest
	digest  string
	content *content
	head    head // the HEAD that it takes its tag from
}

func (m *manifestRead) byDigest() bool { return m.tag == "" }

// plain tells whether no tag at all is named, by no HEAD either.
func (m *manifestRead) plain() bool { return m.byDigest() && m.head.tag == "" }

// manifest decides what a manifest's read is, in the order of DESIGN §4.2's table of pulls.
func (p *pass) manifest(op *Operation, c *content) {
	m := manifestRead{op: op, digest: digestRead(op), content: c, head: op.traced.head}
	if !IsDigest(op.Reference) {
		m.tag = op.Reference
		p.s.dropHeads(m.tag)
	}
	switch {
	case m.digest == "" && m.tag == "":
	case p.isAccessory(&m): // row 1
	case p.isRepeat(&m): // row 2
	case p.isChild(&m): // row 3
	default:
		p.begin(&m) // rows 4 to 9
	}
}

// isAccessory is row 1: fallback tags, and what the client has found by listing referrers.
func (p *pass) isAccessory(m *manifestRead) bool {
	limit := p.cfg.Bounds.Session
	if subject, suffix, ok := FallbackTag(m.tag); ok {
		p.s.subjects = remember(p.s.subjects, subject, limit)
		if suffix != "" {
			p.s.listed = remember(p.s.listed, m.digest, limit)
		}
		if m.content != nil && m.content.index {
			for i := range m.content.artifact.Children {
				p.s.listed = remember(p.s.listed, m.content.artifact.Children[i].Digest, limit)
			}
		}
		return true
	}
	if !m.byDigest() {
		return false
	}
	return slices.Contains(p.s.listed, m.digest) || m.content != nil && m.content.artifact.Subject != "" && slices.Contains(p.s.subjects, m.content.artifact.Subject)
}

// isRepeat is row 2: the same reference, or the digest that it stands on, read again before the client was quiet for `repeat`.
// What the read may still become (its index read for another child, its layers asked for again) is decided by what follows.
func (p *pass) isRepeat(m *manifestRead) bool {
	same := p.s.newest(func(q *pull) bool {
		return q.lull == p.s.lull && (q.digest == m.digest && q.named(m) || m.plain() && q.parentOf(m.digest))
	})
	if same == nil || same.digest != m.digest {
		return false // what an index lists that was read since, is read as its child
	}
	same.again++
	if len(same.kids) > 0 || m.head.tag != "" {
		same.rereadAt = p.now // before any child was read, it is one client that reads twice (helm --verify), not two
	}
	same.readAt = p.now
	return true
}

// named tells whether a read asks for the same reference as this pull: the tag, or a digest that no other tag was resolved to.
func (q *pull) named(m *manifestRead) bool {
	switch {
	case !m.byDigest():
		return q.tag == m.tag
	case m.head.tag != "":
		return q.tag == m.head.tag
	}
	return true
}

// isChild is row 3: a child of an index that the client is reading.
func (p *pass) isChild(m *manifestRead) bool {
	if !m.byDigest() || m.head.tag != "" {
		return false
	}
	parent := p.s.newest(func(q *pull) bool { return q.parentOf(m.digest) })
	if parent == nil {
		return false
	}
	if !parent.hasRead(m.digest) && p.chosenAnew(parent) {
		parent = p.next(parent)
	}
	if !parent.hasRead(m.digest) && len(parent.kids) < p.cfg.Bounds.Session {
		parent.kids = append(parent.kids, kid{m.digest, m.content})
	}
	p.settleStrays(parent)
	return true
}

// chosenAnew tells whether a child not read before belongs to the next pull of its index: that was read again meanwhile, or, with the index in
// the client's own store, its tag was resolved again.
func (p *pass) chosenAnew(parent *pull) bool {
	if parent.again > 0 && !parent.rereadAt.IsZero() && len(parent.kids) > 0 {
		return true
	}
	if parent.state == counted && parent.tag != "" {
		h := p.s.headOf(parent.digest)
		if h != nil && h.tag == parent.tag && h.at.After(parent.readAt) {
			p.s.dropHeads(h.tag)
			return true
		}
	}
	return false
}

// next is a further pull of what has been pulled already.
func (p *pass) next(of *pull) *pull {
	if of.again > 0 {
		of.again--
	}
	of.rereadAt = time.Time{}
	q := &pull{
		tag: of.tag, digest: of.digest, content: of.content, times: 1, readAt: p.now, lull: p.s.lull,
		at: p.now, operator: of.operator, claimed: of.claimed, external: of.external, requestID: of.requestID,
	}
	p.add(q)
	return q
}

// begin is rows 4 to 9: a reading of its own. What it was decides what follows: the same client's put or delete of it (rows 4 and 5), a blob, or quiet.
func (p *pass) begin(m *manifestRead) {
	q := &pull{
		tag: m.tag, digest: m.digest, content: m.content, times: 1, readAt: p.now, lull: p.s.lull,
		at: m.op.At, operator: m.op.Client.Operator, claimed: m.op.Client.Claimed, external: m.op.External, requestID: m.op.ID,
	}
	if q.at.IsZero() {
		q.at = p.now
	}
	if m.byDigest() {
		q.readBack = slices.Contains(p.s.puts, m.digest) // row 4
		q.tag = m.head.tag                               // row 7
		if q.tag == "" {
			p.viaKnownIndex(q, m) // row 8's case of an index
		}
	}
	p.add(q)
	p.settleStrays(q)
}

// viaKnownIndex: a tag was resolved to an index that is in the client's own store, and one of its children is read.
func (p *pass) viaKnownIndex(q *pull, m *manifestRead) {
	for i := len(p.s.heads) - 1; i >= 0; i-- {
		h := p.s.heads[i]
		if c := p.t.index.content(h.digest); c.child(m.digest) {
			q.tag, q.digest, q.content = h.tag, h.digest, c
			q.kids = []kid{{m.digest, m.content}}
			q.readBack = false
			p.s.dropHeads(h.tag)
			return
		}
	}
}

func (p *pass) add(q *pull) {
	if len(p.s.pulls) >= p.cfg.Bounds.Session {
		p.tellQuiet(p.s.pulls[0])
		p.s.pulls = slices.Delete(p.s.pulls, 0, 1)
	}
	p.s.pulls = append(p.s.pulls, q)
}

// count tells a pull that downloads.
func (p *pass) count(q *pull) {
	q.state = counted
	p.tell(q.event(p.s, false))
}

func (p *pass) tell(e Event) {
	if e.Client.Operator == "" && e.Client.Claimed != "" && e.Client.Claimed == p.s.operator {
		e.Client.Operator, e.Client.Claimed = e.Client.Claimed, "" // vouched for since
	}
	p.told = append(p.told, e)
}

// tellQuiet tells a pull that moved no blob, when its client has been quiet.
func (p *pass) tellQuiet(q *pull) {
	if q.state == undecided && !q.readBack {
		p.tell(q.event(p.s, true))
	}
	if q.state == undecided {
		q.state = resolved
	}
}

// rest is what a client's quiet means: what was undecided moved no blob, and what waited for the next request waits no longer.
// Kept are reads whose blobs, and indexes whose children, may follow later.
func (s *session) rest(told []Event) []Event {
	p := pass{s: s, told: told}
	for _, q := range s.pulls {
		p.tellQuiet(q)
	}
	s.pulls = slices.DeleteFunc(s.pulls, func(q *pull) bool { return q.state == counted && (q.content == nil || !q.content.index) })
	if len(s.pulls) > restPulls {
		s.pulls = slices.Delete(s.pulls, 0, len(s.pulls)-restPulls)
	}
	for _, q := range s.pulls {
		q.again, q.rereadAt = 0, time.Time{}
	}
	s.heads, s.puts, s.strays, s.asked, s.writing = nil, nil, nil, nil, time.Time{}
	return p.told
}

// restPulls is how many reads are kept of a client that is quiet.
const restPulls = 8
