// Package operate shows what an operator runs and sees: the commands of bellbuoy and the questions
// that they answer, the check of a configuration, reloads, shutdown, health, and where webhooks may
// not go.
package operate
