package pulls

import (
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// forgotten says what a session had no room for. A request that may depend on that makes no event:
// bounds make events fewer, never more.
type forgotten struct {
	reads       bool // what the client has read
	some        bool // some of what it has read: a read by digest may be part of that
	children    bool // children of an index that were read
	puts        bool // what the client put
	accessories bool // accessories that were listed to it
}

// with returns what either of two sessions had no room for.
func (f forgotten) with(o forgotten) forgotten {
	return forgotten{
		reads: f.reads || o.reads, some: f.some || o.some, children: f.children || o.children,
		puts: f.puts || o.puts, accessories: f.accessories || o.accessories,
	}
}

// forgottenPulls are the pulls that made room for others, by the references with which a client
// would repeat them.
type forgottenPulls map[tagindex.BlobID]struct{}

// maxDropped bounds the forgottenPulls of a session.
const maxDropped = 4096

// droppedID stands for a tag ("" for a read by digest) and the digest that it stood on.
func droppedID(tag, digest string) tagindex.BlobID { return tagindex.IDOf(tag + "@" + digest) }

// has reports whether a read repeats a forgotten pull.
func (d forgottenPulls) has(tag, digest string) bool {
	if len(d) == 0 {
		return false
	}
	_, ok := d[droppedID(tag, digest)]
	return ok
}

// drop removes a pull to make room. It also removes the pulls to which a layer of the removed one
// could be attributed from now on: undecided reads by digest, and inspections.
func (s *session) drop(i int) {
	q := s.pulls[i]
	s.pulls = slices.Delete(s.pulls, i, i+1)
	s.pulls = slices.DeleteFunc(s.pulls, func(o *pull) bool {
		return o.state == inspected || o.state == undecided && o.tag == ""
	})
	s.forgot.some = true
	for b := range s.asked {
		if q.lives() && q.downloads(b) {
			s.asked[b] = max(s.asked[b]-q.times, 0)
		}
	}
	if len(s.dropped) >= maxDropped {
		s.forgot.reads = true
		return
	}
	if s.dropped == nil {
		s.dropped = forgottenPulls{}
	}
	s.dropped[droppedID(q.tag, q.digest)] = struct{}{}
	s.dropped[droppedID("", q.digest)] = struct{}{}
}

// lost are the sessions that were evicted before their clients were quiet.
type lost struct {
	ids map[uint64]forgotten
	any bool      // there were more than ids can hold
	at  time.Time // of the last one
}

// maxLost bounds the evicted sessions that a shard remembers by their IDs.
const maxLost = 4096

// add remembers an evicted session if, without it, a later request could look like a new pull.
func (l *lost) add(s *session, now time.Time) {
	f := s.forgot
	f.accessories = f.accessories || len(s.listed)+len(s.subjects) > 0
	if !s.resting && len(s.pulls)+len(s.puts)+len(s.dropped) > 0 {
		f.reads = true
	}
	if f == (forgotten{}) {
		return
	}
	l.at = now
	if len(l.ids) >= maxLost {
		l.any = true
		return
	}
	if l.ids == nil {
		l.ids = map[uint64]forgotten{}
	}
	l.ids[s.id] = f
}

// of returns what a session that begins may have lost.
func (l *lost) of(id uint64) forgotten {
	if l.any {
		return forgotten{reads: true, accessories: true}
	}
	return l.ids[id]
}

// expire removes the evicted sessions once all of their clients would have been quiet.
func (l *lost) expire(now time.Time, quiet time.Duration) {
	if !l.at.IsZero() && now.Sub(l.at) >= quiet {
		*l = lost{}
	}
}
