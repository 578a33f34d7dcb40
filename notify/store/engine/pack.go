package engine

import (
	"bytes"
	"encoding/binary"
	"sync"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Most events are pulls that no webhook wants. Those of one group are packed into one row, which
// makes each some microseconds cheaper than a row with three index entries. They are similar, so a
// pack is compressed: it takes an eighth of the space, and of the time to write it. Events reads
// the events in packs; retention drops whole packs. The ids of packed events are not indexed:
// Append compares them with recent ones (see recent), because an Update may be repeated.
const (
	packEvents = 512
	packBytes  = 1 << 20  // a pack of this length gets no further event
	packLimit  = 64 << 20 // the greatest length of a pack: an event has a few megabytes at most
)

type pack struct {
	First, Last  int64
	AtMin, AtMax int64
	Data         []byte // compressed
}

// PackUp packs events into as few rows as the bounds allow. Their sequence numbers are ascending.
func PackUp(events []store.Event, seqs []int64) []pack {
	var packs []pack
	b := packBuffers.Get().(*packBuffer)
	defer packBuffers.Put(b)
	plain := b.plain
	for len(events) > 0 {
		p := pack{First: seqs[0], Last: seqs[0], AtMin: Micros(events[0].At)}
		n := 0
		for plain = plain[:0]; n < len(events) && n < packEvents && len(plain) < packBytes; n++ {
			at := Micros(events[n].At)
			p.AtMin, p.AtMax = min(p.AtMin, at), max(p.AtMax, at)
			plain = appendEvent(plain, &events[n], seqs[n]-p.Last)
			p.Last = seqs[n]
		}
		b.packed = s2.Encode(b.packed[:cap(b.packed)], plain)
		p.Data = bytes.Clone(b.packed)
		packs = append(packs, p)
		events, seqs = events[n:], seqs[n:]
	}
	if cap(plain) <= 2*packBytes {
		b.plain = plain
	}
	return packs
}

// packBuffer is the temporary memory of PackUp.
type packBuffer struct{ plain, packed []byte }

var packBuffers = sync.Pool{New: func() any { return &packBuffer{} }}

func appendEvent(b []byte, e *store.Event, step int64) []byte {
	b = binary.AppendVarint(b, step)
	b = binary.AppendVarint(b, Micros(e.At))
	for _, s := range [...]string{e.ID, e.Type, e.Upstream, e.Repository} {
		b = appendBytes(b, s)
	}
	return appendBytes(b, e.Data)
}

// unpack calls each for every event of a pack, in order. Their Data share memory.
func unpack(first int64, packed []byte, each func(store.Event)) error {
	if n, err := s2.DecodedLen(packed); err != nil || n > packLimit {
		return errCorrupt
	}
	data, err := s2.Decode(nil, packed)
	if err != nil {
		return errCorrupt
	}
	seq := first
	for f := (fields{rest: data}); len(f.rest) > 0; {
		seq += f.varint()
		e := store.Event{Seq: seq, At: FromMicros(f.varint()), ID: string(f.bytes()), Type: string(f.bytes()), Upstream: string(f.bytes()),
			Repository: string(f.bytes()), Data: f.bytes(), Transient: true}
		if f.bad {
			return errCorrupt
		}
		each(e)
	}
	return nil
}

// recent remembers the ids of recently appended events, with the sequence numbers of those of which
// it is not known whether they were committed. Only the writer uses it.
type recent struct{ young, old map[string]int64 }

const recentIDs = 8192

// doubt reports whether id was appended recently. If the outcome of that commit is unknown, seq is
// the number that the event would have.
func (r *recent) doubt(id string) (seq int64, known bool) {
	if seq, known = r.young[id]; !known {
		seq, known = r.old[id]
	}
	return seq, known
}

func (r *recent) add(id string, seq int64) {
	if r.young == nil || len(r.young) >= recentIDs {
		r.old, r.young = r.young, make(map[string]int64)
	}
	r.young[id] = seq
}

// uuidTime returns the time in a UUIDv7.
func uuidTime(id string) (time.Time, bool) {
	if len(id) != 36 || id[14] != '7' {
		return time.Time{}, false
	}
	var ms int64
	for _, c := range []byte(id[:8] + id[9:13]) {
		switch {
		case c >= '0' && c <= '9':
			ms = ms<<4 | int64(c-'0')
		case c >= 'a' && c <= 'f':
			ms = ms<<4 | int64(c-'a'+10)
		default:
			return time.Time{}, false
		}
	}
	return time.UnixMilli(ms), true
}
