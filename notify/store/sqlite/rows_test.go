package sqlite

import (
	"fmt"
	"sync"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// TestAScanIsOneMoment: two rows that are always written together are always seen so.
func TestAScanIsOneMoment(t *testing.T) {
	w := openFixture(t, t.TempDir())
	stop, looking := make(chan struct{}), sync.WaitGroup{}
	for range readers {
		looking.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				var pair []store.Row
				err := w.View(ctx, func(r store.Reader) (err error) {
					pair, err = r.Scan("pair", "", 0)
					return err
				})
				if err != nil || len(pair) == 1 || len(pair) == 2 && string(pair[0].Value) != string(pair[1].Value) {
					t.Errorf("%q (%v)", pair, err)
					return
				}
			}
		})
	}
	for i := range 40 {
		w.Write(t, func(tx store.Tx) {
			value := []byte(fmt.Sprint(i))
			for n := range 250 {
				tx.Put(store.Row{Key: store.Key{Kind: "filler", ID: fmt.Sprint(n)}, Value: value})
			}
			if i%3 > 0 {
				tx.Put(store.Row{Key: store.Key{Kind: "pair", ID: "a"}, Value: value}, store.Row{Key: store.Key{Kind: "pair", ID: "b"}, Value: value})
			}
		})
	}
	close(stop)
	looking.Wait()
}
