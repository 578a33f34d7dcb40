package counters

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/store"
)

// Delivered is the outcome of an attempt that succeeded.
const Delivered = "delivered"

// Query selects counts.
type Query struct {
	Measure Measure
	// Step is a number of minutes below an hour (for the last 2 hours), or a number of hours
	// (for 8 days).
	Step time.Duration
	// From is the beginning of the first step, rounded down to a whole minute or hour.
	From  time.Time
	Steps int // at most 200
	// Keep selects series by their names; nil: all.
	Keep func(name string) bool
	// Sum adds up the series of a label.
	Sum bool
}

const mostSteps = 200

// Line holds the counts of a series, or the sum of several.
type Line struct {
	Name, Label string
	Points      []Point // one for each step
}

// Series returns the counts of all replicas, ordered by name and label. Those of other replicas may
// be a minute old.
func (c *Counters) Series(ctx context.Context, q Query) ([]Line, error) {
	b, err := q.bucket(c)
	if err != nil {
		return nil, err
	}
	c.poll()
	c.mu.RLock()
	defer c.mu.RUnlock()
	rows, err := c.read(ctx, b, q)
	if err != nil {
		return nil, fmt.Errorf("reading counts: %w", err)
	}
	lines := lineSet{q: q, lines: map[Series]*Line{}}
	for _, row := range rows {
		number, _, _ := strings.Cut(row.ID, "/")
		n, err := strconv.ParseInt(number, 10, 64)
		at := time.Unix(n*int64(b.length/time.Second), 0)
		if err == nil {
			err = decode(row.Value, func(s Series, p Point) { lines.add(at, s, p) })
		}
		if err != nil {
			c.Log.Warn("counts for plots left out", zap.String("row", row.ID), zap.Error(err))
		}
	}
	c.counting.RLock()
	for s, cell := range c.cells {
		lines.add(time.Now(), s, cell.read())
	}
	c.counting.RUnlock()
	return lines.sorted(), nil
}

// bucket returns the bucket of the minute or the hour, depending on the query's step.
func (q *Query) bucket(c *Counters) (*bucket, error) {
	b := &c.hour
	if q.Step < time.Hour {
		b = &c.minute
	}
	if q.Step <= 0 || q.Step%b.length != 0 || q.Steps < 1 || q.Steps > mostSteps {
		return nil, fmt.Errorf("counts are kept by minute and by hour, not in %d steps of %v", q.Steps, q.Step)
	}
	q.From = q.From.Truncate(b.length)
	return b, nil
}

// read returns the rows of a query, including those that are not in the store yet.
func (c *Counters) read(ctx context.Context, b *bucket, q Query) ([]store.Row, error) {
	first := q.From.Unix() / int64(b.length/time.Second)
	last := min(q.From.Add(time.Duration(q.Steps)*q.Step).Unix(), time.Now().Unix()) / int64(b.length/time.Second)
	first = max(first, last-int64(b.keep/b.length)-1)
	found := map[store.Key]store.Row{}
	err := c.Rows.View(ctx, func(r store.Reader) error {
		clear(found)
		for ten := first / 10; ten <= last/10; ten++ {
			rows, err := r.Scan(b.kind, decade(ten*10), mostRows)
			if err != nil {
				return err
			}
			for _, row := range rows {
				found[row.Key] = row
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for key, row := range c.unwritten {
		if key.Kind == b.kind {
			found[key] = row
		}
	}
	rows := make([]store.Row, 0, len(found))
	for _, row := range found {
		rows = append(rows, row)
	}
	return rows, nil
}

// lineSet collects counts in the lines of a query.
type lineSet struct {
	q     Query
	lines map[Series]*Line
}

func (l *lineSet) add(at time.Time, s Series, p Point) {
	step := int(at.Sub(l.q.From) / l.q.Step)
	if at.Before(l.q.From) || step >= l.q.Steps || s.Measure != l.q.Measure || l.q.Keep != nil && !l.q.Keep(s.Name) || p == (Point{}) {
		return
	}
	if l.q.Sum {
		s.Name = ""
	}
	line := l.lines[s]
	if line == nil {
		line = &Line{Name: s.Name, Label: s.Label, Points: make([]Point, l.q.Steps)}
		l.lines[s] = line
	}
	line.Points[step] = line.Points[step].plus(p)
}

func (l *lineSet) sorted() []Line {
	lines := make([]Line, 0, len(l.lines))
	for _, line := range l.lines {
		lines = append(lines, *line)
	}
	slices.SortFunc(lines, func(a, b Line) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Label, b.Label))
	})
	return lines
}

// Success counts the attempts, and those that succeeded.
type Success struct{ Tried, Delivered int64 }

// Successes returns the counts of the last 24 hours, in whole hours, by the keys of the webhooks.
func (c *Counters) Successes(ctx context.Context) (map[string]Success, error) {
	lines, err := c.Series(ctx, Query{Measure: Deliveries, From: time.Now().Add(-23 * time.Hour), Step: 24 * time.Hour, Steps: 1})
	if err != nil {
		return nil, err
	}
	all := map[string]Success{}
	for _, line := range lines {
		one := all[line.Name]
		for _, p := range line.Points {
			one.Tried += p.Count
			if line.Label == Delivered {
				one.Delivered += p.Count
			}
		}
		all[line.Name] = one
	}
	return all, nil
}
