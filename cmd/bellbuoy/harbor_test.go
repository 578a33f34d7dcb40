package main

import (
	"testing"

	lru "github.com/hashicorp/golang-lru/v2"
)

// A number that was shown for two names stands for neither of them.
func TestNumberShownForTwoProjects(t *testing.T) {
	shown, err := lru.New[int64, string](8)
	if err != nil {
		t.Fatal(err)
	}
	d := projectDesk{shown: shown}
	for _, step := range []struct {
		name, want string
	}{{"team", "team"}, {"team", "team"}, {"x-crafted", ""}, {"team", ""}} {
		d.noteShown(7, step.name)
		if got, _ := shown.Get(7); got != step.want {
			t.Errorf("after noteShown(7, %q): got the name %q, want %q", step.name, got, step.want)
		}
	}
}
