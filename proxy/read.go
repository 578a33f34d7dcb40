package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"

	godigest "github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/detect"
)

// read carries a request that is observed and never held.
func (x *exchange) read() {
	x.identify()
	x.beginFetch()
	x.started = true
	x.guarded("Start", func() { x.transfer = x.g.Tracker.Start(&x.op) })
	if x.carryFast() || x.carryUpload() {
		return
	}
	ctx, cancel := context.WithCancelCause(x.in.Context())
	x.ctx = cancellable(ctx, cancel)
	defer cancel(nil)
	x.carry(x.upload())
}

// answered is told of an upstream's answer before the client is.
func (x *exchange) answered(res *http.Response) error {
	if res.StatusCode < 200 {
		return errStatus // 101, which nobody asked for, or nonsense
	}
	if x.gate != nil {
		x.settle(res)
	} else {
		x.note(res)
		x.guarded("Answered", func() { x.g.Tracker.Answered(&x.transfer, &x.op) })
	}
	x.keepInFront(res.Header)
	x.up.stop()
	if x.early() {
		res.Header.Set("Connection", "close")
	}
	x.observe(res)
	return nil
}

// early tells whether the answer comes before all of the body did. The rest of it, or what stands behind a broken one, must not be read as the
// next request: such an answer ends its connection. (HTTP/2 ends a stream, not a connection.)
func (x *exchange) early() bool {
	length := x.in.ContentLength
	return length != 0 && x.in.ProtoMajor == 1 && !x.arrived.Load() && (length < 0 || x.received.Load() < length)
}

var errStatus = errors.New("not a status of an answer")

// note takes from an answer's header what events need.
func (x *exchange) note(res *http.Response) {
	x.op.Status = res.StatusCode
	x.op.Size = res.ContentLength
	x.op.ContentDigest = contentDigest(res.Header)
	x.op.MediaType = mediaType(res.Header)
	x.op.OCITags = res.Header["Oci-Tag"]
	x.op.Whole = res.StatusCode == http.StatusPartialContent && wholeRange(res.Header.Get("Content-Range"))
	if x.in.Header.Get("Authorization") == "" {
		x.noteAnonymous(x.op.Action, res.StatusCode)
	}
	if res.StatusCode == http.StatusUnauthorized {
		x.noteRealm(res.Header)
	}
	if res.StatusCode < 400 {
		x.succeeded(res.StatusCode)
	}
}

// wholeRange reports whether a Content-Range names all of the bytes: "bytes 0-n/n+1".
func wholeRange(s string) bool {
	s, ok := strings.CutPrefix(s, "bytes 0-")
	if !ok {
		return false
	}
	last, length, ok := strings.Cut(s, "/")
	n, err := strconv.ParseInt(last, 10, 63)
	of, err2 := strconv.ParseInt(length, 10, 63)
	return ok && err == nil && err2 == nil && n >= 0 && of == n+1
}

// contentDigest is the digest that an answer names; "" where it names none, or what cannot be one. Algorithms that bellbuoy cannot
// compute are digests all the same.
func contentDigest(h http.Header) string {
	d := h.Get("Docker-Content-Digest")
	if plainDigest(d) {
		return d
	}
	err := godigest.Digest(d).Validate()
	if len(d) > detect.MaxDigest || err != nil && !errors.Is(err, godigest.ErrDigestUnsupported) {
		return ""
	}
	return d
}

// plainDigest tells of nearly every digest that it is one, without the regular expressions of all the others.
func plainDigest(d string) bool {
	sum, ok := strings.CutPrefix(d, "sha256:")
	if !ok || len(sum) != 64 {
		return false
	}
	for i := range len(sum) {
		if c := sum[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// observe puts what watches a body around it.
func (x *exchange) observe(res *http.Response) {
	if x.in.Method == http.MethodHead || res.Body == nil || res.Body == http.NoBody {
		x.answer.clean = true
		return
	}
	length := res.ContentLength
	x.down = watch(x.g.Limits.StalledBody, x.ctx)
	x.got = x.g.h.keeping(x.keeps(res), length, res.Header.Get("Content-Encoding"), x.op.Client.Address)
	x.got.whole = x.op.Action != detect.ManifestGet
	res.Body = &download{x: x, body: res.Body, left: length, watch: x.down}
}

const (
	maxManifest = detect.MaxManifest
	maxIndex    = 16 << 20 // bytes of an index.yaml
	cheapChart  = 1 << 20  // bytes of a downloaded chart: nearly all are smaller
	maxRefusal  = 4 << 10  // bytes of what an upstream says when it refuses
)

// keeps is how many bytes of an answer's body are kept for reading.
func (x *exchange) keeps(res *http.Response) int {
	ok := res.StatusCode == http.StatusOK || x.op.Whole
	switch x.op.Action {
	case detect.ManifestGet:
		if ok {
			return maxManifest
		}
	case detect.ChartIndex:
		if ok {
			return maxIndex
		}
	case detect.ChartGet:
		if ok && res.ContentLength <= cheapChart { // or unknown: ChartMuseum sends chunks
			return cheapChart
		}
	case detect.Other:
		if ok && x.fetches != nil {
			return maxTokenAnswer
		}
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd:
		if res.StatusCode >= 400 && res.StatusCode < 500 || res.StatusCode == http.StatusInsufficientStorage {
			return maxRefusal
		}
	}
	return 0
}

// download is an answer's body on its way to the client.
type download struct {
	x     *exchange
	body  io.ReadCloser
	left  int64 // bytes to come; negative: unknown
	watch *watchdog
}

// Read passes the next piece on. The Tracker hears of what was kept before the last piece goes out: the client's next request (a blob of this
// manifest) may be here before this handler runs again.
func (d *download) Read(p []byte) (int, error) {
	n, err := d.body.Read(p)
	return n, d.passed(p[:n], err)
}

// passed is told of a piece that was read, and of how that ended.
func (d *download) passed(piece []byte, err error) error {
	d.watch.moved()
	d.x.got.write(piece)
	if d.left > 0 {
		d.left -= int64(len(piece))
	}
	if errors.Is(err, io.EOF) {
		d.x.answer.clean = true
	}
	if d.x.got.limit > 0 && (d.left == 0 || errors.Is(err, io.EOF)) {
		d.x.understand()
	}
	return d.watch.cause(err)
}

// Close ends the watching too.
func (d *download) Close() error {
	d.watch.stop()
	return d.body.Close()
}

// understand reads what was kept of a whole body, and tells the Tracker.
func (x *exchange) understand() {
	if x.ended || !x.started {
		return
	}
	if x.fetches != nil {
		x.guarded("keepToken", func() { x.keepToken(x.got.body(x.op.MediaType).Bytes) })
	} else {
		x.op.Got = x.got.body(x.op.MediaType)
	}
	if x.op.Action == detect.ChartGet {
		x.guarded("ReadChart", func() {
			if c, err := detect.ReadChart(bytes.NewReader(x.op.Got.Bytes)); err == nil {
				x.op.GotChart = c
			}
		})
	}
	if x.unheard() {
		return // the end is told when the upstream has spoken: the client's last bytes do not wait for that
	}
	x.tellEnd(!x.answer.broken)
}

// maxContentType bounds a Content-Type that is looked at.
const maxContentType = 512

// mediaType is a Content-Type without its parameters; "" where it is too long to be one.
func mediaType(h http.Header) string {
	v := h.Get("Content-Type")
	if len(v) > maxContentType {
		return ""
	}
	if plainType(v) {
		return v
	}
	if t, _, err := mime.ParseMediaType(v); err == nil {
		return t
	}
	t, _, _ := strings.Cut(v, ";")
	return bounded(strings.TrimSpace(t), 255)
}

// plainType tells of nearly every Content-Type of a registry that it stands for itself: no parameters, nothing that would be written in another way.
func plainType(v string) bool {
	if strings.Count(v, "/") != 1 {
		return false
	}
	for i := range len(v) {
		c := v[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '/' && c != '.' && c != '+' && c != '-' {
			return false
		}
	}
	return v[0] != '/' && v[len(v)-1] != '/'
}
