package main

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/bellbuoy/bellbuoy/test/authority"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

// A contender is a proxy that runs in front of an upstream.
type contender struct {
	address string
	pid     int   // 0: there is no proxy between client and upstream
	buoy    *buoy // nil for others
}

// A peer is a proxy that can be put in front of an upstream (host:port), with TLS to the client
// where there is a certificate.
type peer struct {
	name  string
	start func(s *stage, upstream string, c *authority.Pair) contender
}

// peers are the columns of the table. Each is configured as its documentation advises for a
// registry: connections to the upstream stay open, nothing is buffered on disk or delayed, requests
// are not logged, and bodies have no limit.
var peers = []peer{
	{"bellbuoy", startBellbuoy},
	{deriving, startDeriving},
	{scanning, startScanning},
	{"nginx", startNginx},
	{"HAProxy", startHAProxy},
	{"Caddy", startCaddy},
	{nginx32, startNginx32},
	{direct, func(_ *stage, upstream string, _ *authority.Pair) contender { return contender{address: upstream} }},
}

// These take part only in workloads where they show a difference: quotas, replications and scans in
// pushes, larger buffers in downloads, no proxy where the client speaks the protocol of the
// registry.
const (
	deriving = "bellbuoy with quota and replication"
	scanning = "bellbuoy with a scanner that hangs"
	nginx32  = "nginx, 32 KiB buffers"
	direct   = "direct"
)

func (p peer) takesPart(w workload) bool {
	switch p.name {
	case deriving, scanning:
		return w.name == "manifest-put"
	case nginx32:
		return w.name == "blob-down"
	case direct:
		return w.protocol == plain
	}
	return true
}

func free(s *stage) string { return fmt.Sprintf("127.0.0.1:%d", harness.FreePort(s)) }

// configured writes a configuration file into a directory of its own.
func configured(s *stage, name, text string) string {
	path := filepath.Join(s.TempDir(), name)
	s.must(os.WriteFile(path, []byte(text), 0o644))
	return path
}

// bellbuoyConfig is the configuration in the table: all events are recorded, and one webhook gets
// the pushes. Quiet times are shorter than by default, so that each pull is decided within its own
// measurement.
const bellbuoyConfig = `
log: {level: warn}
correlation: {pull: 1s}
upstreams: [%s]
webhooks: [{name: ci, url: %q, events: [PUSH_ARTIFACT]}]
`

// derivingConfig counts every push in the usage of its project and adds it to the run of a
// replication. Neither causes an event during the measurement.
const derivingConfig = `
projects: [{match: "*", quota: {limit: 1000TiB, warn_at: [80%]}}]
replication: [{name: all, match: {source_cidrs: [127.0.0.0/8]}, quiet: 1h}]
`

func startBellbuoy(s *stage, upstream string, c *authority.Pair) contender {
	return startBellbuoyWith(s, plainEntry(upstream), c, "")
}

func startDeriving(s *stage, upstream string, c *authority.Pair) contender {
	return startBellbuoyWith(s, plainEntry(upstream), c, derivingConfig)
}

// startScanning starts bellbuoy with a scanner that accepts connections and never answers, so that
// every push waits for a scan.
func startScanning(s *stage, upstream string, c *authority.Pair) contender {
	hangs, err := net.Listen("tcp", "127.0.0.1:0")
	s.must(err)
	s.Cleanup(func() { _ = hangs.Close() })
	return startBellbuoyWith(s, plainEntry(upstream), c, fmt.Sprintf("scanners: [{name: hangs, url: \"http://%s\"}]\n", hangs.Addr()))
}

func startBellbuoyWith(s *stage, entry string, c *authority.Pair, more string) contender {
	config := fmt.Sprintf(bellbuoyConfig, entry, newSink(s).url("/")) + more
	if c != nil {
		config += fmt.Sprintf("tls: {cert_file: %q, key_file: %q}\n", c.Cert, c.Key)
	}
	b := startBuoy(s, config)
	return contender{b.Host, b.Pid(), &b}
}

// Two worker processes for two cores. An answer is passed on as it arrives, through large buffers.
const nginxConfig = `daemon off;
worker_processes 2;
pid nginx.pid;
error_log stderr error;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  upstream registry { server %[1]s; keepalive 64; keepalive_requests 1000000; }
  server {
    listen %[2]s%[3]s;
    keepalive_requests 1000000;
    client_max_body_size 0;
    location / {
      proxy_pass http://registry;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_read_timeout 900;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_buffer_size %[4]s;
      proxy_buffers 8 %[4]s;
    }
  }
}
`

// startNginx starts nginx with buffers of 16 KiB. With its default of 4 KiB a download costs more
// than twice as much. The last column shows buffers of 32 KiB.
func startNginx(s *stage, upstream string, c *authority.Pair) contender {
	return nginxWith("16k", s, upstream, c)
}

func startNginx32(s *stage, upstream string, c *authority.Pair) contender {
	return nginxWith("32k", s, upstream, c)
}

func nginxWith(buffer string, s *stage, upstream string, c *authority.Pair) contender {
	address, tls := free(s), ""
	if c != nil {
		tls = fmt.Sprintf(" ssl http2; ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.2 TLSv1.3", c.Cert, c.Key)
	}
	config := configured(s, "nginx.conf", fmt.Sprintf(nginxConfig, upstream, address, tls, buffer))
	return contender{address: address, pid: s.start(address, s.part("nginx"), "-p", filepath.Dir(config), "-c", config)}
}

const haproxyConfig = `global
  nbthread 2
  maxconn 4096
  ssl-default-bind-options ssl-min-ver TLSv1.2
defaults
  mode http
  option splice-response
  http-reuse always
  timeout connect 10s
  timeout client 15m
  timeout server 15m
frontend in
  bind %[2]s%[3]s
  option forwardfor
  http-request set-header X-Forwarded-Proto %[4]s
  default_backend registry
backend registry
  server one %[1]s
`

func startHAProxy(s *stage, upstream string, c *authority.Pair) contender {
	address, tls, proto := free(s), "", "http"
	if c != nil {
		tls, proto = fmt.Sprintf(" ssl crt %s alpn h2,http/1.1", c.Both), "https"
	}
	config := configured(s, "haproxy.cfg", fmt.Sprintf(haproxyConfig, upstream, address, tls, proto))
	return contender{address: address, pid: s.start(address, s.part("haproxy"), "-db", "-f", config)}
}

const caddyConfig = `{
	admin off
	auto_https off
	persist_config off
	log {
		level ERROR
	}
	servers {
		protocols h1 h2
	}
}
%[2]s {
%[3]s	reverse_proxy %[1]s {
		transport http {
			keepalive_idle_conns_per_host 64
		}
	}
}
`

func startCaddy(s *stage, upstream string, c *authority.Pair) contender {
	address := free(s)
	site, tls := "http://"+address, ""
	if c != nil {
		site, tls = "https://"+address, fmt.Sprintf("\ttls %s %s\n", c.Cert, c.Key)
	}
	config := configured(s, "Caddyfile", fmt.Sprintf(caddyConfig, upstream, site, tls))
	return contender{address: address, pid: s.start(address, s.part("caddy"), "run", "--config", config, "--adapter", "caddyfile")}
}

func (s *stage) part(name string) string { return harness.Part(s, name) }
