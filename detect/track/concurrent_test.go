package track

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Clients run in parallel, with real timers that are much too short, so that the race detector sees
// everything happen at once.
func TestManyAtOnce(t *testing.T) {
	w := &world{t: t, db: newRows(), upstream: &fakeUpstream{}, cfg: Config{
		Accessories: true, UntaggedPush: 50 * time.Millisecond, Pull: 50 * time.Millisecond, Repeat: 10 * time.Millisecond,
		Bounds: Bounds{Sessions: 32, Session: 4, Index: 50, ContentBytes: 16 << 10, Learned: 16},
	}}
	w.begin()
	const clients, rounds = 8, 40
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() {
			s := &sim{world: w, manifests: map[string][]byte{}, tags: map[string]string{}, names: map[string]string{}}
			c := s.client(fmt.Sprint("client-", i%3))
			repository := fmt.Sprint("app", i%2)
			img := s.image(fmt.Sprint("image-", i), "base", fmt.Sprint("l", i))
			idx := s.index(fmt.Sprint("index-", i), img)
			for range rounds {
				c.put(repository, digestOfBytes(img), img)
				c.put(repository, fmt.Sprint("v", i), idx)
				c.get(repository, c.head(repository, fmt.Sprint("v", i)))
				c.get(repository, digestOfBytes(img))
				c.blob(repository, "base", fmt.Sprint("l", i))
				c.mount("other", repository, "base", 201)
				w.Standing("up", "", repository, "v1")
				w.TagsOf(t.Context(), "up", "", repository, digestOfBytes(idx))
				w.Stats()
				w.Configure(w.cfg)
				c.putting(repository, "lost", img).lose()
				c.del(repository, fmt.Sprint("v", i))
			}
		})
	}
	all.Wait()
	w.stop()
	w.ledger.close()
	counts := map[detect.Type]int{}
	for _, e := range w.events() {
		counts[e.Type]++
	}
	if counts[detect.PushArtifact] < clients*rounds || counts[detect.DeleteTag] != clients*rounds {
		t.Errorf("got the counts %v", counts)
	}
}
