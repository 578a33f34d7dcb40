package main

import (
	"context"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/api"
)

// completeWebhooks completes names of webhooks.
func (a *app) completeWebhooks(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.webhookNames(c.Context()), cobra.ShellCompDirectiveNoFileComp
}

// completeWebhook completes the name of a command's only webhook.
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

// webhookNames returns the names of webhooks for completion, from the running bellbuoy or else from
// the file.
func (a *app) webhookNames(ctx context.Context) (names []string) {
	var page listPage[api.V1Webhook] // one page is enough for completion
	if c, err := a.connect(); err == nil && c.call(ctx, http.MethodGet, v1("/webhooks"), url.Values{"limit": {"500"}}, nil, &page) == nil {
		for _, w := range page.Items {
			names = append(names, w.Key)
		}
		return names
	}
	path, err := config.Find(a.configFlag, a.LookupEnv)
	if err != nil {
		return nil
	}
	if c, _, err := config.Load(path, a.LookupEnv); err == nil {
		for i := range c.Webhooks {
			names = append(names, c.Webhooks[i].Name)
		}
	}
	return names
}
