package events

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A client that disconnects after the last byte of a push has pushed, and there is an event. A
// client that disconnects earlier has not, and there is no event.
func TestClientDisconnects(t *testing.T) {
	t.Parallel()
	s := harness.NewFaultStage(t)
	repo, a := "gone/app", harness.NewImage(harness.ImageOptions{})
	harness.PutBlobs(s, s.Buoy.ProxyURL, repo, a)
	url := s.Buoy.ProxyURL + "/v2/" + repo + "/manifests/"
	p := s.Proxy.HoldBefore(http.MethodPut, repo+"/manifests/whole")
	ctx, hangUp := context.WithCancel(t.Context())
	req, _ := http.NewRequestWithContext(ctx, http.MethodPut, url+"whole", strings.NewReader(string(a.Manifest)))
	req.Header.Set("Content-Type", a.MediaType)
	req.Header.Set("User-Agent", "curl/8.0")
	done := harness.Background(func() { harness.Plain.Do(req) })
	p.Await(t)
	hangUp()
	<-done
	time.Sleep(200 * time.Millisecond) // time for bellbuoy to notice
	p.Release()
	s.Expect(repo, harness.Pushed(repo, a, "whole"))

	conn, err := net.Dial("tcp", s.Buoy.Host)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "PUT /v2/%s/manifests/half HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", repo, s.Buoy.Host, a.MediaType, len(a.Manifest), a.Manifest[:len(a.Manifest)-1])
	time.Sleep(200 * time.Millisecond)
	conn.Close()
	s.Settled()
	harness.Must(t, http.StatusNotFound, http.MethodGet, s.Direct+"/v2/"+repo+"/manifests/half", nil)

	// Without a length, and with Expect: 100-continue.
	body := io.MultiReader(strings.NewReader(string(a.Manifest[:10])), strings.NewReader(string(a.Manifest[10:])))
	req, _ = http.NewRequest(http.MethodPut, url+"chunked", struct{ io.Reader }{body})
	req.Header.Set("Content-Type", a.MediaType)
	req.Header.Set("Expect", "100-continue")
	req.Header.Set("User-Agent", "curl/8.0")
	if resp, err := harness.Plain.Do(req); err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("PUT without a length: got %v, %v", resp, err)
	}
	s.Expect(repo, harness.Pushed(repo, a, "chunked"))
	s.End()
}

// The operator is the name in a token or a Basic login that the registry has checked. A name that
// nothing has checked is only claimed.
func TestOperators(t *testing.T) {
	t.Parallel()
	t.Run("claimed", func(t *testing.T) {
		t.Parallel()
		s := harness.NewFaultStage(t)
		repo, a := "who/claimed", harness.NewImage(harness.ImageOptions{})
		harness.Push(s, s.Buoy.ProxyURL, repo, "v1", a, harness.Login{User: "root", Password: "x"}.Header()...)
		s.Expect(repo, harness.Pushed(repo, a, "v1").With(func(e *harness.Event) { e.Claimed = "root" }))
		forged := []string{"Remote-User", "root", "X-Remote-User", "root"}
		harness.Push(s, s.Buoy.ProxyURL, repo, "v2", a, forged...)
		s.Expect(repo, harness.Pushed(repo, a, "v2"))
		s.End()
	})
	t.Run("token", func(t *testing.T) {
		t.Parallel()
		tokens := harness.NewTokenServer(t, harness.TokenOptions{Users: map[string]string{"robot$ci": "pw"}, AnonymousPull: true})
		registry := harness.Registry(t, harness.RegistryOptions{Delete: true, Token: tokens})
		s := harness.NewStage(t, harness.RegistryUpstream(registry.URL))
		repo, a := "who/token", harness.NewImage(harness.ImageOptions{})
		access := []any{map[string]any{"type": "repository", "name": repo, "actions": []string{"pull", "push", "delete"}}}
		bearer := func(subject string) []string {
			return []string{"Authorization", "Bearer " + tokens.Sign(subject, access, time.Now())}
		}
		harness.Push(s, s.Buoy.ProxyURL, repo, "v1", a, bearer("robot$ci")...)
		s.Expect(repo, harness.Pushed(repo, a, "v1").By("robot$ci"))
		if resp, err := harness.PutManifest(s.Buoy.ProxyURL, repo, "v2", a, "Authorization", "Bearer "+strings.Repeat("x.", 2)+"x"); err != nil || resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("request with an invalid token: got %v, %v", resp, err)
		}
		harness.Must(t, http.StatusAccepted, http.MethodDelete, s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/v1", nil, bearer("robot$ci")...)
		s.Expect(repo, harness.Untagged(repo, a, "v1").By("robot$ci"))
		s.End()
	})
	t.Run("token by login", func(t *testing.T) {
		t.Parallel()
		tokens := harness.NewTokenServer(t, harness.TokenOptions{Users: harness.Users})
		registry := harness.Registry(t, harness.RegistryOptions{Token: tokens, TokenRealm: "auto"})
		port := harness.FreePort(t)
		hooks := harness.NewReceiver(t)
		b := harness.BellbuoyWith(t, harness.BuoyOptions{Port: port}, fmt.Sprintf("upstreams:\n  - {name: auth, type: registry, url: %s, paths: [/token], path_prefix: /none}\n  - {type: registry, url: %s}\n", tokens.URL, registry.URL)+harness.Quick+harness.Webhooks(hooks))
		s := harness.StageOn(t, hooks, b)
		env, a, repo := harness.Env(t), harness.NewImage(harness.ImageOptions{}), "who/login"
		harness.Run(t, env, "crane", "auth", "login", b.Host, "-u", "ann", "-p", "pw")
		harness.Run(t, env, "crane", "push", a.Layout(t, "v1"), s.Ref(repo, "v1"))
		s.Expect(repo, harness.Pushed(repo, a, "v1").By("ann"))
		if strings.Contains(b.Logs(), `"pw"`) {
			t.Error("the log shows a password")
		}
	})
}

// A registry and a ChartMuseum at one address, and two registries told apart by host and by prefix.
func TestRouting(t *testing.T) {
	t.Parallel()
	one, two, museum := harness.Registry(t, harness.RegistryOptions{}), harness.Registry(t, harness.RegistryOptions{}), harness.ChartMuseum(t, harness.ChartMuseumOptions{})
	s := harness.NewStage(t, fmt.Sprintf("upstreams:\n  - {type: registry, url: %s}\n  - {name: second, type: registry, url: %s, hosts: [two.example.com]}\n  - {type: chartmuseum, url: %s}\n", one.URL, two.URL, museum.URL))
	a, archive := harness.NewImage(harness.ImageOptions{}), harness.NewChart("app", "1.0.0", harness.ChartOptions{})
	harness.Push(s, s.Buoy.ProxyURL, "route/one", "v1", a)
	s.Expect("route/one", harness.Pushed("route/one", a, "v1"))
	harness.Must(t, http.StatusCreated, http.MethodPost, s.Buoy.ProxyURL+"/api/charts", archive)
	s.Expect("library/app", harness.Charted("UPLOAD_CHART", "", "app", "1.0.0", archive))
	harness.Push(s, two.URL, "route/two", "v0", a)
	resp, err := harness.PutManifest(s.Buoy.ProxyURL, "route/two", "v1", a, "Host", "two.example.com")
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatalf("request by host or prefix: got %v, %v", resp, err)
	}
	harness.Must(t, http.StatusOK, http.MethodHead, two.URL+"/v2/route/two/manifests/v1", nil, "Accept", a.MediaType)
	harness.Must(t, http.StatusNotFound, http.MethodHead, one.URL+"/v2/route/two/manifests/v1", nil, "Accept", a.MediaType)
	harness.Eventually(harness.Soon, func() bool { full, _ := s.Arrived("route/two"); return len(full) == 1 })
	for _, p := range s.Hooks.Posts("/full") {
		if p.Text("repository") == "route/two" && (p.Text("upstream") != "second" || p.Text("registry") != "two.example.com") {
			t.Errorf("the webhook names %s at %s", p.Text("upstream"), p.Text("registry"))
		}
	}
}

// bellbuoy terminates TLS: clients use HTTP/2 or HTTP/1.1, and no Location leads them to http.
func TestTLS(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	ca := authority.New(t)
	server := ca.Issue("server")
	b := harness.Bellbuoy(t, harness.RegistryUpstream(registry.URL)+fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", server.Cert, server.Key)+harness.Quick+harness.Webhooks(hooks))
	s := harness.StageOn(t, hooks, b)
	for _, http2 := range []bool{true, false} {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(!http2)
		protocols.SetHTTP2(http2)
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: ca.Trusting(""), Protocols: protocols}}
		resp, err := client.Post("https://"+b.Host+"/v2/tls/app/blobs/uploads/", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if got := resp.Header.Get("Location"); !strings.HasPrefix(got, "https://"+b.Host+"/") || resp.StatusCode != http.StatusAccepted {
			t.Errorf("HTTP/%d: %s, Location %s", resp.ProtoMajor, resp.Status, got)
		}
	}
	env, a, repo := harness.Env(t), harness.NewImage(harness.ImageOptions{}), "tls/app"
	harness.Run(t, env, "skopeo", "--insecure-policy", "copy", "--dest-tls-verify=false", "oci:"+a.Layout(t, "v1")+":v1", "docker://"+s.Ref(repo, "v1"))
	s.Expect(repo, harness.Pushed(repo, a, "v1"))
	harness.Run(t, env, "crane", "pull", "--insecure", s.Ref(repo, "v1"), filepath.Join(t.TempDir(), "out.tar"))
	s.Expect(repo, harness.Pulled(repo, a, "v1"))

	plainConn, err := net.Dial("tcp", b.Host) // plain HTTP at a TLS address is answered and does not hang
	if err != nil {
		t.Fatal(err)
	}
	defer plainConn.Close()
	plainConn.SetDeadline(time.Now().Add(harness.Soon))
	fmt.Fprintf(plainConn, "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n")
	if resp, err := http.ReadResponse(bufio.NewReader(plainConn), nil); err != nil || resp.StatusCode != http.StatusBadRequest {
		t.Errorf("plain HTTP at a TLS address: %v %v", resp, err)
	}
}
