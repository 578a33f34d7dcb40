package listen

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// late is a listener whose connections are accepted only after the stop has begun: until then they
// wait in the kernel's queue.
type late struct {
	*net.TCPListener
	once sync.Once
	told chan struct{}
}

func (l *late) Accept() (net.Conn, error) {
	<-l.told
	return l.TCPListener.Accept()
}

func (l *late) SetDeadline(t time.Time) error {
	err := l.TCPListener.SetDeadline(t)
	l.once.Do(func() { close(l.told) })
	return err
}

// A connection in the kernel's queue when bellbuoy stops is served, not reset.
func TestShutdownServesQueuedConnections(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l := &late{TCPListener: tcp.(*net.TCPListener), told: make(chan struct{})}
	s := New(Options{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "served") })})
	const clients = 20
	answers := make(chan string, clients)
	for range clients {
		c, err := net.Dial("tcp", tcp.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		go func() {
			_ = c.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: h\r\n\r\n")
			b, _ := io.ReadAll(c)
			answers <- string(b)
		}()
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(l) }()
	for looping := 0; looping != 1; time.Sleep(time.Millisecond) { // until the loop is in Accept
		s.open.mu.Lock()
		looping = s.open.count
		s.open.mu.Unlock()
	}
	if err := s.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != http.ErrServerClosed {
		t.Errorf("Serve returned %v", err)
	}
	for range clients {
		if got := <-answers; !strings.HasSuffix(got, "served") {
			t.Errorf("got %q", got)
		}
	}
	if err := s.Serve(l); err != http.ErrServerClosed {
		t.Errorf("Serve after Shutdown: %v", err)
	}
}
