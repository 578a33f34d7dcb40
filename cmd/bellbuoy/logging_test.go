package main

import (
	"bytes"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/bellbuoy/bellbuoy/config"
)

// A change of format and level also applies to loggers that were derived before it.
func TestReloadChangesDerivedLoggers(t *testing.T) {
	var out bytes.Buffer
	log, settings, err := newLogger(config.Log{Level: "info", Format: "json"}, &out)
	if err != nil {
		t.Fatal(err)
	}
	derived := log.With(zap.String("webhook", "ci"))
	derived.Info("first")
	derived.Debug("never")
	if err := settings.apply(config.Log{Level: "debug", Format: "console"}); err != nil {
		t.Fatal(err)
	}
	derived.Debug("second")
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	if len(lines) != 2 || !strings.HasPrefix(lines[0], `{"level":"info"`) || !strings.Contains(lines[0], `"webhook":"ci"`) ||
		!strings.Contains(lines[1], "\tDEBUG\tsecond\t") || !strings.Contains(lines[1], `"webhook": "ci"`) {
		t.Errorf("got\n%s", out.String())
	}
}
