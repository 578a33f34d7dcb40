package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// operator implements V1Projects and V1Operations.
type operator struct {
	scanned []string // repositories
	err     error
}

func (o *operator) Quotas(_ context.Context, project string) (all []V1Quota, err error) {
	for _, p := range []string{"team", "ops"} {
		if project == "" || project == p {
			all = append(all, V1Quota{Project: p, Limit: 10})
		}
	}
	return all, o.err
}

func (o *operator) Scans(_ context.Context, _, repository string) (all []V1ScanJob, err error) {
	for _, r := range []string{"team/app", "ops/app", "app"} {
		if repository == "" || repository == r {
			all = append(all, V1ScanJob{Repository: r})
		}
	}
	return all, o.err
}

func (o *operator) Scan(_ context.Context, _ access.Principal, in V1Scan, line func(V1ScanLine) error) error {
	if o.err != nil {
		return o.err
	}
	o.scanned = append(o.scanned, in.Repository)
	return errors.Join(line(V1ScanLine{Digest: "sha256:1"}), line(V1ScanLine{Done: true}))
}

func (o *operator) Status(context.Context) (V1Status, error) {
	return V1Status{Version: "1", Attention: []string{}}, o.err
}

func (o *operator) Reload(context.Context, access.Principal) (V1Reloaded, error) {
	return V1Reloaded{Taken: true}, o.err
}

func (o *operator) Backup(_ context.Context, _ access.Principal, send func(io.Reader, int64) error) error {
	if o.err != nil {
		return o.err
	}
	return send(strings.NewReader("copy"), 4)
}

func (o *operator) Waiting(context.Context) ([]V1Waiting, error) {
	return []V1Waiting{{Webhook: "ci", State: "off"}}, o.err
}

func (o *operator) ConsoleURL(context.Context, access.Principal) (string, error) {
	return "http://localhost/once", o.err
}

func (o *operator) Index(_ context.Context, in V1Index, line func(V1IndexLine) error) error {
	if o.err != nil {
		return o.err
	}
	return line(V1IndexLine{Done: true, Tags: len(in.Repositories)})
}

func (o *operator) ExplainRequest(_ context.Context, q V1Question) (V1Meaning, error) {
	return V1Meaning{Upstream: q.Method + q.URL}, o.err
}

func operating() (*operator, http.Handler) {
	o := &operator{}
	r := &recorder{found: manage.EventPage{Next: "n"}}
	v := newV1()
	v.Events, v.Deliveries, v.Scanners, v.Projects, v.Operations = r, r, r, o, o
	return o, v.Handler()
}

func TestProjectsInScope(t *testing.T) {
	o, h := operating()
	for _, tc := range []struct {
		who                access.Principal
		method, path, body string
		status             int
		has, lacks         string
	}{
		{administrator, "GET", "/quotas", "", 200, `"project":"ops"`, "none"},
		{limited, "GET", "/quotas", "", 200, `"project":"team"`, "ops"},
		{limited, "GET", "/quotas?project=ops", "", 404, "no quota", `"items"`},
		{administrator, "GET", "/scans", "", 200, `"repository":"app"`, "none"},
		{limited, "GET", "/scans", "", 200, "team/app", "ops"},
		{limited, "GET", "/scans?repository=ops/app", "", 200, `{"items":[]}`, "ops"},
		{limited, "POST", "/scans", `{"repository":"team/app","reference":"v1"}`, 200, "{\"digest\":\"sha256:1\"}\n{\"done\":true}\n", "error"},
		{limited, "POST", "/scans", `{"repository":"ops/app","reference":"v1"}`, 404, "no repository", "digest"},
		{limited, "POST", "/scans", `{"repository":"app","reference":"v1"}`, 404, "no repository", "digest"},
		{limited, "GET", "/replications?project=team", "", 200, `"next":"n"`, "error"},
	} {
		w := askV1(h, tc.who, tc.method, tc.path, tc.body)
		if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.has) || strings.Contains(w.Body.String(), tc.lacks) {
			t.Errorf("%s %s %s by %s: %d %s", tc.method, tc.path, tc.body, tc.who.Name, w.Code, w.Body)
		}
	}
	if fmt.Sprint(o.scanned) != "[team/app]" {
		t.Errorf("scanned %v", o.scanned)
	}
}

func TestOperations(t *testing.T) {
	o, h := operating()
	for _, tc := range []struct{ method, path, body, want string }{
		{"GET", "/status", "", `"version":"1"`},
		{"GET", "/waiting", "", `"webhook":"ci"`},
		{"POST", "/console", "", `"url":"http://localhost/once"`},
		{"POST", "/reload", "", `"taken":true`},
		{"POST", "/backup", "", "copy"},
		{"POST", "/index", `{"repositories":["a","b"]}`, `"tags":2`},
		{"GET", "/explain?method=PUT&url=/v2/", "", `"upstream":"PUT/v2/"`},
	} {
		o.err = nil
		if w := askV1(h, administrator, tc.method, tc.path, tc.body); w.Code != 200 || !strings.Contains(w.Body.String(), tc.want) {
			t.Errorf("%s %s: %d %s", tc.method, tc.path, w.Code, w.Body)
		}
		o.err = manage.Problems{{Message: "not here"}}
		if w := askV1(h, administrator, tc.method, tc.path, tc.body); w.Code != 422 || !strings.Contains(w.Body.String(), "not here") {
			t.Errorf("%s %s with a problem: %d %s", tc.method, tc.path, w.Code, w.Body)
		}
	}
}

// TestAdministratorsOnly: a limited account gets 403 before anything else happens.
func TestAdministratorsOnly(t *testing.T) {
	v := newV1() // without the interfaces that the handlers call
	only := 0
	for _, e := range v.Endpoints() {
		if !e.Administrators {
			continue
		}
		only++
		path := strings.TrimPrefix(strings.ReplaceAll(e.Path, "{number}", "1"), V1Path)
		body := ""
		switch e.Method + path {
		case "POST/index":
			body = "{}"
		case "GET/explain":
			path += "?method=GET&url=/"
		}
		if w := askV1(v.Handler(), limited, e.Method, path, body); w.Code != http.StatusForbidden {
			t.Errorf("%s %s: %d %s", e.Method, path, w.Code, w.Body)
		}
	}
	if only < 5 {
		t.Errorf("%d endpoints are for administrators only", only)
	}
}
