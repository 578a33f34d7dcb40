package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	lateGarbage = 400      // percent of what is alive that may be garbage …
	littleTotal = 64 << 20 // … as long as all memory stays below this, or below what limitFor says
	fewStacks   = 3 << 20  // of stacks: beyond, there are many connections, …
	crowded     = 8        // … and for each of their stacks' bytes so many less are free to be garbage, which leaves holes between what lives on
	leastRoom   = 3 << 20  // for garbage, however much is alive
	marked      = 8        // MiB that may be marked in a second: a percent or two of a core …
	markedMany  = 40       // … or, with many connections, a few percent
)

// collectLate lets garbage lie for longer than Go does by itself where there is room for it: with little alive, Go's own measure has a collection
// for every few megabytes, which under load is a sixth of all CPU time. A limit keeps the sum low, and moves up with what is alive, so that memory
// that is needed is never fought for. GOGC and GOMEMLIMIT of the environment go first.
func collectLate() {
	_, percent := os.LookupEnv("GOGC")
	_, limit := os.LookupEnv("GOMEMLIMIT")
	if percent || limit {
		return
	}
	debug.SetMemoryLimit(littleTotal)
	debug.SetGCPercent(lateGarbage)
	g := &garbage{limit: littleTotal, at: time.Now(), allocated: inUse().allocated}
	g.afterNext()
}

// garbage moves the limit of memory after each collection. The goroutine of finalizers owns it.
type garbage struct {
	limit     int64
	at        time.Time // of the last collection
	allocated int64     // since the start, then
}

// cycle dies with the next collection.
type cycle struct{ g *garbage }

func (g *garbage) afterNext() {
	runtime.SetFinalizer(&cycle{g}, func(c *cycle) {
		c.g.collected(inUse(), time.Now())
		c.g.afterNext()
	})
}

// collected moves the limit, some distance behind what it should be: moving stops the world for a moment.
func (g *garbage) collected(m memory, now time.Time) {
	rate := float64(m.allocated-g.allocated) / max(now.Sub(g.at).Seconds(), 0.001)
	g.at, g.allocated = now, m.allocated
	want := limitFor(m, rate)
	if want > g.limit || want < g.limit-g.limit/16 {
		g.limit = want
		debug.SetMemoryLimit(want)
	}
}

// limitFor leaves what is alive room for as much garbage as is made until marking it all anew is worth it. Where there are many connections, all
// that is less: they hold much and, once they are there, make little garbage.
func limitFor(m memory, rate float64) int64 {
	crowd := max(m.stacks-fewStacks, 0)
	pace := float64(marked << 20)
	if crowd > 0 {
		pace = markedMany << 20
	}
	room := int64(rate*float64(m.alive)/pace) - 2*crowded*crowd
	return max(littleTotal-crowded*crowd, m.alive+m.beside+min(max(room, leastRoom), 2*m.alive))
}

// memory is what the runtime holds, in bytes.
type memory struct {
	alive     int64 // objects that the last collection found in use
	beside    int64 // what is not for objects, and what of their pages is lost between them
	stacks    int64 // of beside
	allocated int64 // objects, since the start
}

func inUse() memory {
	read := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(read)
	value := func(i int) int64 { return int64(read[i].Value.Uint64()) }
	return memory{alive: value(0), allocated: value(1), beside: value(2) - value(3) - value(4) - value(5), stacks: value(6)}
}
