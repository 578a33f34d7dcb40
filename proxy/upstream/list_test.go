package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func gather(t *testing.T, list func(context.Context, func([]string) error) error) ([]string, error) {
	var all []string
	err := list(t.Context(), func(names []string) error {
		all = append(all, names...)
		return nil
	})
	return all, err
}

func TestCatalogAndTagsArePaged(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"], r.pageSize = r, 3
	var want []string
	for i := range 10 {
		want = append(want, fmt.Sprintf("team/r%d", i))
		r.put(want[i], "v1", "{}")
		r.put("team/r0", fmt.Sprintf("t%d", i), "{}")
	}
	c := n.client()
	got, err := gather(t, c.Catalog)
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got the catalog %q, %v", got, err)
	}
	got, err = gather(t, func(ctx context.Context, yield func([]string) error) error { return c.Tags(ctx, "team/r0", yield) })
	if err != nil || len(got) != 11 {
		t.Errorf("got the tags %q, %v", got, err)
	}
}

func TestListsEndAtInvalidLinks(t *testing.T) {
	for name, link := range map[string]string{
		"itself":      `</v2/_catalog?n=100>; rel="next"`,
		"elsewhere":   `<https://evil.test/v2/_catalog?last=x>; rel="next"`,
		"other path":  `</v2/team/app/blobs/uploads/?last=x>; rel="next"`,
		"no query":    `</v2/_catalog>; rel="next"`,
		"back and on": `<?a=1>; rel="prev", <?a=2>; rel="next"`,
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", link)
			fmt.Fprint(w, `{"repositories":["a"]}`)
		})
		_, err := gather(t, n.client().Catalog)
		if !errors.Is(err, ErrPaging) {
			t.Errorf("%s: got %v", name, err)
		}
		for _, request := range n.requests() {
			if !strings.HasPrefix(request, "GET registry.test:5000/v2/_catalog") {
				t.Errorf("%s: the client requested %s", name, request)
			}
		}
		if len(n.requests()) > 3 {
			t.Errorf("%s: got %d requests", name, len(n.requests()))
		}
	}
}

func TestListsEndAfterManyEmptyPages(t *testing.T) {
	n, i := newNetwork(t), 0
	n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		i++
		w.Header().Set("Link", fmt.Sprintf(`<?last=%d>; rel=next`, i))
		fmt.Fprint(w, `{"repositories":null}`)
	})
	if _, err := gather(t, n.client().Catalog); !errors.Is(err, ErrPaging) || i > maxEmptyPages+1 {
		t.Errorf("err = %v after %d pages", err, i)
	}
}

func TestPageSizeRefused(t *testing.T) {
	n := newNetwork(t)
	n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.RawQuery != "" {
			refuse(w, http.StatusBadRequest, "PAGINATION_NUMBER_INVALID")
			return
		}
		fmt.Fprint(w, `{"repositories":["a","b"]}`)
	})
	if got, err := gather(t, n.client().Catalog); err != nil || len(got) != 2 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestInvalidNamesAreLeftOut(t *testing.T) {
	n := newNetwork(t)
	n.hosts["registry.test:5000"] = answering(200, "application/json",
		`{"repositories":["a","../x","a//b","", "b/./c", "ok/1"], "tags":["v1","a/b","","-x","w.1","`+strings.Repeat("t", 129)+`"]}`)
	c := n.client()
	for name, list := range map[string]func(context.Context, func([]string) error) error{
		"a, ok/1": c.Catalog,
		"v1, w.1": func(ctx context.Context, yield func([]string) error) error { return c.Tags(ctx, "a", yield) },
	} {
		got, err := gather(t, list)
		if err != nil || strings.Join(got, ", ") != name {
			t.Errorf("got %q, %v, want %s", got, err, name)
		}
	}
}

func TestListsThatFail(t *testing.T) {
	stop := errors.New("stop")
	for name, handler := range map[string]http.Handler{
		"not json": answering(200, "text/html", "<html>"),
		"oversize": answering(200, "application/json", `{"repositories":["`+strings.Repeat("x", maxPage)+`"]}`),
		"refused":  answering(403, "application/json", `{"errors":[{"code":"DENIED"}]}`),
		"down":     answering(503, "text/plain", ""),
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = handler
		if _, err := gather(t, n.client().Catalog); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	n := newNetwork(t)
	n.hosts["registry.test:5000"] = answering(200, "application/json", `{"repositories":["a"]}`)
	if err := n.client().Catalog(t.Context(), func([]string) error { return stop }); !errors.Is(err, stop) {
		t.Errorf("yield's error became %v", err)
	}
	if err := n.client().Tags(t.Context(), "../x", nil); !errors.Is(err, ErrName) {
		t.Errorf("got the error %v", err)
	}
}

func TestNextQuery(t *testing.T) {
	for _, test := range []struct {
		link, want string
		ok         bool
	}{
		{`</v2/_catalog?last=b&n=2>; rel="next"`, "last=b&n=2", true},
		{`<https://r.test/v2/_catalog?last=b>;rel=next`, "last=b", true},
		{`<?a=1>; rel="prev", <?a=2>; title="x, y; z"; rel="last next"`, "a=2", true},
		{`<?a=1,2>; rel=next;x=y`, "a=1,2", true},
		{`<?a=1>; rel=NEXT`, "a=1", true},
		{`<?a=1>`, "", false},
		{`<?a=1; rel="next"`, "", false},
		{`?a=1; rel="next"`, "", false},
		{`<%zz>; rel="next"`, "", false},
		{``, "", false},
	} {
		if got, ok := nextQuery([]string{test.link}); got != test.want || ok != test.ok {
			t.Errorf("%s: got %q, %v", test.link, got, ok)
		}
	}
}

func FuzzNextQuery(f *testing.F) {
	for _, seed := range []string{`</v2/_catalog?last=b&n=2>; rel="next"`, `<a>;b="c;<d>,", <e>;rel=next`, `<>;;;=`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, link string) {
		query, ok := nextQuery([]string{link})
		if !ok {
			return
		}
		if !strings.Contains(link, query) || !strings.Contains(strings.ToLower(link), "next") {
			t.Errorf("%q out of %q", query, link)
		}
	})
}
