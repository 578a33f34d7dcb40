package quota

import "slices"

// hysteresis is how many points of the limit the usage must fall below a level before that is told
// again.
const hysteresis = 5

// percent is the usage in points of the limit.
func (u *Usage) percent(r Rule) float64 { return float64(u.Used) * 100 / float64(r.Limit) }

// calm forgets the levels that the usage has left.
func (u *Usage) calm(r Rule) {
	at := u.percent(r)
	u.Warned = slices.DeleteFunc(slices.Clone(u.Warned), func(level float64) bool {
		return at < level-hysteresis || !slices.Contains(r.WarnAt, level)
	})
	u.Exceeded = u.Exceeded && at >= 100-hysteresis
}

// warns notes and returns the levels that the usage has reached and that were not told yet, in
// ascending order.
func (u *Usage) warns(r Rule) (levels []float64) {
	at := u.percent(r)
	for _, level := range slices.Compact(slices.Sorted(slices.Values(r.WarnAt))) {
		if at >= level && !slices.Contains(u.Warned, level) {
			levels = append(levels, level)
		}
	}
	u.Warned = append(u.Warned, levels...)
	return levels
}

// exceeds notes and reports whether the usage is above the limit, and that was not told yet.
func (u *Usage) exceeds(r Rule) bool {
	if u.Exceeded || u.Used <= r.Limit {
		return false
	}
	u.Exceeded = true
	return true
}

func (u *Usage) same(o *Usage) bool {
	return u.Used == o.Used && u.Told == o.Told && u.Exceeded == o.Exceeded && slices.Equal(u.Warned, o.Warned)
}
