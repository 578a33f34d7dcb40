package counters

import (
	"slices"
	"time"
)

// bounds holds the upper bounds of a histogram's buckets, except the last.
var bounds = [...]time.Duration{
	5 * time.Millisecond, 20 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 15 * time.Second,
}

const (
	buckets     = len(bounds) + 1
	histogramAt = 6
	width       = histogramAt + buckets
)

// Point holds the counts of one series within a step.
type Point struct {
	Count int64 // of events, attempts or requests

	// For attempts: the number of POSTs, their total time, and a histogram of their times.
	Posts     int64
	Latency   time.Duration
	Histogram [buckets]int64

	// For traffic: bytes of the bodies of requests and answers, and answers of 500 and above.
	In, Out, Errors int64
}

// Mean returns the average time of a POST; 0: there was none.
func (p Point) Mean() time.Duration {
	if p.Posts == 0 {
		return 0
	}
	return p.Latency / time.Duration(p.Posts)
}

// Quantile returns the q-quantile of the times of POSTs, rounded up to a bound of the histogram; 0:
// there was no POST.
func (p Point) Quantile(q float64) time.Duration {
	var sum int64
	for i, n := range p.Histogram {
		if sum += n; n > 0 && float64(sum) >= q*float64(p.Posts) {
			return bounds[min(i, len(bounds)-1)]
		}
	}
	return 0
}

// bucketOf is the bucket of a histogram for a time.
func bucketOf(took time.Duration) int {
	i, _ := slices.BinarySearch(bounds[:], took)
	return i
}

// values is a Point in the form of cells and rows. New values are added at the end.
type values [width]int64

func (p Point) values() (v values) {
	v = values{p.Count, p.In, p.Out, p.Errors, p.Posts, int64(p.Latency)}
	copy(v[histogramAt:], p.Histogram[:])
	return v
}

func (v values) point() (p Point) {
	p = Point{Count: v[0], In: v[1], Out: v[2], Errors: v[3], Posts: v[4], Latency: time.Duration(v[5])}
	copy(p.Histogram[:], v[histogramAt:])
	return p
}

func (p Point) plus(q Point) Point {
	a, b := p.values(), q.values()
	for i := range a {
		a[i] += b[i]
	}
	return a.point()
}

func (p Point) minus(q Point) Point {
	a, b := p.values(), q.values()
	for i := range a {
		a[i] -= b[i]
	}
	return a.point()
}
