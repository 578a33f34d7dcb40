package track

import (
	"slices"
	"time"
)

// forgotten says what of a session there was no room for. What may depend on it makes no event:
// bounds make events fewer, never more.
type forgotten struct {
	reads       bool // what was read
	some        bool // some of it: a read by digest may be part of that
	children    bool // children of an index that were read
	puts        bool // what the client put
	accessories bool // accessories that were listed to it
}

// with is what either of two sessions had no room for.
func (f forgotten) with(o forgotten) forgotten {
	return forgotten{
		reads: f.reads || o.reads, some: f.some || o.some, children: f.children || o.children,
		puts: f.puts || o.puts, accessories: f.accessories || o.accessories,
	}
}

// dropped are the readings that made room for others, by what they may be asked for again.
type forgottenPulls map[blobID]struct{}

// maxDropped bounds the readings of a session that are remembered as dropped.
const maxDropped = 4096

// droppedID stands for a tag ("" for a read by digest) and the digest that it stood on.
func droppedID(tag, digest string) blobID { return idOf(tag + "@" + digest) }

// has reports whether a read repeats a dropped one.
func (d forgottenPulls) has(tag, digest string) bool {
	if len(d) == 0 {
		return false
	}
	_, ok := d[droppedID(tag, digest)]
	return ok
}

// drop forgets a reading, and with it whatever a layer of it could be taken for from now on: reads
// by digest that are not decided, and inspections that wait for a layer.
func (s *session) drop(i int) {
	q := s.pulls[i]
	s.pulls = slices.Delete(s.pulls, i, i+1)
	s.pulls = slices.DeleteFunc(s.pulls, func(o *pull) bool {
		return o.state == resolved || o.state == undecided && o.tag == ""
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

// lost are sessions that were evicted before their clients were quiet.
type lost struct {
	ids map[uint64]forgotten
	any bool      // too many to know them apart
	at  time.Time // of the last one
}

// maxLost bounds the evicted sessions that a shard knows apart.
const maxLost = 4096

// add notes an evicted session, as far as what follows could be taken for something new.
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

// of is what a session that begins may have lost.
func (l *lost) of(id uint64) forgotten {
	if l.any {
		return forgotten{reads: true, accessories: true}
	}
	return l.ids[id]
}

// expire forgets the evicted sessions when all of their clients would have been quiet by now.
func (l *lost) expire(now time.Time, quiet time.Duration) {
	if !l.at.IsZero() && now.Sub(l.at) >= quiet {
		*l = lost{}
	}
}
