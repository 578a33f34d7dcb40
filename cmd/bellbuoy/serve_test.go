package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestGraceIsAll: a receiver that hangs does not hold up a stop beyond shutdown_grace.
func TestGraceIsAll(t *testing.T) {
	registry := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Method == http.MethodPut {
			w.WriteHeader(http.StatusCreated)
		}
	}))
	defer registry.Close()
	posted, let := make(chan struct{}, 10), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		posted <- struct{}{}
		<-let
	}))
	defer receiver.Close()
	defer close(let)

	r := start(t, "upstreams: [{type: registry, url: \""+registry.URL+"\", external_url: http://localhost:1}]\n"+
		"webhooks: [{name: hangs, url: \""+receiver.URL+"\"}]\nshutdown_grace: 200ms\n")
	var first struct{ Listen string }
	if err := json.Unmarshal([]byte(r.first), &first); err != nil {
		t.Fatal(err)
	}
	push, err := http.NewRequest(http.MethodPut, "http://"+first.Listen+"/v2/team/app/manifests/v1", strings.NewReader(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json"}`))
	if err != nil {
		t.Fatal(err)
	}
	push.Header.Set("Content-Type", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(push)
	if err != nil || resp.StatusCode != http.StatusCreated {
		t.Fatal(resp, err)
	}
	resp.Body.Close()
	<-posted
	began := time.Now()
	r.stop()
	r.until(t, "bellbuoy ends")
	if took := time.Since(began); took > lanesGrace/2 {
		t.Errorf("the stop took %v", took)
	}
}
