package upstream

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"
)

func TestBeforeDeleteByDigest(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	d := r.put("team/app", "v1", index)
	r.put("team/app", "latest", index)
	r.put("team/app", "moved", "{}")
	known := []string{"latest", "gone", "moved", "v1"}
	got, err := n.client().BeforeDelete(t.Context(), "team/app", d, known, false, Anonymous)
	if err != nil || got.Digest != d || got.Size != int64(len(index)) || got.Body != nil || !got.TagsComplete ||
		!slices.Equal(got.Tags, []string{"latest", "v1"}) || !slices.Equal(got.Moved, []string{"gone", "moved"}) || got.Unchecked != nil {
		t.Errorf("got %+v, %v", got, err)
	}
	for _, request := range n.requests() {
		if !strings.HasPrefix(request, "HEAD ") {
			t.Errorf("the client requested %s", request)
		}
	}
	got, err = n.client().BeforeDelete(t.Context(), "team/app", d, nil, true, Anonymous)
	if err != nil || string(got.Body) != index || !got.TagsComplete {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBeforeDeleteByTag(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	d := r.put("team/app", "v1", index)
	for _, bare := range []bool{false, true} {
		r.bare = bare
		got, err := n.client().BeforeDelete(t.Context(), "team/app", "v1", []string{"v1", "v2"}, false, Anonymous)
		if err != nil || got.Digest != d || got.Tags != nil || got.TagsComplete {
			t.Errorf("bare %v: %+v, %v", bare, got, err)
		}
	}
	r.bare = false
	if _, err := n.client().BeforeDelete(t.Context(), "team/app", "v9", nil, false, Anonymous); !errors.Is(err, ErrNotFound) {
		t.Errorf("got the error %v", err)
	}
}

func TestCredentialsOfLookupsBeforeADelete(t *testing.T) {
	own := basicOf("bell", "s3cret")
	for name, test := range map[string]struct {
		status    int
		challenge string
		login     bool
		ours      bool // the look-up has bellbuoy's own credentials
	}{
		"403":                          {403, "", true, true},
		"401, scope too narrow":        {401, `Bearer realm="http://registry.test:5000/token",error="insufficient_scope"`, true, true},
		"403, no login of ours":        {403, "", false, false},
		"401":                          {401, `Bearer realm="http://registry.test:5000/token"`, true, false},
		"401, token not valid":         {401, `Bearer realm="http://registry.test:5000/token",error="invalid_token"`, true, false},
		"404":                          {404, "", true, false},
		"500":                          {500, "", true, false},
		"429":                          {429, "", true, false},
		"401, narrow, no login of our": {401, `Bearer realm="/token",error="insufficient_scope"`, false, false},
	} {
		n, r := newNetwork(t), newRegistry()
		n.hosts["registry.test:5000"] = r
		d := r.put("team/app", "v1", index)
		var ours atomic.Bool // look-ups are concurrent
		r.before = func(w http.ResponseWriter, req *http.Request) bool {
			switch req.Header.Get("Authorization") {
			case own:
				ours.Store(true)
				return false
			case "Bearer clientpw":
				if test.challenge != "" {
					w.Header().Set("WWW-Authenticate", test.challenge)
				}
				w.WriteHeader(test.status)
			default:
				ours.Store(true)
				w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
				w.WriteHeader(401)
			}
			return true
		}
		c := n.client()
		if test.login {
			c = n.client(withLogin)
		}
		got, err := c.BeforeDelete(t.Context(), "team/app", d, []string{"v1"}, true, As{Authorization: "Bearer clientpw"})
		if ours.Load() != test.ours || (err == nil) != test.ours {
			t.Errorf("%s: looked up with bellbuoy's credentials: %v, %v", name, ours.Load(), err)
		}
		if test.ours && (!got.TagsComplete || string(got.Body) != index || len(got.Tags) != 1) {
			t.Errorf("%s: got %+v", name, got)
		}
		noSecret(t, err)
	}
}

func TestTagsAreCheckedConcurrentlyAsTimeAllows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n, r := newNetwork(t), newRegistry()
		n.hosts["registry.test:5000"] = r
		d := r.put("team/app", "", index)
		var known []string
		for i := range 100 {
			known = append(known, fmt.Sprintf("v%d", i))
			r.put("team/app", known[i], index)
		}
		var open, most atomic.Int32
		r.before = func(_ http.ResponseWriter, req *http.Request) bool {
			highest(&most, open.Add(1))
			defer open.Add(-1)
			select {
			case <-time.After(150 * time.Millisecond):
			case <-req.Context().Done():
			}
			return false
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		began := time.Now()
		got, err := n.client().BeforeDelete(ctx, "team/app", d, known, false, Anonymous)
		if err != nil || time.Since(began) > 2*time.Second {
			t.Fatalf("%v after %v", err, time.Since(began))
		}
		// 2 s are enough for 13 rounds of 150 ms, the first for the digest itself.
		if checked := len(got.Tags) - len(got.Unchecked); checked != 12*parallelHeads || got.TagsComplete || !slices.Equal(got.Tags, known) {
			t.Errorf("%d of %d checked, complete %v", checked, len(got.Tags), got.TagsComplete)
		}
		if most.Load() != parallelHeads {
			t.Errorf("%d requests at once", most.Load())
		}
		if _, err := n.client().BeforeDelete(ctx, "team/app", d, known, false, Anonymous); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("without time: %v", err)
		}
	})
}

// highest raises mark to n if n is larger. It is safe for concurrent use.
func highest(mark *atomic.Int32, to int32) {
	for at := mark.Load(); at < to && !mark.CompareAndSwap(at, to); at = mark.Load() {
	}
}

func TestTagsThatCannotBeCheckedStay(t *testing.T) {
	for name, test := range map[string]struct {
		answer http.Handler
		moved  bool
	}{
		"500":         {answering(500, "", ""), false},
		"403":         {answering(403, "", ""), false},
		"html":        {answering(404, "text/html", "<html>"), false},
		"no digest":   {answering(200, "", "{}"), false},
		"empty 404":   {answering(404, "", ""), true},
		"plain 404":   {answering(404, "text/plain", "not found"), true},
		"strange one": {answering(302, "", ""), false},
	} {
		n, r := newNetwork(t), newRegistry()
		n.hosts["registry.test:5000"] = r
		d := r.put("team/app", "v1", index)
		r.before = func(w http.ResponseWriter, req *http.Request) bool {
			if strings.HasSuffix(req.URL.Path, "/v1") {
				test.answer.ServeHTTP(w, req)
				return true
			}
			return false
		}
		got, err := n.client().BeforeDelete(t.Context(), "team/app", d, []string{"v1"}, false, Anonymous)
		if err != nil || got.TagsComplete != test.moved || len(got.Moved) == 1 != test.moved || len(got.Unchecked) == 1 == test.moved {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestBeforeDeleteWithAnotherAlgorithm(t *testing.T) {
	n, r := newNetwork(t), newRegistry()
	n.hosts["registry.test:5000"] = r
	sha256 := r.put("team/app", "v1", index)
	sha512 := digest.SHA512.FromString(index).String()
	r.manifests["team/app@"+sha512] = []byte(index)
	r.bare = true
	r.before = func(w http.ResponseWriter, _ *http.Request) bool {
		w.Header().Set("Docker-Content-Digest", sha256)
		return false
	}
	got, err := n.client().BeforeDelete(t.Context(), "team/app", sha512, []string{"v1"}, false, Anonymous)
	if err != nil || got.Digest != sha512 || !slices.Equal(got.Tags, []string{"v1"}) || !got.TagsComplete {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestBeforeChartDelete(t *testing.T) {
	d := digest.FromString("content").String()
	n := newNetwork(t)
	m := &museum{prefix: "/team", index: map[string]string{"app/1.0.0": d}, files: map[string]string{"app-1.0.0.tgz": "content"}}
	n.hosts["registry.test:5000"] = m
	m.answers = func(w http.ResponseWriter, req *http.Request) bool {
		if req.Header.Get("Authorization") != "Bearer clientpw" {
			return false
		}
		w.WriteHeader(403)
		return true
	}
	got, err := n.client(withLogin).BeforeChartDelete(t.Context(), "team", "app", "1.0.0", As{Authorization: "Bearer clientpw"})
	if err != nil || got.Digest != d || got.Size != 7 {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err = n.client().BeforeChartDelete(t.Context(), "team", "app", "1.0.0", As{Authorization: "Bearer clientpw"}); !errors.Is(err, ErrForbidden) {
		t.Errorf("got the error %v", err)
	}
	if _, err = n.client().BeforeChartDelete(t.Context(), "team", "app", "2.0.0", Anonymous); !errors.Is(err, ErrNotFound) {
		t.Errorf("got the error %v", err)
	}
}

func TestLimiter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := NewLimiter(1, 3, 2)
		for i := range 4 {
			if spent, got := l.Spent("a"), l.Allow("a"); got != (i < 3) || spent == got {
				t.Errorf("look-up %d: %v, and spent %v", i, got, spent)
			}
		}
		if !l.AllowN("b", 100) || l.Allow("b") {
			t.Error("b is not limited for itself")
		}
		time.Sleep(time.Second)
		if !l.Allow("a") || l.Allow("a") {
			t.Error("one look-up a second")
		}
		l.Allow("c")
		if l.clients.Len() != 2 {
			t.Errorf("%d clients remembered", l.clients.Len())
		}
		if !NewLimiter(1, 1, 0).Allow("a") {
			t.Error("at least one client is remembered")
		}
	})
}
