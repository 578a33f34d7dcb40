package main

import "testing"

// The limit leaves room for the live heap and for the garbage of some seconds, and no more.
func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		m    memoryUse
		rate float64
		want int64
	}{
		"a small heap":       {memoryUse{alive: 8 * mib, overhead: 10 * mib}, 10 * mib, limitLeast},
		"large and idle":     {memoryUse{alive: 50 * mib, overhead: 40 * mib}, 0, 93 * mib},
		"large and busy":     {memoryUse{alive: 50 * mib, overhead: 40 * mib}, 8 * mib, 140 * mib},
		"many connections":   {memoryUse{alive: 50 * mib, overhead: 40 * mib, stacks: 22 * mib}, 40 * mib, 93 * mib},
		"small, connections": {memoryUse{alive: 8 * mib, overhead: 18 * mib, stacks: 9 * mib}, 40 * mib, 40 * mib},
		"lanes at work":      {memoryUse{alive: 22 * mib, overhead: 20 * mib, stacks: 5 * mib}, 40 * mib, 86 * mib},
		"a very high rate":   {memoryUse{alive: 50 * mib, overhead: 40 * mib}, 1 << 40, 190 * mib},
	} {
		if got := limitFor(c.m, c.rate); got != c.want {
			t.Errorf("%s: limitFor(%+v, %v): got %d MiB, want %d", name, c.m, c.rate, got/mib, c.want/mib)
		}
	}
}
