package notify

import (
	"bytes"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	eventCacheMost     = 1024     // events
	eventCacheDataMost = 16 << 10 // bytes of an event's data; longer ones are decoded again
)

// decoded remembers events that were encoded lately, so that the dispatcher need not decode what this process has just stored.
// The bytes that the store gives decide whether it is the same event.
type eventCache struct {
	byID *lru.Cache[string, cachedEvent]
}

type cachedEvent struct {
	event detect.Event
	data  []byte
}

func newEventCache() eventCache {
	byID, err := lru.New[string, cachedEvent](eventCacheMost)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return eventCache{byID}
}

// add remembers e, of which data was made. An event with text that is not UTF-8 would be decoded to another one: it is left out.
func (d eventCache) add(e *detect.Event, data []byte) {
	if len(data) <= eventCacheDataMost && !bytes.Contains(data, []byte(`\ufffd`)) {
		d.byID.Add(e.ID, cachedEvent{*e, data})
	}
}

// event is the event as detect made it, with its place in the store's order.
func (d eventCache) event(s store.Event) (detect.Event, error) {
	known, ok := d.byID.Get(s.ID)
	if !ok || !bytes.Equal(known.data, s.Data) {
		return fromEvent(s)
	}
	e := known.event
	e.Seq = s.Seq
	return e, nil
}
