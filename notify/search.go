package notify

import (
	"slices"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Search compiles a filter to a test of events. Unlike a webhook's filter, it rejects events that
// lack a property.
func Search(m Match) (func(*detect.Event) bool, error) {
	f, err := compileFilter("search", m)
	if err != nil {
		return nil, err
	}
	return func(e *detect.Event) bool {
		var about eventView
		about.read(e)
		for _, k := range f.keys {
			if has, ok := k.test(&about); !has || !ok {
				return false
			}
		}
		return f.tags == nil || slices.ContainsFunc(about.tags, func(t string) bool { return anyMatch(f.tags, t) })
	}, nil
}
