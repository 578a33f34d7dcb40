package listen

import (
	"cmp"
	"context"
	"errors"
	"net"
	"sync"
	"time"
)

// Shutdown stops accepting connections and waits for the requests in flight. When ctx ends it cuts
// those that are left. Connections that the kernel has accepted already are served.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.open.close()
	s.awaitHandshakes(ctx)
	s.linger(ctx)
	s.mu.Lock()
	s.closed = true
	all := make([]*served, 0, len(s.all))
	for v := range s.all {
		all = append(all, v)
	}
	s.mu.Unlock()
	errs := make([]error, len(all))
	var stopping sync.WaitGroup
	for i, v := range all {
		stopping.Go(func() { errs[i] = s.stop(ctx, v) })
	}
	stopping.Wait()
	return errors.Join(errs...)
}

// lastRequests is how long requests may still arrive on open connections. net/http drops a request
// that it reads after its own Shutdown has begun, also the first of a connection that was just
// accepted. The handler ends each connection with its answer by now, so that few are left.
const lastRequests = time.Second

// linger waits until all connections have ended, at most lastRequests.
func (s *Server) linger(ctx context.Context) {
	const look = 5 * time.Millisecond
	for end := time.Now().Add(lastRequests); time.Now().Before(end) && ctx.Err() == nil && s.anyOpen(); {
		time.Sleep(look)
	}
}

func (s *Server) anyOpen() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for v := range s.all {
		if v.conns > 0 {
			return true
		}
	}
	return false
}

// stop ends a server. A server that has not yet accepted a connection that was delivered to it
// reports that it is idle: then it is stopped once more.
func (s *Server) stop(ctx context.Context, v *served) error {
	for {
		err := v.http.Shutdown(ctx)
		if err == nil && s.has(v) == 0 {
			return nil
		}
		if err = cmp.Or(err, ctx.Err()); err != nil {
			v.http.Close()
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// awaitHandshakes waits until every accepted connection was delivered to a server, at most
// lastGreeting. Then the others are cut.
func (s *Server) awaitHandshakes(ctx context.Context) {
	hurrying := time.AfterFunc(lastGreeting, s.hurry)
	defer hurrying.Stop()
	defer context.AfterFunc(ctx, s.hurry)()
	s.accepting.Wait()
}

const lastGreeting = 5 * time.Second // as long as net/http waits for a first request

// drain gives a listener time to accept the connections that the kernel has accepted already, which
// closing it would reset, and then ends it.
func drain(l net.Listener) {
	const moment = 50 * time.Millisecond
	if d, ok := l.(interface{ SetDeadline(time.Time) error }); !ok || d.SetDeadline(time.Now().Add(moment)) != nil {
		l.Close()
	}
}
