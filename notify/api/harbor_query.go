package api

import (
	"cmp"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// page is the part of a list that a request selects.
type page struct {
	number, size int // size 0: all
}

const (
	defaultSize = 10
	mostSize    = 100
)

func (c *call) page() (page, error) {
	q := c.URL.Query()
	p := page{1, defaultSize}
	for _, field := range []struct {
		name string
		to   *int
		most int
	}{{"page", &p.number, 1_000_000}, {"page_size", &p.size, mostSize}} {
		text := q.Get(field.name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		switch {
		case err != nil || n < 0:
			return p, fmt.Errorf("%w: %s in query must be a number", errUnprocessable, field.name)
		case n > field.most:
			return p, fmt.Errorf("%w: %s in query should be less than or equal to %d", errUnprocessable, field.name, field.most)
		}
		*field.to = n
	}
	p.number = max(p.number, 1)
	return p, nil
}

// answerPage answers with a page of a list, and sets the headers with its length and its links.
func answerPage[T any](c *call, p page, all []T) error {
	total := len(all)
	c.w.Header().Set("X-Total-Count", strconv.Itoa(total))
	if p.size == 0 {
		return c.answer(orEmpty(all))
	}
	from := min((p.number-1)*p.size, total)
	to := min(from+p.size, total)
	var links []string
	if from > 0 {
		links = append(links, c.link(p, p.number-1, "prev"))
	}
	if to < total {
		links = append(links, c.link(p, p.number+1, "next"))
	}
	if len(links) > 0 {
		c.w.Header().Set("Link", strings.Join(links, " , "))
	}
	return c.answer(orEmpty(all[from:to]))
}

func (c *call) link(p page, number int, rel string) string {
	q := c.URL.Query()
	q.Set("page", strconv.Itoa(number))
	q.Set("page_size", strconv.Itoa(p.size))
	return fmt.Sprintf("<%s?%s>; rel=%q", c.URL.EscapedPath(), q.Encode(), rel)
}

// orEmpty returns an empty slice instead of nil, so that JSON has an array.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// term is one condition of a query: k=v, or k=~v for a part of the value.
type term struct {
	key, value string
	part       bool
}

func (t term) meets(value string) bool {
	if t.part {
		return strings.Contains(strings.ToLower(value), strings.ToLower(t.value))
	}
	return value == t.value
}

// terms parses the parameter q, whose keys must be among known.
func (c *call) terms(known ...string) ([]term, error) {
	text := c.URL.Query().Get("q")
	if text == "" {
		return nil, nil
	}
	var out []term
	for _, part := range strings.Split(text, ",") {
		key, value, ok := strings.Cut(part, "=")
		if !ok || !slices.Contains(known, key) {
			return nil, fmt.Errorf("%w: q: %q is not a condition on one of %s", ErrInvalid, part, strings.Join(known, ", "))
		}
		t := term{key: key, value: value}
		if t.value, t.part = strings.CutPrefix(value, "~"); !t.part {
			t.value = value
		}
		if unescaped, err := url.QueryUnescape(t.value); err == nil {
			t.value = unescaped
		}
		out = append(out, t)
	}
	return out, nil
}

// sorted orders a list by the parameter sort: a key, descending with - in front.
func sorted[T any](c *call, list []T, by map[string]func(a, b T) int) error {
	text := c.URL.Query().Get("sort")
	if text == "" {
		return nil
	}
	key, down := strings.CutPrefix(strings.Split(text, ",")[0], "-")
	compare, ok := by[key]
	if !ok {
		return fmt.Errorf("%w: sort: %q is not known", ErrInvalid, key)
	}
	slices.SortStableFunc(list, func(a, b T) int {
		if down {
			a, b = b, a
		}
		return compare(a, b)
	})
	return nil
}

func byField[T any, F cmp.Ordered](field func(T) F) func(a, b T) int {
	return func(a, b T) int { return cmp.Compare(field(a), field(b)) }
}
