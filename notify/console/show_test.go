package console

import (
	"flag"
	"net/http"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/access"
)

var show = flag.String("show", "", "serve the pages with sample data at this address, such as 127.0.0.1:8090")

// TestShow serves the pages for somebody who works on them:
//
//	go test ./notify/console -run TestShow -show 127.0.0.1:8090
func TestShow(t *testing.T) {
	if *show == "" {
		t.Skip("only with -show")
	}
	h := newConsole(sample()).Handler()
	t.Fatal(http.ListenAndServe(*show, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := access.Principal{Name: "ops", Administrator: true}
		if r.URL.Query().Get("as") == "team" {
			who = access.Principal{Name: "maria", Projects: []string{"platform"}}
		}
		if r.URL.Path != access.LoginPath {
			r = access.WithPrincipal(r, who)
		}
		h.ServeHTTP(w, r)
	})))
}
