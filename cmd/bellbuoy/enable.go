package main

import (
	"fmt"
	"net/http"

	"github.com/spf13/cobra"
)

func newSwitchCommand(a *app, name, short, long string) *cobra.Command {
	return &cobra.Command{Use: name + " WEBHOOK", Short: short, Long: long, Example: "  bellbuoy " + name + " deploy", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeWebhook,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			path, err := c.webhookNamed(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if err := c.call(cmd.Context(), http.MethodPost, path+"/"+name, nil, nil, nil); err != nil {
				return err
			}
			fmt.Fprintf(a.Stdout, "%s: %sd\n", args[0], name)
			return nil
		}}
}
