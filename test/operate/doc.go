// Package operate tests what an operator runs and sees: the commands of bellbuoy and the questions
// that they answer, the check of a configuration, reloads, shutdown, health, and the addresses that
// are denied to webhooks.
package operate
