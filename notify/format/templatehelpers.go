package format

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"text/template"
	"time"
)

// templateFunctionsMost bounds the bytes that the functions of one rendering produce. The bound
// on the output is not enough: a template can double a variable until memory is full, and write
// nothing.
const templateFunctionsMost = 16 << 20

var errFunctionsMost = fmt.Errorf("its functions produce more than %d MiB of text", templateFunctionsMost>>20)

// templateRun is a template whose functions count the bytes that they produce. It renders one event
// at a time.
type templateRun struct {
	template *template.Template
	made     int
}

// newTemplateRun returns a copy of a template with functions of its own.
func newTemplateRun(t *template.Template) (*templateRun, error) {
	own, err := t.Clone()
	if err != nil {
		return nil, err
	}
	r := &templateRun{}
	r.template = own.Funcs(r.functions())
	return r, nil
}

// functions returns the helpers, and replacements for the functions of text/template that produce
// text.
func (r *templateRun) functions() template.FuncMap {
	return template.FuncMap{
		"json":       func(v any) (string, error) { return r.make([]any{v}, func() (string, error) { return toJSON(v) }) },
		"lower":      func(s string) (string, error) { return r.text(strings.ToLower, s) },
		"upper":      func(s string) (string, error) { return r.text(strings.ToUpper, s) },
		"replace":    r.replace,
		"trimPrefix": func(prefix, s string) string { return strings.TrimPrefix(s, prefix) },
		"default":    byDefault,
		"formatTime": func(layout, s string) (string, error) {
			return r.make([]any{layout, s}, func() (string, error) { return formatTime(layout, s) })
		},
		"plain": func(v any) (string, error) {
			return r.make([]any{v}, func() (string, error) { return plain(textOf(v), textMost), nil })
		},
		"print":    func(args ...any) (string, error) { return r.joined(fmt.Sprint, args) },
		"println":  func(args ...any) (string, error) { return r.joined(fmt.Sprintln, args) },
		"html":     func(args ...any) (string, error) { return r.joined(template.HTMLEscaper, args) },
		"js":       func(args ...any) (string, error) { return r.joined(template.JSEscaper, args) },
		"urlquery": func(args ...any) (string, error) { return r.joined(template.URLQueryEscaper, args) },
		"printf":   r.printf,
	}
}

// make calls a function if its arguments are within the bound, and counts its result.
func (r *templateRun) make(args []any, do func() (string, error)) (string, error) {
	for _, arg := range args {
		if s, ok := arg.(string); ok {
			if err := r.count(len(s)); err != nil {
				return "", err
			}
		}
	}
	s, err := do()
	if err != nil {
		return "", err
	}
	return s, r.count(len(s))
}

func (r *templateRun) count(bytes int) error {
	if r.made += bytes; r.made > templateFunctionsMost {
		return errFunctionsMost
	}
	return nil
}

func (r *templateRun) text(do func(string) string, s string) (string, error) {
	return r.make([]any{s}, func() (string, error) { return do(s), nil })
}

func (r *templateRun) joined(do func(...any) string, args []any) (string, error) {
	return r.make(args, func() (string, error) { return do(args...), nil })
}

func (r *templateRun) replace(old, new, s string) (string, error) {
	if n := strings.Count(s, old); n > 0 && len(new) > (templateFunctionsMost-r.made)/n {
		return "", errFunctionsMost
	}
	return r.text(func(s string) string { return strings.ReplaceAll(s, old, new) }, s)
}

// wideVerb matches a verb of printf with a width or precision that is large or an argument.
var wideVerb = regexp.MustCompile(`%[^a-zA-Z%]*(?:[0-9]{4}|\*)`)

func (r *templateRun) printf(format string, args ...any) (string, error) {
	if wideVerb.MatchString(format) {
		return "", errors.New("a width or precision of printf has at most 3 digits")
	}
	return r.make(append([]any{format}, args...), func() (string, error) { return fmt.Sprintf(format, args...), nil })
}

// toJSON encodes a value as JSON.
func toJSON(v any) (string, error) {
	b, err := json.Marshal(v)
	return string(b), err
}

// byDefault returns v, or fallback if v is empty: {{.operator | default "somebody"}}.
func byDefault(fallback, v any) any {
	if truth, ok := template.IsTrue(v); ok && truth {
		return v
	}
	return fallback
}

// formatTime formats a time of the event in a layout of Go: {{.time | formatTime "2006-01-02
// 15:04"}}.
func formatTime(layout, s string) (string, error) {
	if s == "" {
		return "", nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return "", fmt.Errorf("%q is not a time", s)
	}
	return t.Format(layout), nil
}

func textOf(v any) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}
