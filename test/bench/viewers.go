package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

const (
	viewerCount    = 200
	viewerAccounts = 10 // each has the same number of viewers; half of the accounts are limited to a project
	viewedWebhooks = 50
	viewedRate     = 50 // pushes per second
)

// viewers measures pushes with and without viewers of live pages of the console, in turn. The
// limits allow for the difference between two equal runs on a machine with other load.
func viewers(s *stage, opts options) []row {
	c := openConsole(s)
	var without, with []viewed
	for range opts.rounds {
		without = append(without, c.push(opts))
		leave := c.enter()
		with = append(with, c.push(opts))
		leave()
	}
	work := fmt.Sprintf("%d pushes/s, %d viewers of live pages: ", viewedRate, viewerCount)
	toNone := func(what string, of func(viewed) time.Duration, noise time.Duration) row {
		a, b := median(without, of), median(with, of)
		limit := max(a*5/4, a+noise)
		return atMost(work+what+", to no viewers", brief(b)+" / "+brief(a), float64(b), float64(limit), brief(limit))
	}
	cpu := func(v viewed) time.Duration { return v.cpu }
	rate := median(with, func(v viewed) float64 { return v.pages.rate() })
	slowest := median(with, func(v viewed) time.Duration { return percentile(v.pages.latency, 0.99) })
	rss := median(with, func(v viewed) int64 { return v.rss })
	return []row{
		toNone("push answered, p50", func(v viewed) time.Duration { return percentile(v.pushes.latency, 0.5) }, 2*time.Millisecond),
		toNone("push answered, p99", func(v viewed) time.Duration { return percentile(v.pushes.latency, 0.99) }, 20*time.Millisecond),
		{work: work + "CPU of bellbuoy per second, to no viewers", measured: brief(median(with, cpu)) + " / " + brief(median(without, cpu))},
		{work: work + "pages/s (p99)", measured: fmt.Sprintf("%.0f (%s)", rate, brief(slowest))},
		atMost(work+"RSS, to that before the first viewer", mib(rss)+" / "+mib(without[0].rss), float64(rss), 128<<20, "128 MiB"),
	}
}

// viewed is the measurement of some seconds.
type viewed struct {
	pushes, pages result
	cpu           time.Duration // of bellbuoy, per second
	rss           int64
}

// A viewedConsole is a bellbuoy whose console has viewers.
type viewedConsole struct {
	s       *stage
	b       buoy
	cookies []string // of the accounts
	pushed  int64

	mu    sync.Mutex
	pages []time.Duration // since the last measurement began
}

func openConsole(s *stage) *viewedConsole {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	s.must(err)
	hooks, token := newSink(s), rand.Text()
	c := &viewedConsole{s: s, b: buoy{admin: free(s), token: token}}
	var config strings.Builder
	fmt.Fprintf(&config, "log: {level: error}\nupstreams: [%s]\nadmin:\n  listen: %q\n  tokens: [{name: bench, token: %q}]\n  users:\n",
		newMemory(s).entry(), c.b.admin, token)
	for i := range viewerAccounts {
		fmt.Fprintf(&config, "  - {name: user%d, password_hash: %q", i, hash)
		if i%2 == 1 {
			fmt.Fprintf(&config, ", projects: [p%d]", i)
		}
		config.WriteString("}\n")
	}
	config.WriteString("webhooks:\n")
	for i := range viewedWebhooks {
		fmt.Fprintf(&config, "  - {name: h%d, url: %q, match: {projects: [p%d]}}\n", i, hooks.url("/"), i)
	}
	c.b.Buoy = harness.Bellbuoy(s, config.String())
	for i := range viewerAccounts {
		c.cookies = append(c.cookies, c.logIn(fmt.Sprintf("user%d", i)))
	}
	return c
}

// logIn returns the cookie of a new session.
func (c *viewedConsole) logIn(user string) string {
	form := strings.NewReader(url.Values{"user": {user}, "password": {"secret"}}.Encode())
	req, err := http.NewRequestWithContext(c.s.Context(), http.MethodPost, "http://"+c.b.admin+"/login", form)
	c.s.must(err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", "http://"+c.b.admin)
	answer, err := http.DefaultTransport.RoundTrip(req)
	c.s.must(err)
	answer.Body.Close()
	if len(answer.Cookies()) == 0 {
		c.s.Fatalf("no session for %s: %s", user, answer.Status)
	}
	return answer.Cookies()[0].String()
}

// push pushes for some seconds.
func (c *viewedConsole) push(opts options) (v viewed) {
	l := pushing(c.b.Host, int64(viewedRate*opts.time.Seconds()*4), func(n int64) string { return fmt.Sprintf("p%d/app", n%viewedWebhooks) })
	l.rate, l.first = viewedRate, c.pushed
	c.pushed += l.total
	c.seen()
	w := watch(c.b.Pid())
	wait := c.b.profile(c.s, fmt.Sprintf("viewers-%d", l.first), seconds(4*opts.time))
	var err error
	v.pushes, err = l.run(c.s.Context())
	c.s.must(err)
	wait()
	used := w.stop()
	v.rss, v.cpu = used.rss, time.Duration(float64(used.cpu)/v.pushes.took.Seconds())
	v.pages = result{latency: c.seen(), took: v.pushes.took}
	v.pages.requests = int64(len(v.pages.latency))
	return v
}

// seen returns how long pages took since its last call, sorted.
func (c *viewedConsole) seen() []time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := c.pages
	c.pages = nil
	slices.Sort(all)
	return all
}

// livePages are the pages of the viewers, and how often static/live.js refreshes them. Half of the
// viewers have the page of events.
var livePages = []struct {
	path  string
	every time.Duration
}{
	{"/events", 600 * time.Millisecond}, {"/deliveries", 5 * time.Second}, {"/events", 600 * time.Millisecond}, {"/", 5 * time.Second},
	{"/events", 600 * time.Millisecond}, {"/webhooks", 10 * time.Second},
}

// enter starts the viewers, which read pages until leave is called. It returns when each has its
// first page.
func (c *viewedConsole) enter() (leave func()) {
	ctx, cancel := context.WithCancel(c.s.Context())
	var there, all sync.WaitGroup
	for i := range viewerCount {
		there.Add(1)
		all.Go(func() {
			err := c.look(ctx, i, sync.OnceFunc(there.Done))
			if err != nil && ctx.Err() == nil {
				c.s.Errorf("viewer %d: %v", i, err)
			}
		})
	}
	there.Wait()
	return func() {
		cancel()
		all.Wait()
	}
}

// look is one viewer. It refreshes a page as static/live.js does, and calls there after the first
// answer.
func (c *viewedConsole) look(ctx context.Context, i int, there func()) error {
	defer there()
	conn, err := net.Dial("tcp", c.b.admin)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	page := livePages[i/viewerAccounts%len(livePages)]
	request := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nAccept: text/html\r\nX-Fragment: live\r\nCookie: %s\r\n", page.path, c.b.admin, c.cookies[i%viewerAccounts])
	answers := bufio.NewReaderSize(conn, 16<<10)
	for tag := ""; ; {
		began := time.Now()
		if _, err := conn.Write(fmt.Appendf(request[:len(request):len(request)], "If-None-Match: %s\r\n\r\n", tag)); err != nil {
			return err
		}
		status, shown, err := readAnswer(answers)
		if err != nil {
			return err
		}
		if tag = shown; status != http.StatusOK && status != http.StatusNotModified {
			return fmt.Errorf("%s: status %d", page.path, status)
		}
		c.mu.Lock()
		c.pages = append(c.pages, time.Since(began))
		c.mu.Unlock()
		there()
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(float64(page.every) * (0.9 + 0.2*mathrand.Float64()))):
		}
	}
}
