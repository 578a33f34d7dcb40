package upstream_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"

	"github.com/bellbuoy/bellbuoy/proxy/upstream"
)

func ExampleClient_Tags() {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, `{"name":"team/app","tags":["v1","v2"]}`)
	}))
	defer registry.Close()

	address, _ := url.Parse(registry.URL)
	client := upstream.New(upstream.Options{URL: address})
	err := client.Tags(context.Background(), "team/app", func(tags []string) error {
		fmt.Println(tags)
		return nil
	})
	fmt.Println(err)
	// Output:
	// [v1 v2]
	// <nil>
}
