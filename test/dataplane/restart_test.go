package dataplane

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestMain also starts bellbuoy as systemd does, with an open socket.
func TestMain(m *testing.M) {
	if fd, err := strconv.Atoi(os.Getenv(socketVariable)); err == nil && len(os.Args) > 1 {
		fmt.Fprintln(os.Stderr, "starting with a socket:", activate(fd, os.Args[1:])) // returns only if it failed
		os.Exit(1)
	}
	os.Exit(m.Run())
}

const socketVariable = "DATAPLANE_TEST_SOCKET"

// activate executes another program, with a socket that was passed as systemd does it.
func activate(fd int, argv []string) error {
	const first = 3
	if err := syscall.Dup3(fd, first, 0); err != nil {
		return err
	}
	return syscall.Exec(argv[0], argv, append(os.Environ(), fmt.Sprintf("LISTEN_PID=%d", os.Getpid()), "LISTEN_FDS=1", "LISTEN_FDNAMES=proxy"))
}

// heldSocket listens without accepting, as systemd does for a socket unit. Processes that are
// started inherit it.
func heldSocket(t *testing.T) (port, fd int) {
	t.Helper()
	port = harness.FreePort(t)
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if fd, err = syscall.Dup(int(f.Fd())); err != nil { // without close-on-exec
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	return port, fd
}

// halves is an upstream that sends blobs, and reads uploads, in two halves.
type halves struct {
	size    int
	come    atomic.Int64
	release chan struct{}
}

func (h *halves) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/"):
		w.Header().Set("Content-Length", strconv.Itoa(h.size))
		half := make([]byte, h.size/2)
		_, _ = w.Write(half)
		_ = http.NewResponseController(w).Flush()
		h.come.Add(1)
		<-h.release
		_, _ = w.Write(half)
	case r.Method == http.MethodPut || r.Method == http.MethodPatch:
		_, _ = io.CopyN(io.Discard, r.Body, int64(h.size/2))
		h.come.Add(1)
		<-h.release
		n, _ := io.Copy(io.Discard, r.Body)
		w.Header().Set("X-Got", strconv.FormatInt(n+int64(h.size/2), 10))
		w.WriteHeader(http.StatusCreated)
	}
}

// After SIGTERM during 200 transfers no connection is accepted any more, and each transfer
// completes.
func TestStopFinishesTransfers(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	secure := fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", a.File("server.pem"), a.File("server.key"))
	for name, tc := range map[string]struct {
		config, scheme string
		c              *http.Client
	}{"plain": {"", "http://", plain(t)}, "HTTP/1.1": {secure, "https://", overTLS(t, a, false, "")}, "HTTP/2": {secure, "https://", overTLS(t, a, true, "")}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			stopFinishesTransfers(t, tc.config, tc.scheme, tc.c)
		})
	}
}

func stopFinishesTransfers(t *testing.T, config, scheme string, c *http.Client) {
	t.Helper()
	const transfers, size = 200, 256 << 10
	up := &halves{size: size, release: make(chan struct{})}
	srv := httptest.NewServer(up)
	t.Cleanup(srv.Close)
	release := sync.OnceFunc(func() { close(up.release) })
	t.Cleanup(release)
	b := front(t, srv.URL, "shutdown_grace: 2m\n"+config)
	var done sync.WaitGroup
	for i := range transfers {
		done.Go(func() {
			url, err, a := scheme+b.Host+"/v2/app/blobs/", error(nil), answer{}
			switch i % 4 {
			case 0, 1:
				a, err = send(c, http.MethodGet, url+"sha256:"+strings.Repeat("ab", 32), nil)
				a.Header, a.Status = http.Header{"X-Got": {strconv.Itoa(len(a.Body))}}, a.Status+1
			case 2:
				a, err = send(c, http.MethodPatch, url+"uploads/x", bytes.NewReader(make([]byte, size)))
			default: // chunked
				a, err = send(c, http.MethodPut, url+"uploads/x?digest=y", io.LimitReader(zeros{}, size))
			}
			if err != nil || a.Status != http.StatusCreated || a.Header.Get("X-Got") != strconv.Itoa(size) {
				t.Errorf("transfer %d: %d, %s bytes, %v", i, a.Status, a.Header.Get("X-Got"), err)
			}
		})
	}
	if !harness.Eventually(soon, func() bool { return up.come.Load() == transfers }) {
		t.Fatalf("%d transfers are under way", up.come.Load())
	}
	b.Signal(syscall.SIGTERM)
	if !harness.Eventually(soon, func() bool {
		conn, err := net.Dial("tcp", b.Host)
		if err == nil {
			conn.Close()
		}
		return err != nil
	}) {
		t.Error("connections are still accepted")
	}
	select {
	case <-b.Exited():
		t.Error("it ended with transfers under way")
	case <-time.After(500 * time.Millisecond):
	}
	release()
	done.Wait()
	if err := b.Stop(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}

// After shutdown_grace the remaining requests are cut, and the process exits with 0.
func TestStopCutsAtLast(t *testing.T) {
	t.Parallel()
	up := &halves{size: 1 << 20, release: make(chan struct{})}
	srv := httptest.NewServer(up)
	t.Cleanup(srv.Close)
	t.Cleanup(func() { close(up.release) })
	b := front(t, srv.URL, "shutdown_grace: 1s\n") // the default is 25 s
	var done sync.WaitGroup
	done.Go(func() {
		if _, err := send(plain(t), http.MethodGet, b.ProxyURL+"/v2/app/blobs/sha256:"+strings.Repeat("ab", 32), nil); err == nil {
			t.Error("half a blob came to a good end")
		}
	})
	harness.Eventually(soon, func() bool { return up.come.Load() == 1 })
	began := time.Now()
	err := b.Stop()
	if took := time.Since(began); err != nil || took < time.Second || took > 20*time.Second {
		t.Errorf("it ended after %v with %v", took, err)
	}
	done.Wait()
}

// With a socket that systemd keeps open, no request fails during a restart on SQLite, on new and on
// open connections. Each start tells systemd when bellbuoy serves.
func TestSocketActivation(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{})
	port, fd := heldSocket(t)
	hooks := harness.NewReceiver(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	told := systemdSocket(t)
	env := []string{fmt.Sprintf("%s=%d", socketVariable, fd), "NOTIFY_SOCKET=" + told.LocalAddr().String()}
	b := harness.BellbuoyWith(t, harness.BuoyOptions{Port: port, Launch: []string{self}, Env: env},
		"upstreams: [{type: registry, url: "+registry.URL+"}]\nwebhooks: [{name: w, url: \""+hooks.URL("/w")+"\"}]\n")
	load := startLoad(t, b.ProxyURL)
	for range 3 {
		load.more(t)
		if err := b.Stop(); err != nil {
			t.Errorf("it ended with %v", err)
		}
		b.Start()
	}
	load.more(t)
	pushes := load.end(t)
	hooks.WaitAt("/w", pushes, time.Minute)
	sound(t, b)
	message := make([]byte, 100)
	for range 4 {
		if n, err := told.Read(message); string(message[:n]) != "READY=1" {
			t.Errorf("systemd was told %q (%v), want READY=1 from each start", message[:n], err)
		}
	}
}

// systemdSocket returns a socket like that on which systemd hears from its services.
func systemdSocket(t *testing.T) *net.UnixConn {
	t.Helper()
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: filepath.Join(t.TempDir(), "notify")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetReadDeadline(time.Now().Add(5 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// Two replicas behind HAProxy, which polls /readyz, are replaced one after the other. No request
// fails, and every push has its event.
func TestRollingUpdate(t *testing.T) {
	t.Parallel()
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	database := harness.Postgres(t).Database(t, "bellbuoy")
	var replicas []*harness.Buoy
	servers := ""
	for i := range 2 {
		b := harness.Bellbuoy(t, "database: \""+database+"\"\nshutdown_delay: 2s\ntrusted_proxies: [127.0.0.1]\n"+
			"upstreams: [{type: registry, url: "+registry.URL+"}]\nwebhooks: [{name: w, url: \""+hooks.URL("/w")+"\"}]\n")
		replicas = append(replicas, b)
		servers += fmt.Sprintf("  server r%d %s check port %s inter 200ms fall 2 rise 2\n", i, b.Host, b.HealthURL[strings.LastIndex(b.HealthURL, ":")+1:])
	}
	address := haproxy(t, "  option httpchk GET /readyz\n  retries 0\n"+servers)
	load := startLoad(t, "http://"+address)
	for range 2 {
		for _, b := range replicas {
			load.more(t)
			if err := b.Stop(); err != nil {
				t.Errorf("it ended with %v", err)
			}
			b.Start()
			before := b.Metric("bellbuoy_requests_total")
			if !harness.Eventually(soon, func() bool { return b.Metric("bellbuoy_requests_total") > before+10 }) {
				t.Fatal("HAProxy sends nothing to a replica that is back")
			}
		}
	}
	pushes := load.end(t)
	hooks.WaitAt("/w", pushes, time.Minute)
	for _, b := range replicas {
		sound(t, b)
	}
}

// load runs clients that push and pull until end. None of their requests may fail.
type load struct {
	stop             context.CancelFunc
	done             sync.WaitGroup
	requests, pushes atomic.Int64
}

func startLoad(t *testing.T, base string) *load {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	l := &load{stop: stop}
	t.Cleanup(l.done.Wait)
	t.Cleanup(stop)
	for i := range 6 {
		transport := &http.Transport{DisableKeepAlives: i%2 == 0}
		t.Cleanup(transport.CloseIdleConnections)
		c := &http.Client{Transport: transport, Timeout: 2 * time.Minute}
		l.done.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if err := l.round(c, base, fmt.Sprintf("load/c%d", i), fmt.Sprintf("t%d", n)); err != nil {
					t.Errorf("client %d: %v", i, err)
					return
				}
			}
		})
	}
	return l
}

// round pushes an image and reads it back.
func (l *load) round(c *http.Client, base, repository, tag string) error {
	image := harness.NewImage(harness.ImageOptions{LayerSize: 100 << 10})
	do := func(status int, method, url string, body []byte, header ...string) (answer, error) {
		a, err := send(c, method, url, onlyReader(body), header...)
		l.requests.Add(1)
		if err == nil && a.Status != status {
			err = fmt.Errorf("%s %s: %d %s", method, url, a.Status, a.Body)
		}
		return a, err
	}
	for _, d := range append(image.Layers, image.Config) {
		a, err := do(http.StatusAccepted, http.MethodPost, base+"/v2/"+repository+"/blobs/uploads/", nil)
		if err != nil {
			return err
		}
		if _, err = do(http.StatusCreated, http.MethodPut, a.Header.Get("Location")+"&digest="+d.Digest.String(), image.Blob(d.Digest)); err != nil {
			return err
		}
	}
	url := base + "/v2/" + repository + "/manifests/" + tag
	if _, err := do(http.StatusCreated, http.MethodPut, url, image.Manifest, "Content-Type", image.MediaType); err != nil {
		return err
	}
	l.pushes.Add(1)
	if _, err := do(http.StatusOK, http.MethodGet, url, nil, "Accept", image.MediaType); err != nil {
		return err
	}
	a, err := do(http.StatusOK, http.MethodGet, base+"/v2/"+repository+"/blobs/"+image.Layers[0].Digest.String(), nil)
	if err == nil && a.Body != string(image.Blob(image.Layers[0].Digest)) {
		err = fmt.Errorf("a blob of %d bytes came as %d", image.Layers[0].Size, len(a.Body))
	}
	return err
}

// more waits until the load has made progress.
func (l *load) more(t *testing.T) {
	t.Helper()
	before := l.requests.Load()
	if !harness.Eventually(soon, func() bool { return l.requests.Load() > before+100 }) {
		t.Fatal("the load makes no progress")
	}
}

// end ends the load and returns how many pushes were answered.
func (l *load) end(t *testing.T) int {
	t.Helper()
	l.stop()
	l.done.Wait()
	t.Logf("%d requests, %d pushes", l.requests.Load(), l.pushes.Load())
	return int(l.pushes.Load())
}

// onlyReader returns a body that net/http cannot send again, so that a lost request fails.
func onlyReader(b []byte) io.Reader {
	if len(b) == 0 {
		return nil
	}
	return struct{ io.Reader }{bytes.NewReader(b)}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
