package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A receiver that hangs does not delay a stop beyond shutdown_grace.
func TestStopEndsWithinTheGrace(t *testing.T) {
	registry := acceptingRegistry(t)
	posted, answer := make(chan struct{}, 10), make(chan struct{})
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		posted <- struct{}{}
		<-answer
	}))
	defer receiver.Close()
	defer close(answer)

	r := start(t, "upstreams: [{type: registry, url: \""+registry.URL+"\", external_url: http://localhost:1}]\n"+
		"webhooks: [{name: hangs, url: \""+receiver.URL+"\"}]\nshutdown_grace: 200ms\n")
	r.push(t)
	<-posted
	began := time.Now()
	r.stop()
	r.until(t, "bellbuoy ends")
	if took := time.Since(began); took > lanesGrace/2 {
		t.Errorf("the stop took %v, want at most %v", took, lanesGrace/2)
	}
}

// The port opens after the store and admin.sock, so that commands work as soon as it is open.
func TestPortOpensLast(t *testing.T) {
	database, err := net.Listen("tcp", "127.0.0.1:0") // accepts connections and sends nothing: the store never opens
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	port, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port.Close()
	path := filepath.Join(t.TempDir(), "bellbuoy.yaml")
	config := fmt.Sprintf("database: postgres://u:p@%s/d?sslmode=disable\nlisten: %s\nhealth: {listen: ''}\nadmin: {listen: ''}\ndata_dir: %s\n",
		database.Addr(), port.Addr(), t.TempDir())
	if err := os.WriteFile(path, []byte(smallConfig+config), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		run(ctx, []string{"serve", "-c", path}, system{Stdout: io.Discard, Stderr: io.Discard, LookupEnv: func(string) (string, bool) { return "", false }})
	}()
	c, err := database.Accept()
	if err != nil {
		t.Fatal(err)
	}
	if early, err := net.Dial("tcp", port.Addr().String()); err == nil {
		early.Close()
		t.Error("the port is open, and neither the store nor admin.sock is")
	}
	stop()
	c.Close()
	<-ended
}
