package harness

import (
	"cmp"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
)

// ChartMuseumOptions chooses how charts are arranged and guarded. The zero value is one anonymous
// tenant.
type ChartMuseumOptions struct {
	Part          string // "": ChartMuseum with all storage backends; quick-chartmuseum: with local files only
	Depth         int    // --depth
	DepthDynamic  bool   // --depth-dynamic
	ContextPath   string // e.g. /charts
	User          string // Basic authentication; "": none
	Password      string
	AnonymousRead bool     // reads need no login, writes do
	Flags         []string // further flags of the program
}

// ChartMuseumServer is a running ChartMuseum.
type ChartMuseumServer struct {
	Daemon
	URL     string // http://127.0.0.1:port, without the context path
	Host    string
	Storage string // its directory
}

// ChartMuseum starts ChartMuseum with an empty storage.
func ChartMuseum(t T, opts ChartMuseumOptions) *ChartMuseumServer {
	t.Helper()
	path, dir, port := Part(t, cmp.Or(opts.Part, "chartmuseum")), t.TempDir(), FreePort(t)
	args := []string{
		"--port", strconv.Itoa(port), "--storage", "local", "--storage-local-rootdir", filepath.Join(dir, "charts"),
		"--depth", strconv.Itoa(opts.Depth), "--context-path", opts.ContextPath,
	}
	if opts.DepthDynamic {
		args = append(args, "--depth-dynamic")
	}
	if opts.User != "" {
		args = append(args, "--basic-auth-user", opts.User, "--basic-auth-pass", opts.Password)
	}
	if opts.AnonymousRead {
		args = append(args, "--auth-anonymous-get")
	}
	host := fmt.Sprintf("127.0.0.1:%d", port)
	c := &ChartMuseumServer{URL: "http://" + host, Host: host, Storage: filepath.Join(dir, "charts")}
	c.Daemon = Daemon{
		name: "chartmuseum", path: path, args: append(args, opts.Flags...), env: []string{"HOME=" + dir}, dir: dir,
		ready: answers(c.URL+opts.ContextPath+"/health", http.StatusOK),
	}
	c.launch(t)
	return c
}
