package upstream

import (
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// TestReach: what the operator can mend is told apart from an upstream that works.
func TestReach(t *testing.T) {
	basic := func(w http.ResponseWriter, r *http.Request) {
		if _, password, _ := r.BasicAuth(); password != "s3cret" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
		}
	}
	status := func(code int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
	}
	for name, tt := range map[string]struct {
		answers  http.HandlerFunc
		charts   bool
		password string
		login    bool   // the login is refused
		problem  string // a part of the error; "": none
		asked    string
	}{
		"registry":                  {answers: status(200), asked: "GET registry.test:5000/v2/"},
		"login":                     {answers: basic, password: "s3cret"},
		"wrong login":               {answers: basic, password: "other", login: true, problem: "refused"},
		"asks, and there is none":   {answers: basic},
		"no registry":               {answers: status(404), problem: "404"},
		"fails":                     {answers: status(503), problem: "503"},
		"ChartMuseum":               {answers: status(200), charts: true, asked: "GET registry.test:5000/index.yaml"},
		"ChartMuseum with a depth":  {answers: status(404), charts: true},
		"ChartMuseum's wrong login": {answers: basic, charts: true, password: "other", login: true, problem: "refused"},
		"nobody":                    {problem: "no such host"},
	} {
		n := newNetwork(t)
		if tt.answers != nil {
			n.hosts["registry.test:5000"] = tt.answers
		}
		o := Options{URL: &url.URL{Scheme: "http", Host: "registry.test:5000"}, Transport: n}
		if tt.password != "" {
			o.Username, o.Password = "bellbuoy", tt.password
		}
		err := New(o).Reach(t.Context(), tt.charts)
		if (err == nil) != (tt.problem == "") || err != nil && !strings.Contains(err.Error(), tt.problem) || errors.Is(err, ErrLogin) != tt.login {
			t.Errorf("%s: %v", name, err)
		}
		if tt.asked != "" && (len(n.seen) != 1 || n.seen[0] != tt.asked) {
			t.Errorf("%s: asked %q", name, n.seen)
		}
	}
}
