package proxy

import (
	"errors"
	"io"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/detect"
)

// chartReading reads the upload of a chart on its way, in a goroutine of its own. It keeps no copy.
type chartReading struct {
	body *io.PipeWriter
	done chan struct{}
	up   detect.Upload // set before done is closed
}

// chartCost is the memory that the reading of one upload takes, for unpacking and for its
// Chart.yaml.
const chartCost = 1 << 20

var errAbandoned = errors.New("the upload broke off")

// readChart begins to read the upload of an exchange.
func readChart(x *exchange) *chartReading {
	body, w := io.Pipe()
	c := &chartReading{body: w, done: make(chan struct{})}
	contentType := x.in.Header.Get("Content-Type")
	go func() {
		defer close(c.done)
		defer body.Close() // so that the upload goes on after a panic
		x.guarded("ReadUpload", func() { c.up = detect.ReadUpload(contentType, body) })
	}()
	return c
}

// write hands a piece to the reading goroutine, and returns when it was read. A nil chartReading
// reads nothing.
func (c *chartReading) write(p []byte) {
	if c != nil && len(p) > 0 {
		_, _ = c.body.Write(p)
	}
}

// end returns what the upload holds. All of it must have been written.
func (c *chartReading) end() detect.Upload {
	_ = c.body.Close()
	<-c.done
	return c.up
}

// abandon ends the reading of an upload that broke off. After end it does nothing.
func (c *chartReading) abandon() {
	if c != nil {
		_ = c.body.CloseWithError(errAbandoned)
	}
}

// upload returns what the upload of a chart holds. If there was no memory to read it, that is the
// digest alone. The caller holds mu.
func (g *gate) upload() detect.Upload {
	if g.chart == nil {
		sent := g.sent.body("")
		return detect.Upload{Chart: &detect.Chart{Digest: sent.Digest, Size: sent.Size}, Err: errNoRoom}
	}
	return g.chart.end()
}

var errNoRoom = errors.New("too many charts were uploaded at the same time")

// warnUnread warns of a chart that the upstream has accepted and bellbuoy could not read.
func (w *write) warnUnread(success bool) {
	x := w.x
	err := x.op.Upload.Err
	if !success || err == nil || !x.g.h.warned.first("chart "+x.route.Name, x.start) {
		return
	}
	x.g.Log.Warn("a chart could not be read: the upstream is asked which chart is new", zap.String("upstream", x.route.Name),
		zap.String("request_id", x.op.ID), zap.String("path", bounded(x.in.URL.EscapedPath(), 512)), zap.Error(err))
}
