package config

import (
	"fmt"
	"slices"
	"strings"
)

// didYouMean ends a message about an unknown word: with the nearest of the valid ones, or with all of them when none
// is near. It quotes nothing of the unknown word itself.
func didYouMean(word string, valid []string) string {
	if len(valid) == 0 {
		return ""
	}
	if near, ok := nearest(word, valid); ok {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; want one of " + strings.Join(valid, ", ")
}

// nearest is the valid word with the fewest edits from word, if they are few enough for a typing error.
func nearest(word string, valid []string) (string, bool) {
	if len(word) > 64 {
		return "", false
	}
	best, bestEdits := "", max(2, len(word)/2)+1
	for _, candidate := range slices.Sorted(slices.Values(valid)) {
		edits := distance(normal(word), normal(candidate))
		if edits < bestEdits && edits < len(candidate) {
			best, bestEdits = candidate, edits
		}
	}
	return best, best != ""
}

// normal forgives the differences between camelCase, kebab-case and snake_case.
func normal(word string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(word))
}

// distance is the Levenshtein distance of two words.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := diagonal
			if a[i] != b[j] {
				change++
			}
			diagonal = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
