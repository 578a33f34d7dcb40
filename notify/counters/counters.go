// Package counters keeps the counts that the console plots, by minute and by hour: events by
// project and type, attempts by webhook and outcome with their latency, and the traffic of
// upstreams.
//
// [Counters] counts in memory. Once a minute [Counters.Run] writes two rows to the store: the
// counts of the minute, and those of the hour so far. Each replica writes its own rows, and
// [Counters.Series] adds them up, so that nothing is counted twice and replicas do not wait for
// each other. A killed process loses the counts of its last minute. Minutes are kept for 2 hours,
// hours for 8 days.
//
// The number of series is bounded: beyond mostSeries in an hour, further projects and webhooks
// share the name "".
package counters

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Measure is what a series counts.
type Measure uint8

// The measures.
const (
	Events     Measure = iota + 1 // name: a project; label: the type
	Deliveries                    // attempts; name: the webhook's key; label: the outcome
	Traffic                       // name: an upstream
)

// Series identifies what is counted.
type Series struct {
	Measure     Measure
	Name, Label string
}

const (
	mostSeries = 4096
	mostRows   = 10_000 // of all replicas, for each step

	kindMinute = "counters.minute" // ID: the minute since 1970 and the replica; value: encoded counts
	kindHour   = "counters.hour"   // the same by hour

	keepMinutes = 2 * time.Hour
	keepHours   = 8 * 24 * time.Hour

	writeTimeout = 10 * time.Second
)

// Trims bounds the rows in the store, even if bellbuoy restarts often.
var Trims = []store.Trim{{Kind: kindMinute, Max: mostRows}, {Kind: kindHour, Max: mostRows}}

// CountRows is the part of the store that counters use; see notify.Rows for its methods.
type CountRows interface {
	Update(ctx context.Context, scopes []string, fn func(store.Tx) error) error
	View(ctx context.Context, fn func(store.Reader) error) error
	Due(ctx context.Context, kind string, now time.Time, limit int) ([]store.Row, error)
}

// Options configures Counters.
type Options struct {
	Rows    CountRows
	Replica string // unique among the processes
	// Traffic yields the traffic of each upstream since the process started; nil: there is
	// none.
	Traffic func(yield func(upstream string, total Point))
	Log     *zap.Logger
}

// Counters counts. New makes one. The methods that count do nothing on nil.
type Counters struct {
	Options

	counting sync.RWMutex
	cells    map[Series]*countCell // since the last flush

	// mu is locked for reading while Series adds rows and counts, and for writing while counts
	// become rows.
	mu           sync.RWMutex
	minute, hour bucket
	unwritten    map[store.Key]store.Row

	polling sync.Mutex
	traffic map[string]Point // as of the last poll
}

// bucket holds the counts of this process in one minute or hour.
type bucket struct {
	kind   string
	length time.Duration
	keep   time.Duration
	number int64 // of the minute or hour since 1970
	counts map[Series]Point
}

// countCell counts one series.
type countCell [width]atomic.Int64

// New returns counters at zero.
func New(o Options) *Counters {
	return &Counters{
		Options: o, cells: map[Series]*countCell{}, unwritten: map[store.Key]store.Row{}, traffic: map[string]Point{},
		minute: bucket{kind: kindMinute, length: time.Minute, keep: keepMinutes},
		hour:   bucket{kind: kindHour, length: time.Hour, keep: keepHours},
	}
}

// Event counts an event of a project; "": it has none.
func (c *Counters) Event(project, eventType string) {
	if c != nil {
		c.add(Series{Events, project, eventType}, &Point{Count: 1})
	}
}

// Attempt counts an attempt to deliver. took is 0 if no POST was made.
func (c *Counters) Attempt(webhook, outcome string, took time.Duration) {
	if c == nil {
		return
	}
	p := Point{Count: 1}
	if took > 0 {
		p.Posts, p.Latency = 1, took
		p.Histogram[bucketOf(took)] = 1
	}
	c.add(Series{Deliveries, webhook, outcome}, &p)
}

func (c *Counters) add(s Series, p *Point) {
	c.counting.RLock()
	cell := c.cells[s]
	if cell != nil {
		cell.add(p)
	}
	c.counting.RUnlock()
	if cell != nil {
		return
	}
	c.counting.Lock()
	defer c.counting.Unlock()
	if len(c.cells) >= mostSeries {
		s.Name = ""
	}
	if cell = c.cells[s]; cell == nil {
		cell = &countCell{}
		c.cells[s] = cell
	}
	cell.add(p)
}

func (c *countCell) add(p *Point) {
	if *p == (Point{Count: p.Count}) {
		c[0].Add(p.Count)
		return
	}
	for i, n := range p.values() {
		if n != 0 {
			c[i].Add(n)
		}
	}
}

// take returns the count and sets it to zero.
func (c *countCell) take() Point {
	var v values
	for i := range c {
		v[i] = c[i].Swap(0)
	}
	return v.point()
}

func (c *countCell) read() Point {
	var v values
	for i := range c {
		v[i] = c[i].Load()
	}
	return v.point()
}

// poll counts the traffic since the last poll.
func (c *Counters) poll() {
	if c.Traffic == nil {
		return
	}
	c.polling.Lock()
	defer c.polling.Unlock()
	c.Traffic(func(upstream string, total Point) {
		last := c.traffic[upstream]
		c.traffic[upstream] = total
		if since := total.minus(last); since != (Point{}) {
			c.add(Series{Traffic, upstream, ""}, &since)
		}
	})
}

// take returns the counts since the last call, and forgets series without counts.
func (c *Counters) take() map[Series]Point {
	c.counting.Lock()
	defer c.counting.Unlock()
	taken := map[Series]Point{}
	for s, cell := range c.cells {
		if p := cell.take(); p != (Point{}) {
			taken[s] = p
		} else {
			delete(c.cells, s)
		}
	}
	return taken
}

// Run writes the counts at the end of each minute, and the rest when ctx ends.
func (c *Counters) Run(ctx context.Context) {
	for ctx.Err() == nil {
		minute := time.Now().Truncate(time.Minute)
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(minute.Add(time.Minute))):
		}
		if err := c.flush(context.WithoutCancel(ctx), minute); err != nil {
			c.Log.Warn("counts for plots not stored yet", zap.Error(err))
		}
	}
}

// flush writes the counts as those of the minute that begins at a time. If that fails, it keeps the
// rows for the next time.
func (c *Counters) flush(ctx context.Context, minute time.Time) error {
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	rows := c.collect(minute)
	var old []store.Key
	for _, kind := range []string{kindMinute, kindHour} {
		ended, err := c.Rows.Due(ctx, kind, time.Now(), mostRows)
		if err != nil {
			return err
		}
		for _, row := range ended {
			old = append(old, row.Key)
		}
	}
	if len(rows)+len(old) == 0 {
		return nil
	}
	err := c.Rows.Update(ctx, nil, func(tx store.Tx) error {
		tx.Delete(old...)
		tx.Put(rows...)
		return nil
	})
	if err == nil {
		c.written(rows)
	}
	return err
}

// collect moves the counts into rows, and returns the rows that are not in the store.
func (c *Counters) collect(minute time.Time) []store.Row {
	c.poll()
	c.mu.Lock()
	defer c.mu.Unlock()
	taken := c.take()
	for _, b := range []*bucket{&c.minute, &c.hour} {
		b.add(minute, taken)
		if len(taken) > 0 {
			row := b.row(c.Replica)
			c.unwritten[row.Key] = row
		}
	}
	maps.DeleteFunc(c.unwritten, func(_ store.Key, row store.Row) bool { return time.Now().After(row.Due) })
	return slices.Collect(maps.Values(c.unwritten))
}

// written forgets rows that are in the store, but keeps newer rows with the same keys.
func (c *Counters) written(rows []store.Row) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, row := range rows {
		if now := c.unwritten[row.Key]; len(now.Value) == len(row.Value) && &now.Value[0] == &row.Value[0] {
			delete(c.unwritten, row.Key)
		}
	}
}

// add adds counts to those of the minute or hour of a time.
func (b *bucket) add(at time.Time, counted map[Series]Point) {
	if number := at.Unix() / int64(b.length/time.Second); b.counts == nil || number != b.number {
		b.number, b.counts = number, map[Series]Point{}
	}
	for s, p := range counted {
		if _, known := b.counts[s]; !known && len(b.counts) >= mostSeries {
			s.Name = ""
		}
		b.counts[s] = b.counts[s].plus(p)
	}
}

func (b *bucket) row(replica string) store.Row {
	begin := time.Unix(b.number*int64(b.length/time.Second), 0)
	return store.Row{
		Key:   store.Key{Kind: b.kind, ID: rowID(b.number) + "/" + replica},
		Value: encode(b.counts), Seen: begin, Due: begin.Add(b.length + b.keep),
	}
}
