package main

import (
	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
)

// completeWebhooks offers the names of webhooks to a shell.
func (a *app) completeWebhooks(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.webhookNames(c.Context()), cobra.ShellCompDirectiveNoFileComp
}

// completeWebhook is completeWebhooks for a command that takes one.
func (a *app) completeWebhook(c *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return a.completeWebhooks(c, args, begun)
}

func completeStates(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return []string{"pending", "delivered", "dead", "parked"}, cobra.ShellCompDirectiveNoFileComp
}

func completeTypes(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	return config.EventTypes(), cobra.ShellCompDirectiveNoFileComp
}
