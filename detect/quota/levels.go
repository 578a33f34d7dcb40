package quota

import "slices"

// hysteresis is how many percent of the limit the usage must fall below a level before that level
// can have an event again.
const hysteresis = 5

// percent returns the usage in percent of the limit.
func (u *Usage) percent(r Rule) float64 { return float64(u.Used) * 100 / float64(r.Limit) }

// reset removes the levels that the usage has fallen below.
func (u *Usage) reset(r Rule) {
	at := u.percent(r)
	u.Warned = slices.DeleteFunc(slices.Clone(u.Warned), func(level float64) bool {
		return at < level-hysteresis || !slices.Contains(r.WarnAt, level)
	})
	u.Exceeded = u.Exceeded && at >= 100-hysteresis
}

// warns adds the levels that the usage has newly reached to Warned, and returns them in ascending
// order.
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

// exceeds reports whether the usage has newly exceeded the limit, and sets Exceeded.
func (u *Usage) exceeds(r Rule) bool {
	if u.Exceeded || u.Used <= r.Limit {
		return false
	}
	u.Exceeded = true
	return true
}

func (u *Usage) same(o *Usage) bool {
	return u.Used == o.Used && u.Judged == o.Judged && u.Exceeded == o.Exceeded && slices.Equal(u.Warned, o.Warned)
}
