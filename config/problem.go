package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one fault of a file, with its place.
type Problem struct {
	File         string
	Line, Column int    // both count from 1
	Path         string // webhooks[0].url; "" is the whole file
	Message      string
	Warning      bool // the configuration can be used
}

// String returns one line: bellbuoy.yaml:12:5: webhooks[0].urll: unknown key; did you mean "url"?
func (p Problem) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s:%d:%d: ", p.File, p.Line, p.Column)
	if p.Warning {
		b.WriteString("warning: ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems lists the faults of a file in the order of the file. As the error of Load and Parse it
// is never empty.
type Problems []Problem

// Error returns one line for each problem.
func (ps Problems) Error() string { return joinLines(ps) }

// Warnings lists settings that are probably mistakes, in the order of the file.
type Warnings []Problem

// String returns one line for each warning.
func (ws Warnings) String() string { return joinLines(ws) }

func joinLines(ps []Problem) string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// place is a position in the file. The zero place is unknown.
type place struct{ line, column int }

// findings collects problems while a file is read.
type findings struct {
	file     string
	problems Problems
	warnings Warnings
	bad      map[string]bool // paths with a problem
}

func (f *findings) problem(at place, path, message string) {
	f.bad[path] = true
	f.problems = append(f.problems, f.at(at, path, message))
}

func (f *findings) warning(at place, path, message string) {
	w := f.at(at, path, message)
	w.Warning = true
	f.warnings = append(f.warnings, w)
}

func (f *findings) at(at place, path, message string) Problem {
	return Problem{File: f.file, Line: max(at.line, 1), Column: max(at.column, 1), Path: path, Message: message}
}

// hasProblem reports whether path, or a value that contains it, already has a problem. A second
// problem would be a consequence of the first.
func (f *findings) hasProblem(path string) bool {
	for {
		if f.bad[path] {
			return true
		}
		if path == "" {
			return false
		}
		path = parentPath(path)
	}
}

// hasProblemWithin reports whether path, or a value within it, already has a problem.
func (f *findings) hasProblemWithin(path string) bool {
	for bad := range f.bad {
		if rest, ok := strings.CutPrefix(bad, path); ok && (rest == "" || rest[0] == '.' || rest[0] == '[') {
			return true
		}
	}
	return false
}

func indexed(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func parentPath(path string) string {
	return path[:max(strings.LastIndexAny(path, ".["), 0)]
}

// result returns the sorted findings. Its error is nil or a Problems.
func (f *findings) result() (Warnings, error) {
	sortProblems(f.problems)
	sortProblems(f.warnings)
	if len(f.problems) == 0 {
		return f.warnings, nil
	}
	return f.warnings, f.problems
}

func sortProblems(ps []Problem) {
	slices.SortStableFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
}
