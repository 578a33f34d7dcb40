package config

import (
	_ "embed"
	"slices"
)

//go:embed reference.yaml
var reference []byte

// Reference is a file with every key that is supported, its default, and a comment.
func Reference() []byte { return slices.Clone(reference) }
