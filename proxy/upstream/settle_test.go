package upstream

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestStands(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	d, other := r.put("team/app", "v1", index), digest.FromString("other").String()
	sha512, other512 := digest.SHA512.FromString(index).String(), digest.SHA512.FromString("other").String()
	for _, bare := range []bool{false, true} {
		r.bare = bare
		for _, test := range []struct {
			reference, digest string
			want              Standing
		}{
			{"v1", d, Same}, {"v1", other, Other}, {"v1", "", Other}, {"v1", sha512, Same}, {"v1", other512, Other},
			{"v2", d, Absent}, {d, d, Same}, {other, other, Absent},
		} {
			got, m, err := n.client().Stands(t.Context(), "team/app", test.reference, test.digest)
			if got != test.want || err != nil || got != Absent && m.Digest != d {
				t.Errorf("bare %v: %s on %s: %v, %+v, %v", bare, test.reference, test.digest, got, m, err)
			}
		}
		for _, ask := range []string{d, other} {
			if got, err := n.client().Present(t.Context(), "team/app", ask); err != nil || got != (ask == d) {
				t.Errorf("Present %s: %v, %v", ask, got, err)
			}
		}
	}
}

// gateway answers 404 for manifests, and has another answer for /v2/.
func gateway(missing, root http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.URL.Path == "/v2/" {
			root.ServeHTTP(w, req)
			return
		}
		missing.ServeHTTP(w, req)
	})
}

func TestNotFoundOfGateways(t *testing.T) {
	ok := answering(200, "application/json", "{}")
	challenge := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", `Digest realm="x"`)
		w.WriteHeader(401)
	})
	plain := answering(404, "text/plain", "404 page not found\n")
	for name, test := range map[string]struct {
		upstream http.Handler
		want     Standing
	}{
		"registry":             {answering(404, "application/json", `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`), Absent},
		"plain, registry up":   {gateway(plain, ok), Absent},
		"empty, registry up":   {gateway(answering(404, "", ""), challenge), Absent},
		"plain, registry gone": {plain, Unknown},
		"plain, root is html":  {gateway(plain, answering(200, "text/html", "<html>")), Unknown},
		"plain, root fails":    {gateway(plain, answering(503, "", "")), Unknown},
		"html, registry up":    {gateway(answering(404, "text/html", "<html>"), ok), Unknown},
		"denied":               {gateway(answering(404, "application/json", `{"errors":[{"code":"DENIED"}]}`), ok), Unknown},
		"401":                  {answering(401, "", ""), Unknown},
		"403":                  {answering(403, "", ""), Unknown},
		"500":                  {answering(500, "", ""), Unknown},
		"302":                  {answering(302, "", ""), Unknown},
		"no digest":            {answering(405, "", ""), Unknown},
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = test.upstream
		got, _, err := n.client().Stands(t.Context(), "team/app", "v1", "")
		if got != test.want || (err != nil) != (got == Unknown) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	n := newNetwork(t)
	if got, _, err := n.client().Stands(t.Context(), "team/app", "v1", ""); got != Unknown || err == nil {
		t.Errorf("no upstream: %v, %v", got, err)
	}
}

// The registry works again between two requests. The 404 that the gateway sent before must not
// count.
func TestGatewayThatRecovers(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	d := r.put("team/app", "v1", index)
	asked := 0
	n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if asked++; asked <= 2 {
			http.NotFound(w, req)
			return
		}
		r.ServeHTTP(w, req)
	})
	if got, _, err := n.client().Stands(t.Context(), "team/app", "v1", d); got != Same || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestStandsWithoutHead(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	d := r.put("team/app", "v1", index)
	r.before = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Method == http.MethodHead {
			w.WriteHeader(http.StatusMethodNotAllowed)
		}
		return req.Method == http.MethodHead
	}
	if got, _, err := n.client().Stands(t.Context(), "team/app", "v1", d); got != Same || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

// museum is a small ChartMuseum 0.13: it has no HEAD of files, sends files chunked, and its index
// may be out of date.
type museum struct {
	prefix  string            // of all paths, with the tenant
	index   map[string]string // name/version: digest
	files   map[string]string // file: content
	answers func(http.ResponseWriter, *http.Request) bool
}

func (m *museum) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if m.answers != nil && m.answers(w, req) {
		return
	}
	path := req.URL.Path
	if nameVersion, ok := strings.CutPrefix(path, "/api"+m.prefix+"/charts/"); ok {
		name, version, _ := strings.Cut(nameVersion, "/")
		d, found := m.index[nameVersion]
		if version == "^1" {
			version, d, found = "1.0.0", m.index[name+"/1.0.0"], true
		}
		if found {
			fmt.Fprintf(w, `{"name":%q,"version":%q,"digest":%q,"urls":["charts/x.tgz"]}`, name, version, strings.TrimPrefix(d, "sha256:"))
			return
		}
		m.error(w, "no chart version found for "+nameVersion)
		return
	}
	file, ok := strings.CutPrefix(path, m.prefix+"/charts/")
	content, found := m.files[file]
	switch {
	case !ok || req.Method == http.MethodHead:
		m.error(w, "not found")
	case !found:
		m.error(w, "object not found")
	default:
		fmt.Fprint(w, content)
	}
}

func (m *museum) error(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(404)
	fmt.Fprintf(w, `{"error":%q}`, text)
}

func TestChartStands(t *testing.T) {
	old, now := digest.FromString("old").String(), digest.FromString("now").String()
	for name, test := range map[string]struct {
		indexed, file, ask string
		want               Standing
	}{
		"same":                  {now, "now", now, Same},
		"other":                 {old, "old", now, Other},
		"any":                   {old, "old", "", Other},
		"absent":                {"", "", now, Absent},
		"absent, any":           {"", "", "", Absent},
		"new, old index":        {"", "now", now, Same},
		"changed, old index":    {old, "now", now, Same},
		"deleted, old index":    {now, "", now, Unknown},
		"other, not in index":   {"", "old", now, Other},
		"replaced, wrong index": {now, "old", now, Other},
	} {
		n := newNetwork(t)
		m := &museum{prefix: "/ctx/team", index: map[string]string{}, files: map[string]string{}}
		if test.indexed != "" {
			m.index["app/1.0.0+b"] = test.indexed
		}
		if test.file != "" {
			m.files["app-1.0.0+b.tgz"] = test.file
		}
		n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			req.URL.Path = strings.TrimPrefix(req.URL.Path, "/ctx")
			m.prefix = "/team"
			m.ServeHTTP(w, req)
		})
		c := n.client(func(o *Options) { o.PathPrefix = "/ctx" })
		got, err := c.ChartStands(t.Context(), "team", "app", "1.0.0+b", test.ask)
		if got != test.want || (err != nil) != (got == Unknown) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
}

func TestChartStandsWithoutAnAnswer(t *testing.T) {
	for name, upstream := range map[string]http.Handler{
		"html":     answering(404, "text/html", "<html>"),
		"no route": answering(404, "application/json", `{"error":"not found"}`),
		"kong":     answering(404, "application/json", `{"message":"no Route matched"}`),
		"401":      answering(401, "application/json", `{"error":"unauthorized"}`),
		"500":      answering(500, "application/json", `{"error":"x"}`),
		"no chart": answering(200, "application/json", `{}`),
		"no json":  answering(200, "text/html", `<html>`),
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = upstream
		if got, err := n.client().ChartStands(t.Context(), "", "app", "1.0.0", ""); got != Unknown || err == nil {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
	}
	n := newNetwork(t)
	if _, err := n.client().ChartStands(t.Context(), "", "../app", "1.0.0", ""); err == nil {
		t.Error("a path was accepted as a name")
	}
	if _, err := n.client().ChartStands(t.Context(), "a/..", "app", "1.0.0", ""); !errors.Is(err, ErrName) {
		t.Errorf("a path was accepted as a tenant: %v", err)
	}
}

// Gitea has charts beside index.yaml, and only the uploads of ChartMuseum's API.
func TestChartsWithoutAnAPI(t *testing.T) {
	const archive = "\x1f\x8b..."
	here := digest.FromString(archive).String()
	for name, test := range map[string]struct {
		file, ask string
		want      Standing
	}{
		"same":       {archive, here, Same},
		"other":      {archive, digest.FromString("other").String(), Other},
		"any":        {archive, "", Other},
		"none":       {"", here, Unknown},
		"no archive": {"<html>", digest.FromString("<html>").String(), Unknown},
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			switch {
			case req.URL.Path == "/team/app-1.0.0.tgz" && test.file != "":
				fmt.Fprint(w, test.file)
			case req.URL.Path == "/team/app-1.0.0.tgz":
				w.WriteHeader(404)
				fmt.Fprint(w, `{"error":"package does not exist"}`)
			default:
				http.NotFound(w, req)
			}
		})
		if got, err := n.client().ChartStands(t.Context(), "team", "app", "1.0.0", test.ask); got != test.want || (err != nil) != (got == Unknown) {
			t.Errorf("%s: got %v, %v", name, got, err)
		}
		got, err := n.client().Chart(t.Context(), "team", "app", "1.0.0", Own)
		if test.want == Unknown && (err == nil || errors.Is(err, ErrNotFound)) {
			t.Errorf("%s: Chart = %+v, %v", name, got, err)
		}
		if test.want != Unknown && (err != nil || got.Digest != here || got.Size != int64(len(archive))) {
			t.Errorf("%s: Chart = %+v, %v", name, got, err)
		}
	}
}

func TestChart(t *testing.T) {
	d := digest.FromString("content").String()
	n := newNetwork(t)
	m := &museum{index: map[string]string{"app/1.0.0": d}, files: map[string]string{"app-1.0.0.tgz": "content"}}
	n.hosts["registry.test:5000"] = m
	c := n.client()
	for range 2 {
		got, err := c.Chart(t.Context(), "", "app", "1.0.0", Anonymous)
		want := Chart{Name: "app", Version: "1.0.0", File: "app-1.0.0.tgz", Digest: d, Size: 7, Exists: true}
		if err != nil || got != want {
			t.Errorf("Chart = %+v, %v", got, err)
		}
	}
	heads := 0
	for _, request := range n.requests() {
		heads += strings.Count(request, "HEAD ")
	}
	if heads != 1 {
		t.Errorf("got %d HEADs: the client must remember that HEAD is not supported", heads)
	}
	if _, err := c.Chart(t.Context(), "", "app", "^1", Anonymous); !errors.Is(err, ErrNotFound) {
		t.Errorf("a constraint found %v", err)
	}
	if got, err := c.Chart(t.Context(), "", "app", "2.0.0", Anonymous); !errors.Is(err, ErrNotFound) || got.Exists {
		t.Errorf("got %+v, %v", got, err)
	}
	delete(m.files, "app-1.0.0.tgz")
	if got, err := c.Chart(t.Context(), "", "app", "1.0.0", Anonymous); err != nil || got.Digest != d || got.Size != 0 {
		t.Errorf("without its file: %+v, %v", got, err)
	}
}

func TestChartSizeByHead(t *testing.T) {
	n := newNetwork(t)
	m := &museum{index: map[string]string{"app/1.0.0": digest.FromString("x").String()}}
	m.answers = func(w http.ResponseWriter, req *http.Request) bool {
		if !strings.HasSuffix(req.URL.Path, ".tgz") {
			return false
		}
		if req.Method != http.MethodHead {
			t.Error("the file was read")
		}
		w.Header().Set("Content-Length", "12345")
		return true
	}
	n.hosts["registry.test:5000"] = m
	if got, err := n.client().Chart(t.Context(), "", "app", "1.0.0", Anonymous); err != nil || got.Size != 12345 {
		t.Errorf("got %+v, %v", got, err)
	}
}
