// Package hostile makes what a stranger may send to cost a reader dearly. It imports nothing of the
// tree, so that a package's unit tests can use it.
package hostile

import "strings"

// Manifests returns manifests of about size bytes, by what each is full of. Each is as costly to
// read as that many bytes can be.
func Manifests(size int) map[string]string {
	fill := func(begin, one, end string) string {
		return begin + one + strings.Repeat(","+one, (size-len(begin)-len(end))/(len(one)+1)-1) + end
	}
	child := `{"digest":"sha256:` + strings.Repeat("ab", 32) + `","platform":{"os":"o","architecture":"a"}}`
	return map[string]string{
		"empty layers":         fill(`{"layers":[`, `{}`, `]}`),
		"layers with a digest": fill(`{"layers":[`, `{"digest":"a:b"}`, `]}`),
		"children":             fill(`{"manifests":[`, child, `]}`),
		"short children":       fill(`{"manifests":[`, `{"digest":"a:b"}`, `]}`),
		"long types":           fill(`{"manifests":[`, `{"mediaType":"`+strings.Repeat("<", 255)+`","artifactType":"`+strings.Repeat("t", 255)+`"}`, `]}`),
		"a long media type":    `{"mediaType":"` + strings.Repeat("<", size-20) + `"}`,
		"annotations":          fill(`{"annotations":{`, `"":""`, `}}`),
		"unknown members":      fill(`{`, `"":0`, `}`),
		"deep":                 `{"x":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}`,
	}
}
