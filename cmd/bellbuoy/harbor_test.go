package main

import (
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Of two names that would be given one number, neither is meant by it.
func TestAskedNumbersAreNobodysTwice(t *testing.T) {
	asked, err := lru.New[int64, string](8)
	if err != nil {
		t.Fatal(err)
	}
	d := projectDesk{asked: asked}
	for _, step := range []struct {
		name, want string
	}{{"team", "team"}, {"team", "team"}, {"x-crafted", ""}, {"team", ""}} {
		d.ask(7, step.name)
		if got, _ := asked.Get(7); got != step.want {
			t.Errorf("after %s: %q, want %q", step.name, got, step.want)
		}
	}
}
