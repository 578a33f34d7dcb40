package pulls

import (
	"hash/maphash"
	"sync"
	"time"
	"unique"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track/tagindex"
)

// session is what one client is doing in one repository. Sessions are only in memory: a crash loses
// reads, which changed nothing. They are spread over shards. The lock of a shard guards everything
// in it. No code blocks while it holds that lock.
type session struct {
	key        sessionKey
	id         uint64
	shard      *shard
	prev, next *session // its list in the shard: active or resting

	resting bool      // the client has been quiet, and all of its reads are decided
	gone    bool      // evicted, or ended
	busy    int       // transfers in flight
	last    time.Time // when the last request began or ended
	lull    int       // how often the client has been quiet for `repeat`

	heads    []head                  // tags that HEADs resolved and no GET has taken yet, oldest first
	pulls    []*pull                 // oldest first
	room     [1]*pull                // backs pulls: most clients read one manifest
	puts     []string                // digests that the client has put
	subjects []string                // manifests whose accessories it has asked for
	listed   []string                // accessories that fallback tags have listed to it
	asked    map[tagindex.BlobID]int // layers asked for in full, how often
	strays   []stray                 // blobs asked for while a manifest that may list them was on its way
	reading  int                     // manifests on their way
	writing  time.Time               // since when it pushes; zero when it does not
	operator string                  // the client's name, once it was vouched for
	cost     int                     // its bytes of memory, about

	forgot  forgotten
	dropped forgottenPulls // pulls that made room for others
	owner   *session       // of an anonymous session: the named client that it is the half of
	shared  bool           // several named clients could be its owner
}

// sessionKey is a client in a repository: operator, address and user agent. The connection is no
// part of it.
type sessionKey struct {
	at                  unique.Handle[tagindex.Place] // tens of thousands of sessions share a few places
	who, address, agent string
}

func sessionKeyOf(op *detect.Operation, repository string) sessionKey {
	return newSessionKey(tagindex.Place{Upstream: op.Upstream, Hint: op.Hint, Repository: repository}, &op.Client)
}

func newSessionKey(p tagindex.Place, c *detect.Client) sessionKey {
	return sessionKey{unique.Make(p), c.Name(), c.Address, c.UserAgent}
}

func (s *session) place() tagindex.Place { return s.key.at.Value() }

type head struct {
	tag, digest string
	at          time.Time
	looked      bool // its manifest was looked up in the ledger
}

type stray struct {
	op   blobRead
	full bool
}

// Transfer is what the Tracker remembers of one request between Start and End. The caller owns it
// and hands it to Answered and End. The zero Transfer is that of a request without a session.
type Transfer struct {
	session *session
	head    head            // the HEAD whose tag this GET by digest has taken
	reading bool            // the body of a manifest is on its way
	full    tagindex.BlobID // a layer that the request asks for in full
}

const shards = 16

type sessions struct {
	shards [shards]shard
	seed   maphash.Seed
}

type shard struct {
	mu              sync.Mutex
	byID            map[uint64]*session
	active, resting list // the most recently used first
	bytes           int
	lost            lost
}

// list is an intrusive list of sessions.
type list struct{ front, back *session }

func (l *list) push(s *session) {
	s.prev, s.next = nil, l.front
	if l.front != nil {
		l.front.prev = s
	} else {
		l.back = s
	}
	l.front = s
}

func (l *list) remove(s *session) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		l.front = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	} else {
		l.back = s.prev
	}
	s.prev, s.next = nil, nil
}

// find returns the shard and the ID of the session of a key. Clients that differ only in their
// names share a shard.
func (ss *sessions) find(k sessionKey) (sh *shard, id uint64) {
	who := k.who
	k.who = ""
	id = maphash.Comparable(ss.seed, k)
	sh = &ss.shards[id%shards]
	if who != "" {
		id ^= maphash.String(ss.seed, who) &^ (shards - 1)
	}
	return sh, id
}

func (ss *sessions) size() (n, bytes int) {
	for i := range ss.shards {
		sh := &ss.shards[i]
		sh.mu.Lock()
		n += len(sh.byID)
		bytes += sh.bytes
		sh.mu.Unlock()
	}
	return n, bytes
}

// session returns the session of a key, or nil. If two keys have the same ID, the later one gets
// the next ID.
func (sh *shard) session(k sessionKey, id uint64) (s *session, free uint64) {
	for s = sh.byID[id]; s != nil && s.key != k; s = sh.byID[id] {
		id++
	}
	return s, id
}

// enter returns the session of a key, and makes it if there is none. The caller holds the lock of
// the shard.
func (sh *shard) enter(k sessionKey, id uint64, now time.Time) *session {
	s, id := sh.session(k, id)
	if s != nil {
		return s
	}
	if sh.byID == nil {
		sh.byID = map[uint64]*session{}
	}
	s = &session{key: k, id: id, shard: sh, last: now, forgot: sh.lost.of(id)}
	s.pulls = s.room[:0]
	sh.byID[id] = s
	sh.active.push(s)
	sh.weigh(s)
	return s
}

// touch makes a session the most recently used one.
func (sh *shard) touch(s *session, now time.Time) {
	s.last = now
	if s.resting {
		sh.resting.remove(s)
		s.resting = false
	} else if sh.active.front == s {
		return
	} else {
		sh.active.remove(s)
	}
	sh.active.push(s)
}

// weigh counts the memory of a session, about.
func (sh *shard) weigh(s *session) {
	if s.gone {
		return
	}
	k := &s.key
	n := 512 + len(k.at.Value().Repository) + len(k.address) + len(k.agent) + len(k.who)
	n += 384*len(s.heads) + 192*(len(s.puts)+len(s.subjects)+len(s.listed)+len(s.strays)) + 24*(len(s.asked)+len(s.dropped))
	for _, q := range s.pulls {
		n += 320 + len(q.tag) + len(q.digest) + len(q.external.Host) + len(q.requestID) + 192*len(q.childReads)
		if q.content != nil {
			n += q.content.Cost
		}
	}
	sh.bytes += n - s.cost
	s.cost = n
}

// evict makes room by removing sessions. An evicted session has no further events, and neither have
// later requests that depend on it.
func (sh *shard) evict(b Bounds, now time.Time) {
	for len(sh.byID) > max(b.Sessions/shards, 1) || sh.bytes > max(b.SessionBytes/shards, 4096) {
		s := sh.resting.back
		if s == nil {
			s = sh.active.back
		}
		if s == nil {
			return
		}
		sh.lost.add(s, now)
		s.pulls = nil
		sh.end(s, nil)
	}
}

// end removes a session.
func (sh *shard) end(s *session, events []detect.Event) []detect.Event {
	events = s.endQuiet(events)
	if s.resting {
		sh.resting.remove(s)
	} else {
		sh.active.remove(s)
	}
	delete(sh.byID, s.id)
	sh.bytes -= s.cost
	s.gone = true // transfers in flight see it, and begin a new session
	return events
}

// endQuiet ends the waiting of sessions whose clients have been quiet for pull, and removes those
// whose clients have been quiet for keep.
func (sh *shard) endQuiet(now time.Time, pull, keep time.Duration) (events []detect.Event) {
	sh.lost.expire(now, pull)
	for s := sh.active.back; s != nil && now.Sub(s.last) >= pull; s = sh.active.back {
		if s.busy > 0 || s.follows(now, pull) {
			sh.touch(s, now) // a transfer in flight is not quiet
			continue
		}
		events = s.endQuiet(events)
		sh.weigh(s)
		sh.active.remove(s)
		sh.resting.push(s)
		s.resting = true
		if len(s.pulls) == 0 && len(s.listed) == 0 && len(s.subjects) == 0 {
			events = sh.end(s, events)
		}
	}
	for s := sh.resting.back; s != nil && now.Sub(s.last) >= keep; s = sh.resting.back {
		events = sh.end(s, events)
	}
	return events
}

// late is how long a blob may follow the read of its manifest: BuildKit fetches layers when it
// needs them.
const late = time.Hour
