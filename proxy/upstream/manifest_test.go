package upstream

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`

func gzipped(t *testing.T, body string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, body); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestManifestAsksForEveryKind(t *testing.T) {
	n := newNetwork(t)
	n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		for _, kind := range []string{"oci.image.index.v1+json", "oci.image.manifest.v1+json", "docker.distribution.manifest.v2+json", "docker.distribution.manifest.list.v2+json"} {
			if !strings.Contains(req.Header.Get("Accept"), kind) {
				t.Errorf("Accept lacks %s", kind)
			}
		}
		if got := req.Header.Get("Accept-Encoding"); got != "identity" {
			t.Errorf("Accept-Encoding %q", got)
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json; charset=utf-8")
		fmt.Fprint(w, index)
	})
	m, err := n.client().Manifest(t.Context(), "team/app", "v1", Anonymous)
	if err != nil || m.Digest != digest.FromString(index).String() || m.Size != int64(len(index)) ||
		m.MediaType != "application/vnd.oci.image.index.v1+json" || string(m.Body) != index || m.Mismatch {
		t.Errorf("Manifest = %+v, %v", m, err)
	}
}

func TestGzippedManifest(t *testing.T) {
	n, packed := newNetwork(t), gzipped(t, index)
	n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", fmt.Sprint(len(packed)))
		w.Write(packed)
	})
	m, err := n.client().Manifest(t.Context(), "team/app", "v1", Anonymous)
	if err != nil || m.Digest != digest.FromString(index).String() || string(m.Body) != index {
		t.Errorf("Manifest = %+v, %v", m, err)
	}
	if m, err = n.client().Head(t.Context(), "team/app", "v1", Anonymous); err != nil || m.Size != 0 {
		t.Errorf("Head = %+v, %v: the packed length is not the manifest's", m, err)
	}
}

func TestManifestsThatCannotBeRead(t *testing.T) {
	named := digest.FromString("x").String()
	bomb := gzipped(t, strings.Repeat(" ", maxManifest+1))
	for name, test := range map[string]struct {
		encoding string
		body     []byte
		want     error
	}{
		"oversize":      {"", bytes.Repeat([]byte(" "), maxManifest+1), ErrTooLarge},
		"bomb":          {"gzip", bomb, ErrTooLarge},
		"cut gzip":      {"gzip", bomb[:len(bomb)/2], io.ErrUnexpectedEOF},
		"no gzip":       {"gzip", []byte("{}"), io.ErrUnexpectedEOF},
		"other packing": {"zstd", []byte("x"), errEncoding},
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", named)
			w.Header().Set("Content-Encoding", test.encoding)
			w.Write(test.body)
		})
		m, err := n.client().Manifest(t.Context(), "team/app", "v1", Anonymous)
		if !errors.Is(err, test.want) {
			t.Errorf("%s: got %v", name, err)
		}
		if m.Digest != named || m.Body != nil {
			t.Errorf("%s: got %+v", name, m)
		}
	}
	n := newNetwork(t)
	n.hosts["registry.test:5000"] = answering(200, "", strings.Repeat(" ", maxManifest))
	if _, err := n.client().Manifest(t.Context(), "team/app", "v1", Anonymous); err != nil {
		t.Errorf("4 MiB exactly: %v", err)
	}
}

func TestDigestOf(t *testing.T) {
	sha512 := digest.SHA512.FromString(index).String()
	for name, test := range map[string]struct {
		header, reference, mediaType, want string
		mismatch                           bool
	}{
		"header":           {digest.FromString(index).String(), "v1", "", digest.FromString(index).String(), false},
		"sha512":           {sha512, "v1", "", sha512, false},
		"lie":              {digest.FromString("lie").String(), "v1", "", digest.FromString("lie").String(), true},
		"nonsense":         {"sha256:short", "v1", "", digest.FromString(index).String(), false},
		"unknown":          {"md5:d41d8cd98f00b204e9800998ecf8427e", "v1", "", digest.FromString(index).String(), false},
		"by digest":        {"", sha512, "", sha512, false},
		"schema 1":         {digest.FromString("payload").String(), "v1", "application/vnd.docker.distribution.manifest.v1+prettyjws", digest.FromString("payload").String(), false},
		"unnamed schema 1": {"", "v1", "application/vnd.docker.distribution.manifest.v1+prettyjws", "", false},
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Content-Digest", test.header)
			w.Header().Set("Content-Type", test.mediaType)
			fmt.Fprint(w, index)
		})
		m, err := n.client().Manifest(t.Context(), "team/app", test.reference, Anonymous)
		if err != nil || m.Digest != test.want || m.Mismatch != test.mismatch {
			t.Errorf("%s: got %+v, %v", name, m, err)
		}
	}
}

func TestNamesThatChangeThePathAreRefused(t *testing.T) {
	n := newNetwork(t)
	c := n.client()
	for _, name := range [][2]string{
		{"", "v1"}, {"a/../b", "v1"}, {"a//b", "v1"}, {"/a", "v1"}, {"a/", "v1"}, {"a", ""}, {"a", "x/y"}, {"a", "-x"}, {"a", ".x"}, {"a", ".."}, {"a", "ä"},
		{"a b", "v1"}, {"a\n", "v1"}, {"a", "sha256:xyz"}, {"a", strings.Repeat("x", 129)}, {strings.Repeat("a", 1025), "v1"},
	} {
		if _, err := c.Head(t.Context(), name[0], name[1], Anonymous); !errors.Is(err, ErrName) {
			t.Errorf("%q: got %v", name, err)
		}
	}
	if got := n.requests(); len(got) != 0 {
		t.Errorf("the client requested %q", got)
	}
}

func TestPathsArePrefixedAndEscaped(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = http.StripPrefix("/reg", r)
	d := r.put("manifests/a?b", "v1", "{}")
	c := n.client(func(o *Options) { o.PathPrefix = "/reg/" })
	if _, err := c.Head(t.Context(), "manifests/a?b", d, Anonymous); err != nil {
		t.Fatal(err)
	}
	if got := n.requests()[0]; got != "HEAD registry.test:5000/reg/v2/manifests/a%3Fb/manifests/"+d {
		t.Errorf("the client requested %s", got)
	}
}

func TestHostNamed(t *testing.T) {
	n := newNetwork(t)
	n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		if req.Host != "registry.example.com" {
			t.Errorf("got the Host %q", req.Host)
		}
		if strings.HasSuffix(req.URL.Path, "/old") {
			w.Header().Set("Location", "http://registry.example.com/v2/a/manifests/new")
			w.WriteHeader(http.StatusPermanentRedirect)
			return
		}
		fmt.Fprint(w, "{}")
	})
	c := n.client(func(o *Options) { o.Host = "registry.example.com" })
	if _, err := c.Manifest(t.Context(), "a", "old", Anonymous); err != nil {
		t.Error(err)
	}
}

func TestErrorsOfStatuses(t *testing.T) {
	for name, test := range map[string]struct {
		status            int
		contentType, body string
		want              error
		code              string
	}{
		"manifest":   {404, "application/json", `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, ErrNotFound, "MANIFEST_UNKNOWN"},
		"repository": {404, "application/json", `{"errors":[{"code":"NAME_UNKNOWN","detail":{"name":"x"}}]}`, ErrNotFound, "NAME_UNKNOWN"},
		"harbor":     {404, "application/json", `{"errors":[{"code":"NOT_FOUND","message":"artifact x not found"}]}`, ErrNotFound, "NOT_FOUND"},
		"html":       {404, "text/html", `<html>not found</html>`, nil, ""},
		"liar":       {404, "text/html", `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, nil, "MANIFEST_UNKNOWN"},
		"traefik":    {404, "text/plain", "404 page not found\n", nil, ""},
		"kong":       {404, "application/json", `{"message":"no Route matched with those values"}`, nil, ""},
		"empty":      {404, "", "", nil, ""},
		"hidden":     {404, "application/json", `{"errors":[{"code":"DENIED"}]}`, ErrForbidden, "DENIED"},
		"no feature": {404, "application/json", `{"errors":[{"code":"UNSUPPORTED"}]}`, nil, "UNSUPPORTED"},
		"forbidden":  {403, "application/json", `{"errors":[{"code":"DENIED"}]}`, ErrForbidden, "DENIED"},
		"logged out": {401, "application/json", `{"errors":[{"code":"UNAUTHORIZED"}]}`, ErrUnauthorized, "UNAUTHORIZED"},
		"gateway":    {502, "text/html", `<html>`, nil, ""},
		"gone":       {410, "application/json", `{"errors":[{"code":"MANIFEST_UNKNOWN"}]}`, nil, "MANIFEST_UNKNOWN"},
		"odd code":   {500, "application/json", `{"errors":[{"code":"<script> s3cret"}]}`, nil, ""},
		"redirect":   {302, "", "", nil, ""},
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = answering(test.status, test.contentType, test.body)
		_, err := n.client().Manifest(t.Context(), "team/app", "v1", Anonymous)
		for _, sentinel := range []error{ErrNotFound, ErrUnauthorized, ErrForbidden} {
			if errors.Is(err, sentinel) != (sentinel == test.want) {
				t.Errorf("%s: %v, is %v: %v", name, err, sentinel, sentinel != test.want)
			}
		}
		var status *StatusError
		if !errors.As(err, &status) || status.Status != test.status || status.Code != test.code {
			t.Errorf("%s: got %+v", name, status)
		}
		noSecret(t, err)
	}
}

func TestHeadsNotFound(t *testing.T) {
	for name, test := range map[string]struct {
		header, contentType string
		want                bool
	}{
		"registry":       {"registry/2.0", "application/json", true},
		"registry plain": {"registry/2.0", "", true},
		"json":           {"", "application/json", false},
		"nothing":        {"", "", false},
		"nginx recipe":   {"registry/2.0", "text/html", false},
	} {
		n := newNetwork(t)
		n.hosts["registry.test:5000"] = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Docker-Distribution-Api-Version", test.header)
			w.Header().Set("Content-Type", test.contentType)
			w.WriteHeader(404)
		})
		_, err := n.client().Head(t.Context(), "team/app", "v1", Anonymous)
		if errors.Is(err, ErrNotFound) != test.want {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for value, want := range map[string]time.Duration{
			"7": 7 * time.Second, " 7 ": 7 * time.Second, "-1": 0, "": 0, "soon": 0, "999999999999": time.Hour, "86400": time.Hour,
			time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat): 90 * time.Second,
			time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat):     0,
		} {
			if got := retryAfter(value); got != want {
				t.Errorf("%q: got %v, want %v", value, got, want)
			}
		}
	})
}

func TestNetworkErrors(t *testing.T) {
	n := newNetwork(t)
	_, err := n.client(withLogin).Head(t.Context(), "team/app", "v1", Own)
	if err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("got the error %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = n.client().Head(ctx, "team/app", "v1", Own); !errors.Is(err, context.Canceled) {
		t.Errorf("got the error %v", err)
	}
}

// stalled is an upstream that sends a header and no body.
type stalled struct{}

func (stalled) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: 200, Header: http.Header{}, Body: stalledBody{req.Context()}}, nil
}

type stalledBody struct{ ctx context.Context }

func (b stalledBody) Read([]byte) (int, error) {
	<-b.ctx.Done()
	return 0, b.ctx.Err()
}

func (stalledBody) Close() error { return nil }

func TestStalledAnswerEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork(t)
		c := n.client(func(o *Options) { o.Transport = stalled{} })
		began := time.Now()
		_, err := c.Manifest(t.Context(), "team/app", "v1", Anonymous)
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != defaultTimeout {
			t.Errorf("%v after %v", err, time.Since(began))
		}
	})
}
