package main

import (
	"os"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/config"
)

func TestWarningOfDataDirThatAllMayWrite(t *testing.T) {
	for mode, want := range map[os.FileMode]bool{0o700: false, 0o770: false, 0o755: false, 0o777: true, 0o777 | os.ModeSticky: true} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		for _, database := range []config.Secret{"", "postgres://h/d"} {
			text := dataDirWarnings(&config.Config{DataDir: dir, Database: database}).String()
			if warned := strings.Contains(text, "everybody may write"); warned != want {
				t.Errorf("mode %v, database %t: got the warnings %q, want one about writers: %t", mode, database != "", text, want)
			}
		}
	}
}
