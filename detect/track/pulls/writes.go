package pulls

import (
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// Busy makes a client busy while its write is on its way, until Done.
func (t *Pulls) Busy(op *detect.Operation) Transfer {
	if !concerns(op) {
		return Transfer{}
	}
	now := time.Now()
	k := sessionKeyOf(op, op.Repository)
	sh, id := t.sessions.find(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s := sh.enter(k, id, now).self()
	s.busy++
	if s.writing.IsZero() {
		s.writing = now
	}
	sh.touch(s, now)
	sh.evict(t.cfg.Load().Bounds, now)
	return Transfer{session: s}
}

// Write is a write that the upstream has done.
type Write struct {
	Put    bool   // a manifest was put, not deleted
	Digest string // of the manifest; "" if a tag was deleted, and its digest is not known
	Tag    string // a tag that was deleted
	Tagged bool   // a manifest was put under tags
}

// Done ends what Busy began. w is nil if the write was not done, or if that is not known.
func (t *Pulls) Done(tr *Transfer, w *Write) {
	s := tr.session
	if s == nil {
		return
	}
	*tr = Transfer{}
	s.shard.mu.Lock()
	defer s.shard.mu.Unlock()
	if s.gone {
		return
	}
	s = s.self()
	now := time.Now()
	s.busy = max(s.busy-1, 0)
	s.shard.touch(s, now)
	if w != nil {
		t.wrote(s, w, now)
	}
	s.shard.weigh(s)
}

// wrote removes the reads that were part of a write (rows 4 and 5 of the table of pulls).
func (t *Pulls) wrote(s *session, w *Write, now time.Time) {
	limit := t.cfg.Load().Bounds.Session
	if w.Put {
		s.hasPut(w.Digest, limit)
		t.putByNamed(s.key, w.Digest, limit, now)
		if !w.Tagged {
			return
		}
	}
	isPart := func(q *pull) bool { return q.state == undecided && !q.config && w.concerns(q) }
	if s.newest(isPart) == nil {
		t.adoptHalf(s, func(a *session) bool { return a.newest(isPart) != nil })
	}
	s.pulls = slices.DeleteFunc(s.pulls, isPart)
}

// concerns reports whether a write has put or deleted what was pulled.
func (w *Write) concerns(q *pull) bool {
	if w.Put {
		return q.digest == w.Digest
	}
	return w.Digest != "" && q.digest == w.Digest || w.Tag != "" && q.tag == w.Tag
}

// QuietSince returns since when a client has done nothing in a repository, as far as this process
// has seen. Before its start it has seen nothing.
func (t *Pulls) QuietSince(p tagindex.Place, c *detect.Client) time.Time {
	k := newSessionKey(p, c)
	sh, id := t.sessions.find(k)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	s, _ := sh.session(k, id)
	switch {
	case s == nil:
		return t.started
	case s.busy > 0:
		return time.Now()
	}
	return s.last
}

// Pusher is a client that is pushing to a repository.
type Pusher struct {
	Place  tagindex.Place
	Client detect.Client // its operator, address and user agent
	Last   time.Time     // when its last request began or ended
}

// Pushers returns the clients that have been pushing for longer than a while and still are. Each is
// returned once in such a while.
func (t *Pulls) Pushers(now time.Time, while time.Duration) (found []Pusher) {
	for i := range t.sessions.shards {
		sh := &t.sessions.shards[i]
		sh.mu.Lock()
		for s := sh.active.front; s != nil && (s.busy > 0 || now.Sub(s.last) < while); s = s.next {
			if s.writing.IsZero() || now.Sub(s.writing) < while {
				continue
			}
			s.writing = now
			last := s.last
			if s.busy > 0 {
				last = now
			}
			client := detect.Client{Operator: s.key.who, Address: s.key.address, UserAgent: s.key.agent}
			found = append(found, Pusher{s.place(), client, last})
		}
		sh.mu.Unlock()
	}
	return found
}
