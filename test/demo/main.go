// Command demo shows bellbuoy with real programs, on free ports of this machine: bellbuoy in front
// of a registry and a ChartMuseum, an image that crane pushes, pulls and deletes, a chart for which
// curl does the same, and every webhook as it arrives. Then it keeps running, so that you can try
// more. With -once it exits, and fails if a webhook is missing.
//
// It leaves only the programs that it has built or installed, and lists these before. On a machine
// where nothing has been compiled it takes less than two minutes of CPU time.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/bellbuoy/bellbuoy/test/harness"
	"github.com/bellbuoy/bellbuoy/test/parts"
)

func main() {
	once := flag.Bool("once", false, "exit when everything was shown; fail where a webhook is missing")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *once); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, once bool) error {
	return harness.Within(ctx, out, func(t *harness.Program) {
		have := chooseTools()
		if err := have.announce(out); err != nil {
			t.Fatalf("%w", err)
		}
		if err := have.prepare(ctx); err != nil {
			t.Fatalf("%w", err)
		}
		h := openHarbour(t, out, have)
		h.play(t, out)
		if once {
			fmt.Fprintf(out, "All %d webhooks arrived.\n", len(h.hooks.Posts("")))
			return
		}
		h.invite(out)
		<-ctx.Done()
		fmt.Fprintln(out, "\nEnding.")
	})
}

// harbour has everything that runs.
type harbour struct {
	tools    tools
	registry *harness.RegistryServer
	charts   *harness.ChartMuseumServer
	hooks    *harness.Receiver
	buoy     *harness.Buoy
	printer  *printer
}

// The only user of the registry and of ChartMuseum, so that webhooks have an operator.
const user, password = "demo", "demo"

func openHarbour(s *harness.Program, out io.Writer, have tools) *harbour {
	h := &harbour{tools: have, printer: newPrinter(out)}
	done := parts.Progress(os.Stderr, "starting")
	defer done()
	if have.registry == "" {
		h.registry = harness.CraneRegistryOf(s, have.crane)
	} else {
		h.registry = harness.Registry(s, harness.RegistryOptions{
			Part: have.registry, Delete: true, Htpasswd: map[string]string{user: password},
		})
	}
	h.charts = harness.ChartMuseum(s, harness.ChartMuseumOptions{Part: have.chartmuseum, User: user, Password: password})
	h.hooks = harness.NewReceiver(s)
	h.hooks.Answer("/hook", h.printer.webhook)
	port := harness.FreePort(s)
	config := fmt.Sprintf(`upstreams:
  - type: registry
    url: %s
    external_url: http://127.0.0.1:%d
    credentials: {username: %s, password: %s}
  - type: chartmuseum
    url: %s
    external_url: http://127.0.0.1:%d
    credentials: {username: %s, password: %s}
webhooks:
  - name: demo
    url: %s
    events: ["*"]
`, h.registry.URL, port, user, password, h.charts.URL, port, user, password, h.hooks.URL("/hook"))
	h.buoy = harness.BellbuoyWith(s, harness.BuoyOptions{Port: port}, config)
	fmt.Fprintf(out, "\nbellbuoy at %s in front of a registry (%s) and ChartMuseum (%s), with\n\n%s\n\n",
		h.buoy.ProxyURL, h.registry.URL, h.charts.URL, indent(config))
	return h
}

// invite prints commands to try.
func (h *harbour) invite(out io.Writer) {
	paths, err := parts.Find(context.Background(), h.tools.crane)
	if err != nil {
		return // cannot happen: the file was just written
	}
	fmt.Fprintf(out, `It keeps running until Ctrl-C. Try it from another terminal, and watch the webhooks arrive here:

  docker login -u %[1]s -p %[2]s %[3]s
  docker pull alpine && docker tag alpine %[3]s/team/alpine:3 && docker push %[3]s/team/alpine:3

  %[4]s auth login -u %[1]s -p %[2]s %[3]s
  %[4]s append -f <(tar c README.md) --oci-empty-base -t %[3]s/team/readme:v1
  %[4]s tag %[3]s/team/readme:v1 v2

  helm create mine && helm package mine
  curl -u %[1]s:%[2]s --data-binary @mine-0.1.0.tgz %[5]s/api/charts
  helm pull mine --repo %[5]s --username %[1]s --password %[2]s

  curl %[6]s/metrics

`, user, password, h.buoy.Host, paths[0], h.buoy.ProxyURL, h.buoy.HealthURL)
}
