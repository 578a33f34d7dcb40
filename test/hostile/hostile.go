// Package hostile makes input that is small to send and costly to read. It imports nothing of this
// module, so that unit tests of every package can use it.
package hostile

import "strings"

// Manifests returns manifests of about size bytes, by their content. Each is as costly to read as a
// manifest of that size can be.
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
