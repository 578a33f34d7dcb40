package main

import "testing"

// Garbage gets the room that makes collecting it cheap, and no more; what is alive always fits.
func TestMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	for name, c := range map[string]struct {
		m    memoryUse
		rate float64
		want int64
	}{
		"little is alive":      {memoryUse{alive: 8 * mib, overhead: 10 * mib}, 10 * mib, limitLeast},
		"much, and still":      {memoryUse{alive: 50 * mib, overhead: 40 * mib}, 0, 93 * mib},
		"much, and busy":       {memoryUse{alive: 50 * mib, overhead: 40 * mib}, 8 * mib, 140 * mib},
		"many connections":     {memoryUse{alive: 50 * mib, overhead: 40 * mib, stacks: 22 * mib}, 40 * mib, 93 * mib},
		"connections come":     {memoryUse{alive: 8 * mib, overhead: 18 * mib, stacks: 6 * mib}, 40 * mib, 40 * mib},
		"never without bounds": {memoryUse{alive: 50 * mib, overhead: 40 * mib}, 1 << 40, 190 * mib},
	} {
		if got := limitFor(c.m, c.rate); got != c.want {
			t.Errorf("%s: %d MiB, want %d", name, got/mib, c.want/mib)
		}
	}
}
