package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

func TestPacksHoldWhatWasPutIn(t *testing.T) {
	var events []store.Event
	var seqs []int64
	plain := 0
	for i := range 2*packEvents + 7 {
		seq := int64(3*i + 1)
		e := store.Event{
			Seq: seq, ID: fmt.Sprint("id", i), Type: "PULL_ARTIFACT", At: time.UnixMicro(int64(1_000_000 - i)), Upstream: "images", Repository: "team/app",
			Data: fmt.Appendf(nil, `{"digest":"sha256:0123456789abcdef","client":{"user_agent":"node/%d"}}`, i), Transient: true,
		}
		plain += len(e.Data)
		events, seqs = append(events, e), append(seqs, seq)
	}
	var got []store.Event
	packed := 0
	for _, p := range PackUp(events, seqs) {
		packed += len(p.Data)
		if err := unpack(p.First, p.Data, func(e store.Event) { got = append(got, e) }); err != nil {
			t.Fatal(err)
		}
		if last := got[len(got)-1].Seq; last != p.Last {
			t.Errorf("a pack ends with %d, not with %d", last, p.Last)
		}
	}
	if diff := cmp.Diff(events, got); diff != "" {
		t.Errorf("-put +got\n%s", diff)
	}
	if packed > plain/4 {
		t.Errorf("%d bytes take %d", plain, packed)
	}
}

// FuzzUnpack: what a damaged file holds is an error, never a panic.
func FuzzUnpack(f *testing.F) {
	events := []store.Event{{ID: "a", Type: "PULL_ARTIFACT", At: time.UnixMicro(1), Data: []byte("{}")}, {ID: "b", At: time.UnixMicro(2)}}
	for _, p := range PackUp(events, []int64{1, 2}) {
		f.Add(p.Data)
	}
	f.Add([]byte("\xff\xff\xff\xff\x7f"))
	f.Fuzz(func(t *testing.T, data []byte) {
		size := 0
		err := unpack(1, data, func(e store.Event) { size += len(e.ID) + len(e.Data) })
		if size > packLimit {
			t.Errorf("%d bytes (%v) of %d", size, err, len(data))
		}
	})
}
