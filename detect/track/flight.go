package track

import "sync"

// flight are the intents that the proxy holds between Intend and Settle, Leave or Drop.
type flight struct {
	mu  sync.Mutex
	ids map[string]struct{}
}

func (f *flight) add(in *Intent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ids == nil {
		f.ids = map[string]struct{}{}
	}
	f.ids[in.ID] = struct{}{}
}

func (f *flight) remove(in *Intent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.ids, in.ID)
}

func (f *flight) has(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.ids[id]
	return ok
}

func (f *flight) len() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.ids)
}
