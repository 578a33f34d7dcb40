package track

import (
	"testing"
	"testing/synctest"
	"time"
)

// An untagged push is emitted when it is due, not when the rows of other processes are searched,
// even if an earlier one was not due then.
func TestUntaggedPushesAreEmittedInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t)
		c := s.client("curl")
		for i, name := range []string{"one", "two"} {
			b := s.image(name, "l"+name)
			put := time.Now()
			c.put("app"+name, digestOfBytes(b), b)
			wait := s.config().UntaggedPush
			time.Sleep(wait + 3*grain(s.config()))
			synctest.Wait()
			if got := len(s.events()); got != i+1 {
				t.Errorf("%v after push %d by digest: got %d events, want %d", time.Since(put), i+1, got, i+1)
			}
			time.Sleep(3 * time.Second)
		}
		s.finish()
	})
}
