package harness

import (
	"fmt"
	"net/http"
)

// s3Bucket is the one bucket of an S3Server.
const s3Bucket = "registry"

// An S3Server is gofakes3, which speaks Amazon's S3 API, with one bucket in memory. It does not
// check signatures.
type S3Server struct {
	Daemon
	URL string // http://127.0.0.1:port
}

// S3 starts a fake S3 with an empty bucket. RegistryOptions.S3 puts a registry's storage there.
func S3(t T) *S3Server {
	t.Helper()
	host := fmt.Sprintf("127.0.0.1:%d", FreePort(t))
	s := &S3Server{URL: "http://" + host}
	s.Daemon = Daemon{
		name: "gofakes3", path: Part(t, "gofakes3"),
		args: []string{"-host", host, "-backend", "memory", "-initialbucket", s3Bucket},
		env:  []string{"HOME=" + t.TempDir()}, ready: answers(s.URL+"/", http.StatusOK),
	}
	s.launch(t)
	return s
}
