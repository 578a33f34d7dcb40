package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
	"github.com/bellbuoy/bellbuoy/notify/api"
	"github.com/bellbuoy/bellbuoy/notify/manage"
)

func newConsoleCommand(a *app) *cobra.Command {
	return &cobra.Command{Use: "console", Short: "Print a URL that logs in to the console", Args: cobra.NoArgs,
		Long:    "Print a URL of the console. Whoever opens it is logged in as an administrator. It works once, within a minute.",
		Example: "  bellbuoy console",
		RunE:    func(c *cobra.Command, _ []string) error { return runConsole(c.Context(), a) }}
}

func runConsole(ctx context.Context, a *app) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	var got api.V1ConsoleURL
	if err := c.call(ctx, http.MethodPost, v1("/console"), nil, nil, &got); err != nil {
		return err
	}
	fmt.Fprintln(a.Stdout, got.URL)
	return nil
}

// ConsoleURL implements api.V1Operations. An account that came over TCP gets none: the address logs
// in an administrator who outlives a change of that account.
func (d control) ConsoleURL(ctx context.Context, _ access.Principal) (string, error) {
	switch {
	case !cameBySocket(ctx):
		return "", fmt.Errorf("%w: only requests of admin.sock get an address; run bellbuoy console", manage.ErrForbidden)
	case d.door == nil:
		return "", problemText("admin.listen is \"\", which turns the console off; set it and restart bellbuoy")
	}
	u := url.URL{Scheme: "http", Host: reachable(d.listeners.admin.Addr()), Path: access.OncePath,
		RawQuery: url.Values{"ticket": {d.door.Ticket()}}.Encode()}
	if d.wiring.Load().config.Admin.TLS.On() {
		u.Scheme = "https"
	}
	d.log.Info("login address of the console made by command", zap.String("host", u.Host))
	return u.String(), nil
}

// reachable returns an address by which this machine reaches a listener.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
}
