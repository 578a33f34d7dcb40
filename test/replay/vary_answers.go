package replay

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// mirror sends requests as a containerd does that uses bellbuoy as a mirror.
func mirror(s Scenario, _ *rand.Rand) (Scenario, bool) {
	return each(s, func(l *Line) {
		sep := "?"
		if strings.Contains(l.URI, "?") {
			sep = "&"
		}
		l.URI += sep + "ns=docker.io"
	}), !s.Charts()
}

// redirected answers reads of blobs with a redirect to another host.
func redirected(s Scenario, _ *rand.Rand) (Scenario, bool) {
	found := false
	s = each(s, func(l *Line) {
		if l.Method == http.MethodGet && strings.Contains(l.Path, "/blobs/sha256:") && l.Status == http.StatusOK {
			found = true
			l.Status, l.RespBytes, l.RespBody, l.RespB64 = http.StatusTemporaryRedirect, 0, "", ""
			l.RespHeader = http.Header{"Location": {"https://storage.example.com/blob"}, "Content-Length": {"0"}}
		}
	})
	return s, found
}

// busyUpstream answers some requests 503 before it answers them as recorded.
func busyUpstream(s Scenario, r *rand.Rand) (Scenario, bool) {
	return insert(s, func(l *Line) []Line {
		if r.IntN(3) > 0 || l.Status == http.StatusUnauthorized {
			return nil
		}
		first := *l
		first.Status, first.UpstreamStatus, first.RespBody, first.RespB64 = 503, 503, "busy", ""
		first.RespBytes, first.RespHeader = 4, http.Header{"Content-Length": {"4"}, "Retry-After": {"1"}}
		return []Line{first}
	}), true
}

// cutLayers cuts blobs in the middle. The client then requests the rest.
func cutLayers(s Scenario, _ *rand.Rand) (Scenario, bool) {
	found := false
	s = insert(s, func(l *Line) []Line {
		if l.Method != http.MethodGet || !strings.Contains(l.Path, "/blobs/sha256:") || l.Status != http.StatusOK || l.RespBytes < 2000 {
			return nil
		}
		found = true
		first := *l
		first.RespBytes = l.RespBytes / 2
		first.ClientGone = len(l.URI)%2 == 0
		l.ReqHeader = l.ReqHeader.Clone()
		l.ReqHeader.Set("Range", fmt.Sprintf("bytes=%d-", first.RespBytes))
		l.Status, l.UpstreamStatus, l.RespBytes = http.StatusPartialContent, http.StatusPartialContent, l.RespBytes-first.RespBytes
		l.RespHeader = l.RespHeader.Clone()
		l.RespHeader.Set("Content-Length", strconv.FormatInt(l.RespBytes, 10))
		return []Line{first}
	})
	return s, found
}

// insert puts requests before others, and delays what follows. before may change the line that
// follows.
func insert(s Scenario, before func(l *Line) []Line) Scenario {
	s = clone(s)
	var lines []Line
	shift := 0.0
	for _, l := range s.Lines {
		more := before(&l)
		for i, m := range more {
			m.StartMS, m.FirstMS, m.TookMS = l.StartMS+shift, 1, 2
			m.Conn += 5000 + len(lines) + i
			m.RespHeader, m.ReqHeader = maps.Clone(m.RespHeader), maps.Clone(m.ReqHeader)
			shift += 5
			lines = append(lines, m)
		}
		l.StartMS += shift
		lines = append(lines, l)
	}
	s.Lines = lines
	return s
}

// pause lets the client wait once, for a time too short to end a pull.
func pause(s Scenario, r *rand.Rand) (Scenario, bool) {
	at, seen := r.IntN(len(s.Lines)), 0
	return each(s, func(l *Line) {
		if seen++; seen > at {
			l.StartMS += 3500
		}
	}), true
}

// noDigests removes Docker-Content-Digest from all answers. Scenarios of clients that need it,
// because they pull by HEAD and digest, do not fit.
func noDigests(s Scenario, _ *rand.Rand) (Scenario, bool) {
	fits := !s.Charts()
	s = each(s, func(l *Line) {
		l.RespHeader.Del("Docker-Content-Digest")
		if _, _, ok := manifestOf(l.Path); ok && (l.Method == http.MethodHead || l.Method == http.MethodDelete) {
			fits = false
		}
	})
	return s, fits
}

// checksOnly keeps the HEADs and the reads of index.yaml. They cause no event.
func checksOnly(s Scenario, _ *rand.Rand) (Scenario, bool) {
	s = clone(s)
	s.Want = nil
	s.Lines = slices.DeleteFunc(s.Lines, func(l Line) bool {
		return l.Method != http.MethodHead && !strings.HasSuffix(l.Path, "/v2/") && !strings.HasSuffix(l.Path, "index.yaml")
	})
	return s, len(s.Lines) > 0
}

// againLater repeats the scenario, long enough after `repeat` for a busy machine.
func againLater(s Scenario, _ *rand.Rand) (Scenario, bool) {
	if !repeatable(s) {
		return s, false
	}
	last := s.Lines[len(s.Lines)-1]
	return merge(s.Name, []Scenario{s, s}, func(i int) float64 { return float64(i) * (last.StartMS + last.TookMS - s.Lines[0].StartMS + 12500) }), true
}

// referrersAPI plays a registry with the referrers API, at which clients write no fallback tags.
func referrersAPI(s Scenario, _ *rand.Rand) (Scenario, bool) {
	found := false
	s = each(s, func(l *Line) {
		_, _, asked := strings.Cut(l.Path, "/referrers/")
		switch subject := l.subject(); {
		case asked && l.Status == http.StatusNotFound:
			found = true
			l.answer(http.StatusOK, "application/vnd.oci.image.index.v1+json", `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`)
		case l.Method == http.MethodPut && subject != "":
			found = true
			l.RespHeader.Set("Oci-Subject", subject)
		}
	})
	s.Lines = slices.DeleteFunc(s.Lines, func(l Line) bool {
		_, reference, ok := manifestOf(l.Path)
		return ok && strings.HasPrefix(reference, "sha256-") && !strings.Contains(reference, ".")
	})
	return s, found
}

func (l *Line) subject() string {
	var m struct{ Subject struct{ Digest string } }
	if _, _, ok := manifestOf(l.Path); !ok || json.Unmarshal(l.sent(), &m) != nil {
		return ""
	}
	return m.Subject.Digest
}

// answer replaces the answer of a line.
func (l *Line) answer(status int, mediaType, body string) {
	l.Status, l.UpstreamStatus, l.RespBody, l.RespB64, l.RespBytes = status, status, body, "", int64(len(body))
	l.RespHeader = http.Header{"Content-Type": {mediaType}, "Content-Length": {strconv.Itoa(len(body))}}
}

// gzipped plays an upstream that compresses manifests and sends no digest.
func gzipped(s Scenario, r *rand.Rand) (Scenario, bool) {
	s, ok := noDigests(s, r)
	found := false
	s = each(s, func(l *Line) {
		if _, _, manifest := manifestOf(l.Path); !manifest || l.Method != http.MethodGet || l.Status != http.StatusOK {
			return
		}
		found = true
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		w.Write(l.got())
		w.Close()
		l.RespBody, l.RespB64, l.RespBytes = "", base64.StdEncoding.EncodeToString(b.Bytes()), int64(b.Len())
		l.RespHeader.Set("Content-Encoding", "gzip")
		l.RespHeader.Set("Content-Length", strconv.Itoa(b.Len()))
	})
	return s, ok && found
}
