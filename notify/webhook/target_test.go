package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
)

func TestPlaceholders(t *testing.T) {
	for url, want := range map[string]string{
		"https://h/a":                         "",
		"https://h/hook?tag={tag}&d={digest}": "tag digest",
		"https://h/{repository}/{name}/{namespace}?{type}&again={name}": "repository name namespace type",
		"https://{name}.example.com/":                                   "has the placeholder {name} in its host: only path and query may have one",
		"https://u:{tag}@example.com/":                                  "has the placeholder {tag} in its host: only path and query may have one",
		"https://h:{tag}":                                               "has the placeholder {tag} in its host: only path and query may have one",
		"https://h/{image}":                                             "has the placeholder {image}; there are {tag} {digest} {repository} {namespace} {name} {type}",
	} {
		names, err := Placeholders(url)
		if got := strings.Join(names, " "); err == nil && got != want || err != nil && err.Error() != want {
			t.Errorf("%s: %q %v, want %q", url, got, err, want)
		}
		if _, madeErr := New(Options{URL: url}); (madeErr == nil) != (err == nil) {
			t.Errorf("%s: New returned %v", url, madeErr)
		}
	}
}

func TestFilledURLs(t *testing.T) {
	var got []string
	srv := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = append(got, r.RequestURI) }))
	defer srv.Close()
	c, err := New(Options{URL: srv.URL + "/secret/{repository}/run?t={tag}&x=1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, values := range []map[string]string{
		{"repository": "team/app", "tag": "v1"},
		{"repository": "../../admin?x=#", "tag": "a&x=2 b+c%20{tag}"},
		{"repository": "ü", "tag": ""},
		{"repository": "..", "tag": "v1"},
		nil,
	} {
		r := c.Post(context.Background(), Message{ID: "1", Values: values})
		if bad := values["repository"] == ".."; (r.Outcome == Delivered) == bad {
			t.Errorf("%v: %+v", values, r)
		}
	}
	want := []string{"/secret/team%2Fapp/run?t=v1&x=1", "/secret/..%2F..%2Fadmin%3Fx%3D%23/run?t=a%26x%3D2%20b%2Bc%2520%7Btag%7D&x=1", "/secret/%C3%BC/run?t=&x=1", "/secret//run?t=&x=1"}
	if !slices.Equal(got, want) {
		t.Errorf("sent %q\nwant %q", got, want)
	}
}

func TestFilledIsShownWithoutSecrets(t *testing.T) {
	values := map[string]string{"tag": "v1+2", "name": "app"}
	for url, want := range map[string]string{
		"https://u:pass@h.example.com/api/webhooks/0123-secret?key=hidden&tag={tag}": "https://h.example.com/…?tag=v1%2B2",
		"https://h.example.com/token/{name}/x?a={tag}&b={name}":                      "https://h.example.com/…/app?a=v1%2B2&b=app",
		"https://h.example.com/token":                                                "https://h.example.com/…",
	} {
		if got := Filled(url, values); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
