package config

import (
	_ "embed"
	"slices"
)

//go:embed reference.yaml
var reference []byte

// Reference returns a file with every supported key, its default, and a comment.
func Reference() []byte { return slices.Clone(reference) }
