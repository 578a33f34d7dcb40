package config

import (
	"fmt"
	"slices"
	"strings"
)

// didYouMean returns the end of a message about an unknown word: the nearest valid word, or all
// valid words if none is near. It does not quote the unknown word.
func didYouMean(word string, valid []string) string {
	if len(valid) == 0 {
		return ""
	}
	if near, ok := nearest(word, valid); ok {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	return "; want one of " + strings.Join(valid, ", ")
}

// oneOf returns the end of a message about an unknown value: the nearest valid value, and all valid
// values.
func oneOf(word string, valid []string) string {
	all := "; want one of " + strings.Join(valid, ", ")
	if near, ok := nearest(word, valid); ok {
		return fmt.Sprintf("; did you mean %q?", near) + " (" + all[2:] + ")"
	}
	return all
}

// nearest returns the valid word with the fewest edits from word, if they are few enough for a
// typing error.
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

// normal removes the differences between camelCase, kebab-case and snake_case.
func normal(word string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "", " ", "").Replace(word))
}

// distance counts the edits from a to b: an added, removed or changed byte, or two exchanged
// neighbours.
func distance(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range len(b) {
		rows[0][j+1] = j + 1
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := rows[i-1][j-1]
			if a[i-1] != b[j-1] {
				change++
			}
			rows[i][j] = min(change, rows[i-1][j]+1, rows[i][j-1]+1)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
