package notify

import (
	"bytes"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/store"
)

const (
	decodedMost = 1024     // events
	decodedSize = 16 << 10 // bytes of an event's data; longer ones are decoded again
)

// decoded remembers events that were encoded lately, so that the dispatcher need not decode what this process has just stored.
// The bytes that the store gives decide whether it is the same event.
type decoded struct {
	byID *lru.Cache[string, decodedEvent]
}

type decodedEvent struct {
	event detect.Event
	data  []byte
}

func newDecoded() decoded {
	byID, err := lru.New[string, decodedEvent](decodedMost)
	if err != nil { // only for a size below 1
		panic(err)
	}
	return decoded{byID}
}

// add remembers e, of which data was made. An event with text that is not UTF-8 would be decoded to another one: it is left out.
func (d decoded) add(e *detect.Event, data []byte) {
	if len(data) <= decodedSize && !bytes.Contains(data, []byte(`\ufffd`)) {
		d.byID.Add(e.ID, decodedEvent{*e, data})
	}
}

// event is the event as detect made it, with its place in the store's order.
func (d decoded) event(s store.Event) (detect.Event, error) {
	known, ok := d.byID.Get(s.ID)
	if !ok || !bytes.Equal(known.data, s.Data) {
		return fromEvent(s)
	}
	e := known.event
	e.Seq = s.Seq
	return e, nil
}
