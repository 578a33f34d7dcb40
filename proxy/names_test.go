package proxy

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// A write with a name that no registry accepts is answered 400. A read passes, and is no operation.
func TestNamesBeyondTheLimits(t *testing.T) {
	reached := 0
	s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { reached++; registry(w, r) }), nil)
	long := strings.Repeat("a", 60<<10)
	for _, target := range []string{"/v2/" + long + "/manifests/v1", "/v2/a/manifests/" + long, "/v2/a/manifests/v1?ns=" + long} {
		for _, method := range []string{"PUT", "DELETE"} {
			res, body := s.do(method, target, strings.NewReader(manifest))
			if res.StatusCode != 400 || !strings.Contains(body, `"NAME_INVALID"`) || !strings.Contains(body, "longer than") {
				t.Errorf("%s: got %d %s", method, res.StatusCode, body)
			}
		}
		before := reached
		if s.do("GET", target, nil); reached != before+1 {
			t.Error("a read did not reach the upstream")
		}
	}
	if reached != 3 || len(s.tracker.intended) > 0 {
		t.Errorf("%d requests reached the upstream, of these %d writes", reached, len(s.tracker.intended))
	}
	for _, op := range s.tracker.ended {
		if op.Action != detect.Other || op.Repository+op.Reference+op.Hint != "" {
			t.Errorf("observed as %+v", op.Request)
		}
	}
}

// A write that an upstream acknowledges has its event, whatever the spelling of its path. The path
// is forwarded unchanged.
func TestUncleanPaths(t *testing.T) {
	for _, target := range []string{
		"/v2/team/./app/manifests/v1", "/v2/team//app/manifests/v1", "/v2/team/x/../app/manifests/v1", "//v2/team/app/manifests/v1",
		"/v2/team/%2e/app/manifests/v1", "/v2/team/x/%2E%2e/app/manifests/v1", "/v2/team%2Fapp/manifests/v1", "/x/../v2/team/app/manifests/v1",
		"/v2/team/app/manifests/v1/", "/v2/team/app//manifests/./v1?a=b",
	} {
		var got string
		s := newStand(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			got = r.RequestURI
			_, _ = io.Copy(io.Discard, r.Body)
			w.WriteHeader(201)
		}), func(o *Options) {
			o.Upstreams = append(o.Upstreams, o.Upstreams[0])
			o.Upstreams[1].Name, o.Upstreams[1].PathPrefix = "other", "/x"
		})
		c := s.dial()
		_ = c.SetDeadline(time.Now().Add(patience))
		fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n%s", target, len(manifest), manifest)
		res, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || res.StatusCode != 201 {
			t.Fatalf("%s: got %v, %v", target, res, err)
		}
		_ = c.Close()
		if got != target {
			t.Errorf("%s was forwarded as %s", target, got)
		}
		if len(s.tracker.settled) != 1 || s.tracker.settled[0].Repository != "team/app" || s.tracker.settled[0].Reference != "v1" || s.tracker.settled[0].Upstream != "registry" {
			t.Errorf("%s: settled %+v", target, s.tracker.settled)
		}
	}
}
