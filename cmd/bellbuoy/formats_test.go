package main

import (
	"slices"
	"testing"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

// The configuration knows what each format can say without knowing the formats.
func TestFormatsSayWhatTheConfigurationBelieves(t *testing.T) {
	for _, name := range format.Names() {
		f, err := format.New(name, "w", format.Options{Template: "{}"})
		if err != nil {
			t.Fatal(err)
		}
		var says []string
		for _, kind := range f.Says() {
			says = append(says, string(kind))
		}
		if want := config.FormatEvents(name); !slices.Equal(says, want) {
			t.Errorf("%s says %v, the configuration believes %v", name, says, want)
		}
	}
}
