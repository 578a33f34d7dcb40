package replay

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// lineHeader tells the upstream which line of the recording a request is. bellbuoy's own look-ups
// do not have this header.
const lineHeader = "X-Replay-Line"

// A player sends a scenario's requests to bellbuoy.
type player struct {
	s         *Scenario
	turns     *turns
	proxy     string            // host:port of bellbuoy
	host      string            // the Host that selects the scenario's upstream
	addresses map[string]string // of its clients, by the one recorded

	mu       sync.Mutex
	troubles []string // answers that differ from the recorded ones
}

// play sends all requests, each connection's in a goroutine of its own.
func (p *player) play(ctx context.Context) {
	p.turns.start()
	var running sync.WaitGroup
	for _, lane := range lanes(p.s.Lines) {
		running.Go(func() {
			c := &conn{player: p}
			defer c.close()
			for _, i := range lane {
				c.request(ctx, i)
			}
		})
	}
	running.Wait()
}

func (p *player) trouble(l *Line, format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.troubles = append(p.troubles, fmt.Sprintf("line %d, %s %s: %s", l.Seq, l.Method, l.URI, fmt.Sprintf(format, args...)))
}

// conn is a client's connection.
type conn struct {
	player *player
	tcp    net.Conn
	read   *bufio.Reader
}

func (c *conn) close() {
	if c.tcp != nil {
		c.tcp.Close()
		c.tcp = nil
	}
}

// request sends a request when its turn comes, and reads the answer.
func (c *conn) request(ctx context.Context, i int) {
	p := c.player
	l := &p.s.Lines[i]
	defer p.turns.done(i, started, answered, ended)
	if err := p.turns.wait(ctx, i, started); err != nil {
		p.trouble(l, "waiting for its turn: %v", err)
		return
	}
	if err := c.exchange(i); err != nil {
		p.trouble(l, "%v", err)
		c.close()
	}
}

func (c *conn) exchange(i int) error {
	l := &c.player.s.Lines[i]
	if err := c.dial(l); err != nil {
		return err
	}
	if err := c.send(i); err != nil {
		return err
	}
	if l.brokenUpload() {
		c.close()
		return nil
	}
	resp, err := http.ReadResponse(c.read, &http.Request{Method: l.Method})
	if err != nil {
		if l.brokenUpstream() {
			c.close()
			return nil
		}
		return fmt.Errorf("reading the answer: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != l.Status {
		return fmt.Errorf("answered %d, recorded %d", resp.StatusCode, l.Status)
	}
	return c.readBody(l, resp)
}

func (c *conn) readBody(l *Line, resp *http.Response) error {
	want := l.got()
	if l.brokenDownload() && l.ClientGone { // it disconnected in the middle
		_, err := io.CopyN(io.Discard, resp.Body, int64(len(want)))
		c.close()
		return err
	}
	got, err := io.ReadAll(resp.Body)
	switch {
	case l.brokenDownload():
		c.close()
		if err == nil {
			return errors.New("the upstream broke off, and bellbuoy hides it")
		}
		return nil
	case err != nil:
		return fmt.Errorf("reading the answer's body: %w", err)
	case l.UpstreamStatus != 0 && !bytes.Equal(got, want):
		return fmt.Errorf("%d bytes came, recorded were %d, or others", len(got), len(want))
	}
	if resp.Close {
		c.close()
	}
	return nil
}

func (c *conn) dial(l *Line) error {
	if c.tcp != nil {
		return nil
	}
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(c.player.addresses[l.address()])}, Timeout: time.Minute}
	tcp, err := d.Dial("tcp", c.player.proxy)
	if err != nil {
		return err
	}
	c.tcp, c.read = tcp, bufio.NewReader(tcp)
	return tcp.SetDeadline(time.Now().Add(2 * time.Minute))
}

// address is the address of the client: as recorded if it is a loopback address, else a loopback
// address in its place.
func (l *Line) address() string {
	host, _, _ := net.SplitHostPort(l.Remote)
	ip, err := netip.ParseAddr(host)
	switch {
	case err != nil || ip.IsLoopback() && !ip.Is4():
		return "127.0.0.1"
	case ip.IsLoopback():
		return host
	}
	b := ip.As16()
	return fmt.Sprintf("127.%d.%d.%d", b[13]|1, b[14], b[15]|1)
}

// send writes a request as it was on the wire.
func (c *conn) send(i int) error {
	l := &c.player.s.Lines[i]
	body := l.sent()
	chunked := l.ReqLength < 0 || slices.Contains(l.ReqTE, "chunked")
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n%s: %d\r\n", l.Method, l.URI, c.player.host, lineHeader, i)
	for name, values := range l.ReqHeader {
		switch name {
		case "Host", "Content-Length", "Transfer-Encoding", "Expect": // the body follows at once
			continue
		}
		for _, value := range values {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	switch {
	case chunked:
		b.WriteString("Transfer-Encoding: chunked\r\n\r\n")
		if len(body) > 0 {
			fmt.Fprintf(&b, "%x\r\n%s\r\n", len(body), body)
		}
		if !l.brokenUpload() {
			b.WriteString("0\r\n\r\n")
		}
	case l.ReqLength > 0 || l.Method == http.MethodPut || l.Method == http.MethodPost || l.Method == http.MethodPatch:
		b.WriteString("Content-Length: " + strconv.FormatInt(max(l.ReqLength, 0), 10) + "\r\n\r\n")
		b.Write(body)
	default:
		b.WriteString("\r\n")
	}
	_, err := c.tcp.Write(b.Bytes())
	return err
}

// brokenUpload reports whether the client disconnected before it had sent its whole body.
func (l *Line) brokenUpload() bool {
	return l.ReqLength > 0 && l.ReqBytes < l.ReqLength && (l.ClientGone || l.Err != "")
}

// brokenDownload reports whether less of the answer arrived than was announced.
func (l *Line) brokenDownload() bool {
	length, err := strconv.ParseInt(l.RespHeader.Get("Content-Length"), 10, 64)
	return err == nil && l.Method != http.MethodHead && l.Status != http.StatusNotModified && l.RespBytes < length
}

// brokenUpstream reports whether the upstream gave no answer.
func (l *Line) brokenUpstream() bool {
	return l.UpstreamStatus == 0 && (l.Err != "" || l.ClientGone)
}

// agent is the client's user agent.
func (l *Line) agent() string { return strings.Join(l.ReqHeader["User-Agent"], " ") }
