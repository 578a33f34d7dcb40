package detect

import (
	"slices"
	"time"
)

// resolved notes that a HEAD has shown where a tag stands.
func (s *session) resolved(op *Operation, now time.Time, limit int) {
	if IsDigest(op.Reference) || op.ContentDigest == "" {
		return
	}
	if _, _, fallback := FallbackTag(op.Reference); fallback {
		return
	}
	h := head{tag: op.Reference, digest: op.ContentDigest, at: now}
	s.heads = slices.DeleteFunc(s.heads, func(o head) bool { return o.tag == h.tag && o.digest == h.digest })
	s.heads = append(s.heads, h)
	if len(s.heads) > limit {
		s.heads = slices.Delete(s.heads, 0, 1)
	}
}

// takeHead gives the newest HEAD that resolved a tag to this digest. Each is given once.
func (s *session) takeHead(digest string) head {
	for i := len(s.heads) - 1; i >= 0; i-- {
		if s.heads[i].digest == digest {
			h := s.heads[i]
			s.heads = slices.Delete(s.heads, i, i+1)
			return h
		}
	}
	return head{}
}

// giveHeadBack: the GET that took it has failed.
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

func (s *session) dropHeads(tag string) {
	s.heads = slices.DeleteFunc(s.heads, func(h head) bool { return h.tag == tag })
}

// newest finds the newest reading that answers to a description.
func (s *session) newest(is func(*pull) bool) *pull {
	for i := len(s.pulls) - 1; i >= 0; i-- {
		if is(s.pulls[i]) {
			return s.pulls[i]
		}
	}
	return nil
}

// partOf ends undecided readings that have become part of a push or a delete (row 5).
func (s *session) partOf(is func(*pull) bool) {
	s.pulls = slices.DeleteFunc(s.pulls, func(p *pull) bool { return p.state == undecided && is(p) })
}

// remember adds a digest to a short list, whose oldest make room.
func remember(list []string, digest string, limit int) []string {
	if digest == "" || slices.Contains(list, digest) {
		return list
	}
	if len(list) >= limit {
		list = slices.Delete(list, 0, 1)
	}
	return append(list, digest)
}

// ask counts a layer that is asked for in full; false when there is no room.
func (s *session) ask(b blobID, limit int) bool {
	if s.asked == nil {
		s.asked = map[blobID]int{}
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
func (s *session) unask(b blobID) {
	if b != 0 && s.asked[b] > 0 {
		s.asked[b]--
	}
}
