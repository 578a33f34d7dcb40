package notify

import (
	"bytes"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	eventCacheMost     = 1024     // cached events
	eventCacheDataMost = 16 << 10 // bytes of one event's data; larger events are not cached
)

// eventCache holds events that were encoded lately, so that the dispatcher need not decode what
// this process has just stored. A cached event is used only if its bytes equal those in the store.
type eventCache struct {
	byID *lru.Cache[string, cachedEvent]
}

type cachedEvent struct {
	event detect.Event
	data  []byte
}

func newEventCache() eventCache {
	byID, err := lru.New[string, cachedEvent](eventCacheMost)
	// The size is never below 1.
	if err != nil {
		panic(err)
	}
	return eventCache{byID}
}

// add caches e with its encoding. An event whose text is not UTF-8 would differ after decoding, so
// it is not cached.
func (d eventCache) add(e *detect.Event, data []byte) {
	if len(data) <= eventCacheDataMost && !bytes.Contains(data, []byte(`\ufffd`)) {
		d.byID.Add(e.ID, cachedEvent{*e, data})
	}
}

// event returns the stored event with its sequence number, from the cache if possible.
func (d eventCache) event(s store.Event) (detect.Event, error) {
	known, ok := d.byID.Get(s.ID)
	if !ok || !bytes.Equal(known.data, s.Data) {
		return fromEvent(s)
	}
	e := known.event
	e.Seq = s.Seq
	return e, nil
}
