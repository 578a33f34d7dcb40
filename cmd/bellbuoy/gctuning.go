package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	gcPercent  = 400      // GOGC: garbage may be this percentage of the live heap
	limitLeast = 64 << 20 // least memory limit, without many connections
	// stacksFew is the most stack memory that does not mean many connections: some hundred
	// lanes and requests at work have up to 5 MiB.
	stacksFew = 6 << 20
	// stackWeight is by how many bytes the limit shrinks for each byte of stacks above
	// stacksFew: garbage would fragment the heap.
	stackWeight          = 8
	garbageLeast         = 3 << 20 // least room for garbage
	markPerSecond        = 8       // MiB to mark per second: one or two percent of a core
	markPerSecondCrowded = 40      // with many connections: a few percent of a core
)

// tuneGC makes collections rarer than Go's default while little memory is used. With a small live
// heap, Go's default collects every few megabytes, which takes a sixth of the CPU under load. A
// memory limit bounds the total. It follows the live heap, so that needed memory never causes
// constant collections. GOGC and GOMEMLIMIT in the environment disable the tuning. docs/decisions
// has the measurements.
func tuneGC() {
	_, percent := os.LookupEnv("GOGC")
	_, limit := os.LookupEnv("GOMEMLIMIT")
	if percent || limit {
		return
	}
	debug.SetMemoryLimit(limitLeast)
	debug.SetGCPercent(gcPercent)
	g := &memoryLimit{limit: limitLeast, at: time.Now(), allocated: readMemoryUse().allocated}
	g.afterNext()
}

// memoryLimit adjusts the memory limit after each collection. Only the goroutine of finalizers uses
// it.
type memoryLimit struct {
	limit     int64
	at        time.Time // when the last collection ended
	allocated int64     // bytes allocated by then, since the start
}

// gcCycle is collected by the next cycle, which runs its finalizer.
type gcCycle struct{ g *memoryLimit }

func (g *memoryLimit) afterNext() {
	runtime.SetFinalizer(&gcCycle{g}, func(c *gcCycle) {
		c.g.collected(readMemoryUse(), time.Now())
		c.g.afterNext()
	})
}

// collected adjusts the limit if it is clearly wrong: setting it stops the world for a moment.
func (g *memoryLimit) collected(m memoryUse, now time.Time) {
	rate := float64(m.allocated-g.allocated) / max(now.Sub(g.at).Seconds(), 0.001)
	g.at, g.allocated = now, m.allocated
	want := limitFor(m, rate)
	if want > g.limit || want < g.limit-g.limit/16 {
		g.limit = want
		debug.SetMemoryLimit(want)
	}
}

// limitFor returns a limit that leaves room for the garbage of some seconds, so that the cost of
// marking stays small. With many connections the room is smaller, because they hold much memory and
// make little garbage.
func limitFor(m memoryUse, rate float64) int64 {
	crowd := max(m.stacks-stacksFew, 0)
	pace := float64(markPerSecond << 20)
	if crowd > 0 {
		pace = markPerSecondCrowded << 20
	}
	room := int64(rate*float64(m.alive)/pace) - 2*stackWeight*crowd
	return max(limitLeast-stackWeight*crowd, m.alive+m.overhead+min(max(room, garbageLeast), 2*m.alive))
}

// memoryUse is the memory of the runtime, in bytes.
type memoryUse struct {
	alive     int64 // objects in use at the last collection
	overhead  int64 // memory that is not for objects, and fragmentation
	stacks    int64 // part of overhead
	allocated int64 // bytes of objects, since the start
}

func readMemoryUse() memoryUse {
	read := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}, {Name: "/memory/classes/total:bytes"},
		{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/free:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/memory/classes/heap/stacks:bytes"},
	}
	metrics.Read(read)
	value := func(i int) int64 { return int64(read[i].Value.Uint64()) }
	return memoryUse{alive: value(0), allocated: value(1), overhead: value(2) - value(3) - value(4) - value(5), stacks: value(6)}
}
