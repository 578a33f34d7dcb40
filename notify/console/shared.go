package console

import (
	"maps"
	"sync"
	"time"
)

const (
	mostShared = 256  // values; beyond them each viewer makes its own
	longestKey = 4096 // bytes
)

// shared holds values that viewers of live pages share for a while. The zero value is ready to use.
type shared[V any] struct {
	mu  sync.Mutex
	all map[string]sharedValue[V]
}

type sharedValue[V any] struct {
	at    time.Time
	value *V
}

// of returns the value of a key. If none is younger than lasts, it is a new zero value, which is
// the key's from now on. It returns nil if there are too many values or the key is too long.
func (s *shared[V]) of(key string, lasts time.Duration) *V {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if one, ok := s.all[key]; ok && now.Sub(one.at) < lasts {
		return one.value
	}
	maps.DeleteFunc(s.all, func(_ string, old sharedValue[V]) bool { return now.Sub(old.at) >= lasts })
	if len(s.all) >= mostShared || len(key) > longestKey {
		return nil
	}
	if s.all == nil {
		s.all = map[string]sharedValue[V]{}
	}
	value := new(V)
	s.all[key] = sharedValue[V]{now, value}
	return value
}
