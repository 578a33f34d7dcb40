package upstream

import (
	"errors"
	"net/http"
	"testing"
)

// The errors of Reach for a registry and for a ChartMuseum of any depth, with and without
// credentials.
func TestReach(t *testing.T) {
	asks := func(w http.ResponseWriter, r *http.Request) bool {
		if _, password, ok := r.BasicAuth(); ok && password == "s3cret" {
			return false
		}
		w.Header().Set("Www-Authenticate", `Basic realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
		return true
	}
	charts := func(index string, login bool) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != index {
				http.Error(w, `{"error":"not found"}`, http.StatusNotFound)
			} else if !login || !asks(w, r) {
				w.WriteHeader(http.StatusOK)
			}
		})
	}
	guarded := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !asks(w, r) {
			w.WriteHeader(http.StatusOK)
		}
	})
	anonymous := func(o *Options) { o.Username, o.Password = "", "" }
	wrong := func(o *Options) { o.Username, o.Password = "ops", "wrong" }
	for name, test := range map[string]struct {
		upstream http.Handler
		charts   bool
		login    func(*Options)
		want     error // nil: no error; errAny: any error
	}{
		"registry":                     {guarded, false, withLogin, nil},
		"registry, wrong login":        {guarded, false, wrong, ErrLogin},
		"registry, no login":           {guarded, false, anonymous, ErrNoLogin},
		"open registry":                {answering(200, "application/json", "{}"), false, anonymous, nil},
		"no registry":                  {answering(404, "text/html", "<html>"), false, anonymous, errAny},
		"gateway":                      {answering(502, "text/html", "<html>"), false, withLogin, errAny},
		"TLS of Go":                    {answering(400, "text/plain", "Client sent an HTTP request to an HTTPS server.\n"), false, withLogin, ErrSpeaksTLS},
		"TLS of nginx":                 {answering(400, "text/html", "<center>The plain HTTP request was sent to HTTPS port</center>"), true, anonymous, ErrSpeaksTLS},
		"TLS of Apache":                {answering(400, "text/html", "You're speaking plain HTTP to an SSL-enabled server port."), true, anonymous, ErrSpeaksTLS},
		"ChartMuseum":                  {charts("/index.yaml", true), true, withLogin, nil},
		"ChartMuseum, wrong login":     {charts("/index.yaml", true), true, wrong, ErrLogin},
		"ChartMuseum, no login":        {charts("/index.yaml", true), true, anonymous, ErrNoLogin},
		"ChartMuseum, open":            {charts("/index.yaml", false), true, anonymous, nil},
		"deep ChartMuseum, no login":   {charts("/bellbuoy/bellbuoy/index.yaml", true), true, anonymous, ErrNoLogin},
		"deep ChartMuseum":             {charts("/bellbuoy/bellbuoy/index.yaml", true), true, withLogin, nil},
		"static repository, elsewhere": {charts("/nowhere", false), true, anonymous, nil},
	} {
		t.Run(name, func(t *testing.T) {
			n := newNetwork(t)
			n.hosts["registry.test:5000"] = test.upstream
			err := n.client(test.login).Reach(t.Context(), test.charts)
			if test.want == errAny && err == nil || test.want != errAny && !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	if err := newNetwork(t).client(withLogin).Reach(t.Context(), true); err == nil {
		t.Error("Reach of an address where nothing listens: got no error")
	}
}

var errAny = errors.New("any")
