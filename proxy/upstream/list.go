package upstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"net/http"
	"net/url"
	"strings"
)

const (
	pageSize      = "100" // supported by every registry
	maxPages      = 100_000
	maxEmptyPages = 100
)

// pace runs the requests of a list. It may wait before a request and repeat it after an error. Nil
// runs each once, at once.
type pace func(ctx context.Context, ask func(context.Context) error) error

// Tags reads the tags of a repository with bellbuoy's own credentials, page by page. If yield
// returns an error, Tags returns it. Names that are no valid tags are left out.
func (c *Client) Tags(ctx context.Context, repository string, yield func([]string) error) error {
	return c.tags(ctx, repository, nil, yield)
}

func (c *Client) tags(ctx context.Context, repository string, pace pace, yield func([]string) error) error {
	if !validRepository(repository) {
		return fmt.Errorf("listing tags: %w", ErrName)
	}
	l := list{
		client: c, path: "/v2/" + repository + "/tags/list", scope: pullScope(repository), pace: pace,
		key: "tags", valid: validTag,
	}
	if err := l.read(ctx, pageQuery(""), yield); err != nil {
		return fmt.Errorf("listing tags of %s: %w", repository, err)
	}
	return nil
}

// Catalog reads the names of all repositories that bellbuoy's own credentials may see, page by
// page.
func (c *Client) Catalog(ctx context.Context, yield func([]string) error) error {
	return c.catalog(ctx, "", nil, yield)
}

// catalog starts after last, if the registry supports that.
func (c *Client) catalog(ctx context.Context, last string, pace pace, yield func([]string) error) error {
	l := list{client: c, path: "/v2/_catalog", scope: "registry:catalog:*", key: "repositories", pace: pace, valid: validRepository}
	if err := l.read(ctx, pageQuery(last), yield); err != nil {
		return fmt.Errorf("listing repositories: %w", err)
	}
	return nil
}

// list is a paged list of names.
type list struct {
	client      *Client
	path, scope string
	key         string // of the names in the JSON of a page
	pace        pace
	valid       func(string) bool
}

type page struct {
	names []string
	next  string // the query of the next page
	more  bool
}

// read follows the pages until one has no Link. It uses only the query of a Link, so that a Link
// cannot lead to another path. A Link that was followed before ends the list with ErrPaging.
func (l list) read(ctx context.Context, query string, yield func([]string) error) error {
	seen, seed := map[uint64]bool{}, maphash.MakeSeed()
	empty := 0
	for {
		seen[maphash.String(seed, query)] = true
		p, err := l.page(ctx, query)
		if len(seen) == 1 && refusesSize(err) {
			p, err = l.page(ctx, "")
		}
		if err != nil {
			return err
		}
		if len(p.names) > 0 {
			empty = 0
			if err := yield(p.names); err != nil {
				return err
			}
		} else {
			empty++
		}
		if !p.more {
			return nil
		}
		if seen[maphash.String(seed, p.next)] || len(seen) >= maxPages || empty > maxEmptyPages {
			return ErrPaging
		}
		query = p.next
	}
}

// refusesSize reports whether a registry refuses the requested size of a page.
func refusesSize(err error) bool {
	var status *StatusError
	return errors.As(err, &status) && status.Status == http.StatusBadRequest
}

func (l list) page(ctx context.Context, query string) (page, error) {
	var p page
	ask := func(ctx context.Context) (err error) {
		p, err = l.ask(ctx, query)
		return err
	}
	if l.pace == nil {
		err := ask(ctx)
		return p, err
	}
	err := l.pace(ctx, ask)
	return p, err
}

func (l list) ask(ctx context.Context, query string) (page, error) {
	resp, err := l.client.ask(ctx, request{
		method: http.MethodGet, target: l.client.at(l.path, query), accept: "application/json", scope: l.scope, as: Own,
	})
	if err != nil {
		return page{}, err
	}
	defer resp.Body.Close()
	if !success(resp.StatusCode) {
		return page{}, refusal(resp, saysOCI)
	}
	body, err := readAll(resp, maxPage)
	if err != nil {
		return page{}, err
	}
	p, err := l.parse(body)
	p.next, p.more = nextQuery(resp.Header.Values("Link"))
	return p, err
}

func (l list) parse(body []byte) (page, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(body, &fields); err != nil {
		return page{}, fmt.Errorf("reading a page: %w (%w)", errMalformed, err)
	}
	var names []string
	if raw, ok := fields[l.key]; ok {
		if err := json.Unmarshal(raw, &names); err != nil {
			return page{}, fmt.Errorf("reading a page: %w (%w)", errMalformed, err)
		}
	}
	var p page
	for _, name := range names {
		if l.valid(name) {
			p.names = append(p.names, name)
		}
	}
	return p, nil
}

const maxLink = 16 << 10

// nextQuery returns the query of the Link header (RFC 8288) with rel="next".
func nextQuery(headers []string) (string, bool) {
	for _, header := range headers {
		if len(header) > maxLink {
			continue
		}
		for header != "" {
			var target, rel string
			target, rel, header = cutLink(header)
			next, err := url.Parse(target)
			if target == "" || err != nil || !isNext(rel) {
				continue
			}
			return next.RawQuery, true
		}
	}
	return "", false
}

func isNext(rel string) bool {
	for word := range strings.FieldsSeq(rel) {
		if strings.EqualFold(word, "next") {
			return true
		}
	}
	return false
}

// cutLink parses one `<target>; rel="…"` and returns the text after its comma as rest.
func cutLink(s string) (target, rel, rest string) {
	_, s, ok := strings.Cut(s, "<")
	if !ok {
		return "", "", ""
	}
	target, s, ok = strings.Cut(s, ">")
	if !ok {
		return "", "", ""
	}
	for {
		s = strings.TrimLeft(s, " \t")
		if after, more := strings.CutPrefix(s, ";"); !more {
			return target, rel, afterComma(s)
		} else {
			s = strings.TrimLeft(after, " \t")
		}
		var name, value string
		name, s = cutToken(s)
		value, s, ok = cutValue(s, "; ,\t")
		if ok && rel == "" && strings.EqualFold(name, "rel") {
			rel = value
		}
	}
}
