package config

import (
	"regexp"
	"slices"
)

// feature is a setting of the file that does not exist yet.
type feature struct {
	path  string // with [] for every index
	value string // only this value is refused; "": every value that is not a default
}

// notYet lists what is refused today. To turn a feature on, delete its lines: the JSON Schema then
// contains its keys, and a test requires them in reference.yaml.
var notYet = []feature{}

var indexes = regexp.MustCompile(`\[\d+\]`)

// pathPattern returns a path in the form of feature.path.
func pathPattern(path string) string { return indexes.ReplaceAllString(path, "[]") }

// refuses reports whether a value uses a feature that does not exist yet, and returns the beginning
// of the message.
func (d *decoder) refuses(n *node, path string) (string, bool) {
	pattern := pathPattern(path)
	for _, f := range d.refused {
		if f.path != pattern || d.asksNothing(n) {
			continue
		}
		value := d.plain(n)
		if f.value != "" && value == f.value {
			return "the value " + spot{raw: n.value}.show() + " is", true
		}
		if f.value == "" {
			return "the key is", true
		}
	}
	return "", false
}

// asksNothing reports whether a value is equivalent to an absent one.
func (d *decoder) asksNothing(n *node) bool {
	switch n.kind {
	case list:
		return len(n.items) == 0
	case mapping:
		return !slices.ContainsFunc(n.keys, func(k key) bool { return !d.asksNothing(k.value) })
	case text, number:
		value := d.plain(n)
		return value == "" || value == "0"
	}
	return n.kind == null
}

// plain returns a scalar's expanded value. Decoding reports a value that cannot be expanded.
func (d *decoder) plain(n *node) string {
	if n.kind == text && expands(n.value) {
		if value, err := (&expander{env: d.expander.env}).expand(n.value); err == nil {
			return value
		}
	}
	return n.value
}
