package carry

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// usualAnswers are the forms of answers that registries, and proxies in front of them, send.
var usualAnswers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\nDocker-Content-Digest: sha256:0a\r\n" +
		"Docker-Distribution-Api-Version: registry/2.0\r\nEtag: \"sha256:0a\"\r\nX-Content-Type-Options: nosniff\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nServer: nginx\r\ncontent-length:5\r\nETag: \"x\"\r\nset-cookie: sid=1; Path=/; HttpOnly\r\nX-Request-Id: 7\r\n\r\nhello",
	"HTTP/1.1 307 Temporary Redirect\r\nLocation: https://s3.example.com/x?sig=%2F\r\nContent-Length: 0\r\n\r\n",
	"HTTP/1.1 404 Not Found\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n{}",
}

// oddAnswers are forms that readPlain leaves to http.ReadResponse.
var oddAnswers = []string{
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
	"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
	"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n3\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
	"HTTP/1.1 200 OK\r\n\r\nuntil the end",
	"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil",
	"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\nEtag: x\r\n\r\n",
	"HTTP/1.1 200 OK\r\nX-A: b\r\n folded\r\nContent-Length: 2\r\n\r\nok",
	"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
	"HTTP/1.1 200 OK\r\nContent Length: 2\r\n\r\nok",
}

// answerOf is the content of an answer that was read.
type answerOf struct {
	Status        string
	Code          int
	Header        http.Header
	Length        int64
	Close         bool
	Body, Trouble string
}

func whole(res *http.Response) answerOf {
	body, err := io.ReadAll(res.Body)
	a := answerOf{res.Status, res.StatusCode, res.Header, res.ContentLength, res.Close, string(body), ""}
	if err != nil {
		a.Trouble = err.Error()
	}
	return a
}

func plainly(data []byte, r *http.Request) *http.Response {
	end := headerEnd(data)
	if end < 0 || !bytes.HasPrefix(data[end:], []byte("\r\n")) {
		return nil
	}
	return readPlain(data[:end], bufio.NewReader(bytes.NewReader(data[end+2:])), r)
}

func TestReadPlainReadsUsualAnswers(t *testing.T) {
	for _, answer := range usualAnswers {
		for _, method := range []string{http.MethodGet, http.MethodHead} {
			r := &http.Request{Method: method}
			got := plainly([]byte(answer), r)
			if got == nil {
				t.Errorf("left to http.ReadResponse: %q", answer)
				continue
			}
			want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader([]byte(answer))), r)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(whole(want), whole(got)); diff != "" {
				t.Errorf("%s %q: -http.ReadResponse +readPlain\n%s", method, answer, diff)
			}
		}
	}
}

// readPlain reads an answer as http.ReadResponse does, or leaves it to that.
func FuzzReadPlain(f *testing.F) {
	for _, answer := range slices.Concat(oddAnswers, usualAnswers) {
		f.Add([]byte(answer), false)
		f.Add([]byte(answer), true)
	}
	f.Fuzz(func(t *testing.T, answer []byte, head bool) {
		r := &http.Request{Method: http.MethodGet}
		if head {
			r.Method = http.MethodHead
		}
		got := plainly(answer, r)
		if got == nil {
			return
		}
		want, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), r)
		if err != nil {
			t.Fatalf("%q: http.ReadResponse fails with %v", answer, err)
		}
		if diff := cmp.Diff(whole(want), whole(got)); diff != "" {
			t.Errorf("%q: -http.ReadResponse +readPlain\n%s", answer, diff)
		}
	})
}

func TestExactBodyEnds(t *testing.T) {
	for left, want := range map[int64]error{5: nil, 6: io.ErrUnexpectedEOF, 3: nil} {
		b := &exactBody{bufio.NewReader(bytes.NewReader([]byte("hello"))), left}
		got, err := io.ReadAll(b)
		if !errors.Is(err, want) || int64(len(got)) != min(left, 5) {
			t.Errorf("%d: got %q, %v", left, got, err)
		}
	}
}
