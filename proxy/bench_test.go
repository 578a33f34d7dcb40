package proxy

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	godigest "github.com/opencontainers/go-digest"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/detect/track"
	"github.com/bellbuoy/bellbuoy/proxy/listen"
)

// forgetful is a ledger that stores nothing, so that only the code before it is measured.
type forgetful struct{ detect.Ledger }

func (forgetful) Record(...detect.Event) {}

// BenchmarkManifestGet measures a GET of a manifest through net/http's server, the proxy and
// detect, each time by another client. Client and upstream are in this process too, but allocate
// nothing.
func BenchmarkManifestGet(b *testing.B) {
	manifest := manifestOf(5)
	h, err := New(Options{
		Upstreams: []Upstream{{Name: "images", Kind: detect.Registry, URL: &url.URL{Scheme: "http", Host: manifestServer(b, manifest)}}},
		Limits:    Limits{UpstreamConnect: time.Second, UpstreamResponseHeader: time.Minute, StalledBody: time.Minute, WriteTimeout: time.Minute},
		Tracker:   track.New(track.Config{}, forgetful{}, nil),
	})
	if err != nil {
		b.Fatal(err)
	}
	l := listening(b)
	server := listen.New(listen.Options{Handler: h, HeaderRead: time.Minute, Idle: time.Minute, HeaderSize: 64 << 10})
	go server.Serve(l)
	b.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = server.Shutdown(ctx)
	})
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	answers, request := bufio.NewReader(c), []byte(nil)
	b.ReportAllocs()
	before := cpuTime()
	for i := 0; b.Loop(); i++ {
		request = append(request[:0], "GET /v2/team/app/manifests/v1 HTTP/1.1\r\nHost: registry.example.com\r\nUser-Agent: node/"...)
		request = strconv.AppendInt(request, int64(i), 10)
		request = append(request, "\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\n\r\n"...)
		if _, err := c.Write(request); err != nil {
			b.Fatal(err)
		}
		if err := skipMessage(answers, len(manifest)); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuTime()-before)/1e3/float64(b.N), "cpu-µs/op")
}

// cpuTime returns the CPU time that this process has used, in nanoseconds.
func cpuTime() int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

func listening(b *testing.B) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { l.Close() })
	return l
}

// manifestServer starts an upstream that answers everything with a manifest, and returns its
// address.
func manifestServer(b *testing.B, manifest []byte) string {
	l := listening(b)
	answer := fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: application/vnd.oci.image.manifest.v1+json\r\n"+
		"Docker-Content-Digest: %s\r\nDocker-Distribution-Api-Version: registry/2.0\r\nEtag: \"x\"\r\nX-Content-Type-Options: nosniff\r\nDate: Mon, 23 Nov 2026 10:00:00 GMT\r\n\r\n%s",
		len(manifest), godigest.FromBytes(manifest), manifest)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				for requests := bufio.NewReader(c); skipMessage(requests, 0) == nil; {
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}()
		}
	}()
	return l.Addr().String()
}

// skipMessage reads a header and a body of that length.
func skipMessage(r *bufio.Reader, body int) error {
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			_, err := r.Discard(body)
			return err
		}
	}
}

func manifestOf(layers int) []byte {
	var list []string
	for i := range layers {
		list = append(list, fmt.Sprintf(`{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"%s","size":%d}`, godigest.FromString(fmt.Sprint(i)), 1000+i))
	}
	return fmt.Appendf(nil, `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",`+
		`"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":7},"layers":[%s]}`, godigest.FromString("config"), strings.Join(list, ","))
}
