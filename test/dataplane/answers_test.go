package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// storage is an upstream that answers in ways in which the registry does not.
func storage(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.Contains(r.URL.Path, "/redirect/"):
		w.Header().Set("Location", "http://"+r.Host+"/elsewhere?X-Amz-Signature=a%2Fb&expires=1")
		w.WriteHeader(http.StatusTemporaryRedirect)
	case strings.Contains(r.URL.Path, "/trailers/"):
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Trailer", "X-Sum, X-Got")
		_, _ = io.WriteString(w, "a body")
		w.Header().Set("X-Sum", "abc")
		w.Header().Set("X-Got", r.Trailer.Get("X-Mine"))
		w.Header().Set(http.TrailerPrefix+"X-Late", "unannounced")
	case strings.Contains(r.URL.Path, "/hints/"):
		w.Header().Set("Link", "</x>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusNoContent)
	case strings.Contains(r.URL.Path, "/zipped/"):
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Vary", "Accept-Encoding")
		_, _ = w.Write([]byte{0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	}
}

// TestAnswersAreTheUpstreams compares each kind of answer through bellbuoy with the upstream's own,
// over each protocol.
func TestAnswersAreTheUpstreams(t *testing.T) {
	t.Parallel()
	a := authority.New(t)
	a.Issue("server")
	registry := harness.Registry(t, harness.RegistryOptions{Delete: true})
	odd := httptest.NewServer(http.HandlerFunc(storage))
	t.Cleanup(odd.Close)
	image := harness.NewImage(harness.ImageOptions{LayerSize: 300 << 10})
	pushOver(t, plain(t), registry.URL, "app", "v1", image)
	blob, manifest := "/v2/app/blobs/"+image.Layers[0].Digest.String(), "/v2/app/manifests/v1"
	requests := []struct {
		odd          bool
		method, path string
		status       int
		header       []string
	}{
		{false, "GET", blob, 200, nil},
		{false, "HEAD", blob, 200, nil},
		{false, "GET", blob, 206, []string{"Range", "bytes=0-9"}},
		{false, "GET", blob, 206, []string{"Range", "bytes=100000-"}},
		{false, "GET", blob, 206, []string{"Range", "bytes=-5"}},
		{false, "GET", blob, 206, []string{"Range", "bytes=0-0,5-9"}},
		{false, "GET", blob, 416, []string{"Range", "bytes=99999999-"}},
		{false, "GET", blob, 304, []string{"If-None-Match", `"` + image.Layers[0].Digest.String() + `"`}},
		{false, "HEAD", blob, 206, []string{"Range", "bytes=0-9"}},
		{false, "GET", manifest, 200, []string{"Accept", image.MediaType}},
		{false, "HEAD", manifest, 200, []string{"Accept", image.MediaType}},
		{false, "GET", manifest, 304, []string{"Accept", image.MediaType, "If-None-Match", `"` + image.Digest.String() + `"`}},
		{false, "GET", "/v2/app/manifests/none", 404, nil},
		{false, "HEAD", "/v2/app/manifests/none", 404, nil},
		{false, "GET", "/v2//app/manifests/v1", 301, nil},
		{false, "OPTIONS", "/v2/", 200, nil},
		{false, "POST", "/v2/", 200, nil},
		{true, "GET", "/v2/redirect/blobs/" + image.Digest.String(), 307, []string{"Host", "storage.example.com"}},
		{true, "HEAD", "/v2/redirect/blobs/" + image.Digest.String(), 307, []string{"Host", "storage.example.com"}},
		{true, "GET", "/v2/trailers/tags/list", 200, nil},
		{true, "GET", "/v2/hints/tags/list", 204, nil},
		{true, "GET", "/v2/zipped/tags/list", 200, []string{"Accept-Encoding", "gzip"}},
		{true, "GET", "/v2/zipped/tags/list", 200, nil},
	}
	for _, protocol := range []string{"", "HTTP/1.1", "HTTP/2.0"} {
		t.Run("TLS "+protocol, func(t *testing.T) {
			t.Parallel()
			config, scheme, c := "", "http://", plain(t)
			if protocol != "" {
				config = fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", a.File("server.pem"), a.File("server.key"))
				scheme, c = "https://", overTLS(t, a, protocol == "HTTP/2.0", "")
			}
			buoys := map[bool]*harness.Buoy{false: front(t, registry.URL, config), true: front(t, odd.URL, config)}
			for _, r := range requests {
				name, up := fmt.Sprint(r.method, " ", r.path[:min(len(r.path), 30)], " ", r.header), registry.URL
				if r.odd {
					up = odd.URL
				}
				direct, errDirect := sendAll(plain(t), r.method, up+r.path, r.header)
				through, err := sendAll(c, r.method, scheme+buoys[r.odd].Host+r.path, r.header)
				if err != nil || errDirect != nil {
					t.Fatalf("%s: through bellbuoy %v, directly %v", name, err, errDirect)
				}
				if direct.Status != r.status {
					t.Errorf("%s: directly %d, this test expects %d", name, direct.Status, r.status)
				}
				if through.Status != direct.Status || through.Body != direct.Body {
					t.Errorf("%s: %d with %d bytes, directly %d with %d", name, through.Status, len(through.Body), direct.Status, len(direct.Body))
				}
				for _, h := range names(direct.Header, through.Header) {
					got, want := through.Header[h], direct.Header[h]
					if strings.Contains(r.path, "redirect") || h != "Location" {
						if !slices.Equal(multipart(got), multipart(want)) {
							t.Errorf("%s: %s is %q, directly %q", name, h, got, want)
						}
					}
				}
			}
			sound(t, buoys[false])
			sound(t, buoys[true])
		})
	}
}

// sendAll is send with the trailers in the header, and with the length as net/http understands it.
func sendAll(c *http.Client, method, url string, header []string) (answer, error) {
	res, err := harness.SendBy(c, method, url, nil, header...)
	if res == nil {
		return answer{}, err
	}
	res.Header.Set("Length", fmt.Sprint(res.ContentLength))
	for name, values := range res.Trailer {
		res.Header["Trailer "+name] = values
	}
	return answer{res.StatusCode, res.Header, boundary(harness.BodyOf(res), res.Header.Get("Content-Type"))}, err
}

// boundary replaces the random boundary of the parts of a body.
func boundary(body, contentType string) string {
	if _, random, ok := strings.Cut(contentType, "boundary="); ok {
		return strings.ReplaceAll(body, random, "BOUNDARY")
	}
	return body
}

func multipart(values []string) []string {
	if len(values) == 1 && strings.HasPrefix(values[0], "multipart/") {
		values[0], _, _ = strings.Cut(values[0], ";")
	}
	return values
}

func names(headers ...http.Header) (all []string) {
	for _, h := range headers {
		for name := range h {
			if name != "Date" && !slices.Contains(all, name) {
				all = append(all, name)
			}
		}
	}
	return all
}

// An answer that comes before the body was read reaches the client while the client is still
// sending. The rest of the body is not read as a request.
func TestEarlyAnswers(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() { // answers after the header, and then reads the body
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				br := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					_, _ = io.WriteString(c, "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 8\r\nX-Path: "+r.URL.Path+"\r\n\r\ntoo long")
					_, _ = io.Copy(io.Discard, r.Body)
				}
			}()
		}
	}()
	a := authority.New(t)
	a.Issue("server")
	secure := front(t, "http://"+l.Addr().String(), fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", a.File("server.pem"), a.File("server.key")))
	open := front(t, "http://"+l.Addr().String(), "")
	for name, where := range map[string]struct {
		c    *http.Client
		base string
	}{"plain": {plain(t), open.ProxyURL}, "HTTP/1.1": {overTLS(t, a, false, ""), "https://" + secure.Host}, "HTTP/2": {overTLS(t, a, true, ""), "https://" + secure.Host}} {
		for _, body := range []func() io.Reader{
			func() io.Reader { return strings.NewReader(strings.Repeat("x", 3<<20)) },
			func() io.Reader { return io.LimitReader(zeros{}, 3<<20) }, // chunked
		} {
			for _, target := range []string{"PATCH /v2/a/blobs/uploads/x", "PUT /v2/a/blobs/uploads/x", "POST /v2/a/blobs/uploads/", "PUT /v2/a/manifests/v1"} {
				method, path, _ := strings.Cut(target, " ")
				got, err := send(where.c, method, where.base+path, body())
				if err != nil || got.Status != http.StatusRequestEntityTooLarge || got.Body != "too long" || got.Header.Get("X-Path") != path {
					t.Errorf("%s: %s: got %d %q, %v", name, target, got.Status, got.Body, err)
				}
			}
		}
	}
	got := overhear(t, open.Host, "PATCH /v2/a/blobs/uploads/x HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nGET /v2/smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
	if answers := answersIn(t, got, "PATCH"); len(answers) != 1 || answers[0].Header.Get("X-Path") != "/v2/a/blobs/uploads/x" {
		t.Errorf("got the answer %q", got)
	}
	sound(t, open)
	sound(t, secure)
}

// A client that expects 100 Continue sends its body if the registry accepts the request. It does
// not if the registry refuses it.
func TestExpectContinue(t *testing.T) {
	t.Parallel()
	registry := harness.Registry(t, harness.RegistryOptions{Htpasswd: map[string]string{"ann": "secret"}})
	b := front(t, registry.URL, "")
	for _, tc := range []struct {
		login string
		want  string
	}{{"", "HTTP/1.1 401 "}, {"Authorization: Basic YW5uOnNlY3JldA==\r\n", "HTTP/1.1 202 "}} {
		c, err := net.Dial("tcp", b.Host)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(soon))
		br := bufio.NewReader(c)
		_, _ = io.WriteString(c, "POST /v2/app/blobs/uploads/ HTTP/1.1\r\nHost: "+b.Host+"\r\n"+tc.login+"Expect: 100-continue\r\nContent-Length: 3\r\n\r\n")
		line, _ := br.ReadString('\n')
		if strings.HasPrefix(line, "HTTP/1.1 100 ") {
			_, _ = br.ReadString('\n')
			_, _ = io.WriteString(c, "abc")
			line, _ = br.ReadString('\n')
		} else if tc.login != "" {
			t.Error("no 100 Continue came")
		}
		if !strings.HasPrefix(line, tc.want) {
			t.Errorf("answered %q, want %q", line, tc.want)
		}
	}
	layer := harness.NewImage(harness.ImageOptions{}).Layers[0]
	out := harness.Run(t, nil, "curl", "-sS", "-u", "ann:secret", "-H", "Expect: 100-continue", "-o", "/dev/null", "-w", "%{http_code}", "-T", file(t, "blob", strings.Repeat("x", 2<<20)),
		b.ProxyURL+"/v2/app/blobs/uploads/x?digest="+layer.Digest.String())
	if out != "404" && out != "400" { // there is no such upload
		t.Errorf("curl was answered %s", out)
	}
}
