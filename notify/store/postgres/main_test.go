package postgres

import (
	"os"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify/store/storetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	storetest.StopPostgres()
	os.Exit(code)
}
