package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/notify/access"
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
	var got consoleAnswer
	if err := c.call(ctx, http.MethodPost, "/console", nil, nil, &got); err != nil {
		return err
	}
	fmt.Fprintln(a.Stdout, got.URL)
	return nil
}

// console handles POST /console: it makes an address of the console that logs in an administrator
// once.
func (api controlAPI) console(w http.ResponseWriter, _ *http.Request) error {
	if api.door == nil {
		return fmt.Errorf("%w: admin.listen is \"\", which turns the console off; set it and restart bellbuoy", errBad)
	}
	u := url.URL{Scheme: "http", Host: reachable(api.listeners.admin.Addr()), Path: access.OncePath,
		RawQuery: url.Values{"ticket": {api.door.Ticket()}}.Encode()}
	if api.wiring.Load().config.Admin.TLS.On() {
		u.Scheme = "https"
	}
	api.log.Info("login address of the console made by command", zap.String("host", u.Host))
	return json.NewEncoder(w).Encode(consoleAnswer{URL: u.String()})
}

// reachable returns an address by which this machine reaches a listener.
func reachable(a net.Addr) string {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return a.String()
	}
	return net.JoinHostPort("localhost", strconv.Itoa(tcp.Port))
}
