package proxy

import (
	"bytes"
	"net/http"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/proxy/carry"
)

// read observes a request that needs no intent. It never delays the request.
type read struct {
	x        *exchange
	transfer track.Transfer // the Tracker's, between Start and End
	started  bool           // Tracker.Start was called
	ended    bool           // Tracker.End was called
	got      bodyCopy       // the copy of the answer's body
}

// carry carries the request.
func (r *read) carry() {
	x := r.x
	x.name.identify(x.op)
	x.name.beginFetch(x.op)
	r.started = true
	x.guarded("Start", func() { r.transfer = x.g.Tracker.Start(x.op) })
	x.carry(r)
}

// Answered implements carry.Observer.
func (r *read) Answered(res *http.Response) carry.Reader {
	x := r.x
	x.note(res)
	x.guarded("Answered", func() { x.g.Tracker.Answered(&r.transfer, x.op) })
	x.keepInFront(res.Header)
	limit := r.keeps(res)
	if limit == 0 || x.in.Method == http.MethodHead || res.Body == nil || res.Body == http.NoBody {
		return nil
	}
	r.got = x.g.h.keeping(limit, res.ContentLength, res.Header.Get("Content-Encoding"), x.op.Client.Address)
	r.got.whole = x.op.Action != detect.ManifestGet
	return r
}

// Failed implements carry.Observer.
func (r *read) Failed(err error) { r.x.answerFailure(err) }

// Piece implements carry.Reader.
func (r *read) Piece(p []byte) { r.got.write(p) }

// End implements carry.Reader: it reads the copy of a whole body, and reports the end of the read
// to the Tracker.
func (r *read) End() {
	x := r.x
	if r.ended || !r.started {
		return
	}
	if x.name.fetches != nil {
		x.guarded("keepToken", func() { x.name.keepToken(r.got.body(x.op.MediaType).Bytes) })
	} else {
		x.op.Got = r.got.body(x.op.MediaType)
	}
	if x.op.Action == detect.ChartGet {
		x.guarded("ReadChart", func() {
			if c, err := detect.ReadChart(bytes.NewReader(x.op.Got.Bytes)); err == nil {
				x.op.GotChart = c
			}
		})
	}
	if x.name.undecided() {
		return // finish reports it: the client's last bytes do not wait for a probe
	}
	r.reportEnd(!x.wire.Answer.Broken())
}

// reportEnd reports the end of the read to the Tracker, once.
func (r *read) reportEnd(complete bool) {
	x := r.x
	if !r.started || r.ended {
		return
	}
	r.ended = true
	x.op.Complete = complete
	if x.name.undecided() && x.op.Status < 300 {
		// the client has all of its answer before bellbuoy waits for the result of the
		// probe about the name
		_ = http.NewResponseController(&x.wire.Answer).Flush()
	}
	x.name.vouch(x.op)
	x.guarded("End", func() { x.g.Tracker.End(&r.transfer, x.op) })
}

// finish ends the read when its handler is done. complete says whether the client has all of its
// answer.
func (r *read) finish(complete bool) {
	r.reportEnd(complete)
	r.got.release()
}

const (
	maxManifest = detect.MaxManifest
	maxIndex    = 16 << 20 // bytes of an index.yaml
	maxTagsList = 1 << 20  // bytes of a list of tags
	cheapChart  = 1 << 20  // bytes of a downloaded chart: nearly all are smaller
	maxRefusal  = 4 << 10  // bytes of an error of the upstream
)

// keeps returns how many bytes of the body of an answer are copied for reading.
func (r *read) keeps(res *http.Response) int {
	op := r.x.op
	ok := res.StatusCode == http.StatusOK || op.Whole
	switch op.Action {
	case detect.ManifestGet:
		if ok {
			return maxManifest
		}
	case detect.TagsList:
		if ok && wholeList(r.x.in.URL.RawQuery, res.Header) {
			return maxTagsList
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
		if ok && r.x.name.fetches != nil {
			return maxTokenAnswer
		}
	case detect.UploadStart, detect.UploadChunk, detect.UploadEnd:
		if res.StatusCode >= 400 && res.StatusCode < 500 || res.StatusCode == http.StatusInsufficientStorage {
			return maxRefusal
		}
	}
	return 0
}
