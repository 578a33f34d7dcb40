package pulls

import (
	"slices"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// resolved remembers a HEAD that has shown on which digest a tag stands. Equal ones are kept side
// by side: they may belong to several clients at one address.
func (s *session) resolved(op *detect.Operation, now time.Time, limit int) {
	if detect.IsDigest(op.Reference) || op.ContentDigest == "" || s.showFallback(op.Reference, op.ContentDigest, limit) {
		return
	}
	s.heads = append(s.heads, head{tag: op.Reference, digest: op.ContentDigest, at: now})
	if len(s.heads) > limit {
		i := s.oldestEqual()
		s.heads = slices.Delete(s.heads, i, i+1)
	}
}

// oldestEqual returns the oldest HEAD that a newer one equals, or else the oldest.
func (s *session) oldestEqual() int {
	type standing struct{ tag, digest string }
	newest := make(map[standing]int, len(s.heads))
	for i := range s.heads {
		newest[standing{s.heads[i].tag, s.heads[i].digest}] = i
	}
	for i := range s.heads {
		if newest[standing{s.heads[i].tag, s.heads[i].digest}] != i {
			return i
		}
	}
	return 0
}

// takeHead takes the newest HEAD that resolved a tag to this digest. Each is taken once.
func (s *session) takeHead(digest string) head {
	return s.take(func(h *head) bool { return h.digest == digest })
}

// takeHeadOf takes the newest HEAD of a tag.
func (s *session) takeHeadOf(tag string) head {
	return s.take(func(h *head) bool { return h.tag == tag })
}

func (s *session) take(is func(*head) bool) head {
	for i := len(s.heads) - 1; i >= 0; i-- {
		if h := s.heads[i]; is(&h) {
			s.heads = slices.Delete(s.heads, i, i+1)
			return h
		}
	}
	return head{}
}

// giveHeadBack returns a HEAD that was taken: its GET has failed, or was for something else.
func (s *session) giveHeadBack(h head, limit int) {
	if h.tag != "" && len(s.heads) < limit {
		s.heads = append(s.heads, h)
	}
}

func (s *session) headOf(digest string) *head {
	for i := len(s.heads) - 1; i >= 0; i-- {
		if s.heads[i].digest == digest {
			return &s.heads[i]
		}
	}
	return nil
}

// showFallback remembers what the answer of a fallback tag shows: that the accessories of its
// subject were listed, or one of them. It reports whether the tag is a fallback tag.
func (s *session) showFallback(tag, digest string, limit int) bool {
	subject, _, ok := detect.FallbackTag(tag)
	if ok {
		s.listedOf(subject, limit)
		s.list(digest, limit)
	}
	return ok
}

// listedOf remembers that the accessories of a subject were listed to the client.
func (s *session) listedOf(subject string, limit int) {
	var forgot bool
	s.subjects, forgot = remember(s.subjects, subject, limit)
	s.forgot.accessories = s.forgot.accessories || forgot
}

// list remembers an accessory that was listed to the client.
func (s *session) list(digest string, limit int) {
	var forgot bool
	s.listed, forgot = remember(s.listed, digest, limit)
	s.forgot.accessories = s.forgot.accessories || forgot
}

// hasPut remembers what the client has put.
func (s *session) hasPut(digest string, limit int) {
	var forgot bool
	s.puts, forgot = remember(s.puts, digest, limit)
	s.forgot.puts = s.forgot.puts || forgot
}

// newest returns the newest pull for which is returns true, or nil.
func (s *session) newest(is func(*pull) bool) *pull {
	for i := len(s.pulls) - 1; i >= 0; i-- {
		if is(s.pulls[i]) {
			return s.pulls[i]
		}
	}
	return nil
}

// remember adds a digest to a short list. Where there is no room, the oldest is removed, and forgot
// is true.
func remember(list []string, digest string, limit int) (longer []string, forgot bool) {
	if digest == "" || slices.Contains(list, digest) {
		return list, false
	}
	if len(list) >= limit {
		list, forgot = slices.Delete(list, 0, 1), true
	}
	return append(list, digest), forgot
}

// ask counts a layer that is asked for in full. It reports whether there was room.
func (s *session) ask(b tagindex.BlobID, limit int) bool {
	if s.asked == nil {
		s.asked = map[tagindex.BlobID]int{}
	}
	if _, ok := s.asked[b]; !ok {
		if len(s.asked) >= limit*8 {
			return false
		}
	}
	s.asked[b]++
	return true
}

// unask takes back a layer that did not arrive.
func (s *session) unask(b tagindex.BlobID) {
	if b != 0 && s.asked[b] > 0 {
		s.asked[b]--
	}
}
