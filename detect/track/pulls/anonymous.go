package pulls

import (
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// Where reads are open and writes need a login, many clients log in only when they are asked to.
// One operation then has an anonymous half and a named one. An anonymous read belongs to the one
// named client of the same address and user agent that goes on with it. From then on the named
// session owns the anonymous one, and requests of the anonymous one count for its owner.

// self returns the session that requests count for: the owner, if there is one. The caller holds
// the lock of the shard.
func (s *session) self() *session {
	if s.owner != nil && s.owner.gone {
		s.owner = nil
	}
	if s.owner != nil {
		return s.owner
	}
	return s
}

// follows reports whether the owner of an anonymous session has not been quiet.
func (s *session) follows(now time.Time, quiet time.Duration) bool {
	o := s.owner
	return o != nil && !o.gone && (o.busy > 0 || now.Sub(o.last) < quiet)
}

// half returns the anonymous session of a named client's address and user agent; nil if there is
// none that this client could own.
func (t *Pulls) half(k sessionKey) *session {
	if k.who == "" {
		return nil
	}
	k.who = ""
	sh, id := t.sessions.find(k)
	a, _ := sh.session(k, id)
	if a == nil || a.shared {
		return nil
	}
	return a
}

// adoptHalf makes a named client the owner of its anonymous half, if knows reports true of that. It
// reports whether it did.
func (t *Pulls) adoptHalf(s *session, knows func(*session) bool) bool {
	a := t.half(s.key)
	if a == nil || a.self() == s || !knows(a.self()) {
		return false
	}
	if a.owner != nil { // another named client owned it before, so that it may be either's
		a.owner, a.shared = nil, true
		return false
	}
	s.adopt(a)
	return true
}

// adopt moves what an anonymous session has remembered into this one.
func (s *session) adopt(a *session) {
	for _, q := range a.pulls {
		q.lull += s.lull - a.lull // still as many lulls ago
	}
	s.pulls = append(a.pulls, s.pulls...)
	s.heads = append(a.heads, s.heads...)
	s.puts = append(a.puts, s.puts...)
	s.subjects = append(a.subjects, s.subjects...)
	s.listed = append(a.listed, s.listed...)
	s.strays = append(a.strays, s.strays...)
	for b, n := range a.asked {
		if s.asked == nil {
			s.asked = map[tagindex.BlobID]int{}
		}
		s.asked[b] += n
	}
	for id := range a.dropped {
		if s.dropped == nil {
			s.dropped = forgottenPulls{}
		}
		s.dropped[id] = struct{}{}
	}
	s.forgot = s.forgot.with(a.forgot)
	s.busy, s.reading = s.busy+a.busy, s.reading+a.reading
	a.pulls, a.heads, a.puts, a.subjects, a.listed, a.strays, a.asked, a.dropped = nil, nil, nil, nil, nil, nil, nil, nil
	a.busy, a.reading, a.owner = 0, 0, s
	a.shard.weigh(a)
	a.shard.weigh(s)
}

// read reports whether the read of a digest continues what this session has done.
func (s *session) read(digest string) bool {
	return s.headOf(digest) != nil || slices.Contains(s.listed, digest) ||
		s.newest(func(q *pull) bool { return q.lives() && (q.digest == digest || q.parentOf(digest)) }) != nil
}

// adoptHalfOf adopts the anonymous half for a named read by digest, if that half has read the
// manifest's index or has resolved a tag to it.
func (t *Pulls) adoptHalfOf(s *session, tr *Transfer, op *detect.Operation) {
	if s.key.who == "" || !detect.IsDigest(op.Reference) || tr.head.tag != "" || s.read(op.Reference) {
		return
	}
	if t.adoptHalf(s, func(a *session) bool { return a.read(op.Reference) }) {
		tr.head = s.takeHead(op.Reference)
	}
}

// reads reports whether a blob belongs to what was read.
func (s *session) reads(b tagindex.BlobID) bool {
	return s.newest(func(q *pull) bool { return q.lists(b) }) != nil
}

// putByNamed adds what a named client has put to its anonymous half, which may read it back.
func (t *Pulls) putByNamed(k sessionKey, digest string, limit int, now time.Time) {
	if k.who == "" {
		return
	}
	k.who = ""
	sh, id := t.sessions.find(k)
	a := sh.enter(k, id, now)
	if a.self() == a {
		a.hasPut(digest, limit)
		sh.touch(a, now)
		sh.weigh(a)
	}
}
