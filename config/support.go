package config

import (
	"regexp"
	"slices"
)

// feature is something that the file may ask for and that does not exist yet.
type feature struct {
	path  string // with [] for every index
	value string // only this value is refused; "" is any that asks for something
}

// notYet is everything that is refused today. To switch a feature on, delete its lines: the JSON Schema then names its
// keys, and a test asks for them in reference.yaml.
var notYet = []feature{
	{path: "scanners"},
	{path: "replication"},
	{path: "webhooks[].match.min_severity"},
	{path: "webhooks[].exclude.min_severity"},
}

var indexes = regexp.MustCompile(`\[\d+\]`)

// pathPattern is a path as a feature names it.
func pathPattern(path string) string { return indexes.ReplaceAllString(path, "[]") }

// refuses says whether a value asks for a feature that does not exist yet, and names it as a message begins.
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

// asksNothing says whether a value is as good as absent.
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

// plain is a scalar's value, expanded where that is possible: where it is not, decoding says so.
func (d *decoder) plain(n *node) string {
	if n.kind == text && expands(n.value) {
		if value, err := (&expander{env: d.expander.env}).expand(n.value); err == nil {
			return value
		}
	}
	return n.value
}
