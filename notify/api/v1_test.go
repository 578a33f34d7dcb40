package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
)

//go:generate go test -run TestOpenAPI -update .
var update = flag.Bool("update", false, "write docs/openapi.yaml")

var (
	administrator = access.Principal{Name: "ops", Administrator: true}
	limited       = access.Principal{Name: "team-ci", Projects: []string{"team"}}
)

func newV1() *V1 { return &V1{Version: "1.2.3", Log: zap.NewNop()} }

func askV1(h http.Handler, who access.Principal, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, V1Path+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, access.WithPrincipal(r, who))
	return w
}

func TestOpenAPIInTheRepository(t *testing.T) {
	const file = "../../docs/openapi.yaml"
	want, err := newV1().OpenAPI()
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not what the code describes; run: go generate ./notify/api", file)
	}
	served := askV1(newV1().Handler(), limited, "GET", "/openapi.yaml", "")
	if served.Code != http.StatusOK || !bytes.Equal(served.Body.Bytes(), want) {
		t.Errorf("GET openapi.yaml: %d, %d bytes; want the file", served.Code, served.Body.Len())
	}
	var description struct {
		OpenAPI string         `json:"openapi"`
		Paths   map[string]any `json:"paths"`
	}
	served = askV1(newV1().Handler(), limited, "GET", "/openapi.json", "")
	if err := json.Unmarshal(served.Body.Bytes(), &description); err != nil || description.OpenAPI != "3.1.0" || description.Paths["/version"] == nil {
		t.Errorf("GET openapi.json: %v: %.200s", err, served.Body)
	}
}

func TestErrorsAreProblems(t *testing.T) {
	h := newV1().Handler()
	for _, tc := range []struct {
		name         string
		who          access.Principal
		method, path string
		body         string
		status       int
		says         string
	}{
		{"nobody", access.Principal{}, "GET", "/version", "", 401, "login"},
		{"no account at an unknown path", access.Principal{}, "GET", "/none", "", 401, "login"},
		{"an unknown path", administrator, "GET", "/none", "", 404, "no such endpoint"},
		{"another method", administrator, "DELETE", "/version", "", 405, "GET, HEAD"},
		{"an unknown parameter", administrator, "GET", "/version?colour=mauve", "", 422, "validation failed"},
		{"a large body", administrator, "GET", "/version", strings.Repeat("a", mostBody+1), 413, "256 KiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := askV1(h, tc.who, tc.method, tc.path, tc.body)
			var problem struct {
				Title  string `json:"title"`
				Status int    `json:"status"`
				Detail string `json:"detail"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &problem); err != nil {
				t.Fatalf("%v: %s", err, w.Body)
			}
			if w.Code != tc.status || problem.Status != tc.status || problem.Title == "" || !strings.Contains(problem.Detail, tc.says) {
				t.Errorf("got %d %s, want %d %q", w.Code, w.Body, tc.status, tc.says)
			}
			if got := w.Header().Get("Content-Type"); got != "application/problem+json" {
				t.Errorf("Content-Type is %q", got)
			}
			if strings.Contains(w.Body.String(), "mauve") {
				t.Errorf("the error repeats a value of the request: %s", w.Body)
			}
		})
	}
	if got := askV1(h, administrator, "DELETE", "/version", "").Header().Get("Allow"); got != "GET, HEAD" {
		t.Errorf("Allow: %q", got)
	}
}

func TestVersionNamesTheAccount(t *testing.T) {
	w := askV1(newV1().Handler(), limited, "GET", "/version", "")
	if got, want := strings.TrimSpace(w.Body.String()), `{"version":"1.2.3","account":"team-ci","limited":true}`; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
