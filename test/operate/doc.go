// Package operate tests bellbuoy as an operator runs it: the commands and their output, the check
// of a configuration, reloads, shutdown, health, webhooks made by the APIs, and the addresses that
// are denied to webhooks.
package operate
