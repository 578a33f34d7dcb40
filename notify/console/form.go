package console

import (
	"net/url"
	"slices"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// form is what a form's fields hold, and what is wrong with them.
type form struct {
	values   url.Values
	problems map[string]string // by the field's name
}

func newForm(values url.Values) form { return form{values, map[string]string{}} }

// Value is the value of a field.
func (f form) Value(name string) string { return f.values.Get(name) }

// Has reports whether a field has a value, which may be one of several.
func (f form) Has(name, value string) bool { return slices.Contains(f.values[name], value) }

// Problem is what is wrong with a field; "" if nothing is.
func (f form) Problem(name string) string { return f.problems[name] }

// Problems reports whether something is wrong.
func (f form) Problems() bool { return len(f.problems) > 0 }

// blame adds problems to their fields. Those of a key without a field, such as headers.X, stand at
// the field of the longest key above it; others at "".
func (f form) blame(problems manage.Problems, fields []string) {
	for _, p := range problems {
		name := ""
		if p.Field == "tls.insecure_skip_verify" {
			p.Field = "verify"
		}
		for _, field := range fields {
			if field == p.Field || len(field) > len(name) && strings.HasPrefix(p.Field, field) && strings.ContainsRune(".[", rune(p.Field[len(field)])) {
				name = field
			}
		}
		text := sentence(p.Message)
		if name == "" && p.Field != "" {
			text = p.Field + ": " + p.Message
		}
		if before := f.problems[name]; before != "" {
			text = before + " " + text
		}
		f.problems[name] = text
	}
}

// option is one of a choice.
type option struct{ Value, Label string }

// pair is a field that a form hands on unseen.
type pair struct{ Name, Value string }

// pairs are the fields of a query, sorted.
func pairs(q url.Values) (all []pair) {
	for name, values := range q {
		for _, value := range values {
			all = append(all, pair{name, value})
		}
	}
	slices.SortFunc(all, func(a, b pair) int { return strings.Compare(a.Name+"="+a.Value, b.Name+"="+b.Value) })
	return all
}

// confirmPage asks before something is done.
type confirmPage struct {
	Title, Text  string
	Items        []string
	Action, Back string
	Button       string
	Danger       bool
	Keep         []pair
}
