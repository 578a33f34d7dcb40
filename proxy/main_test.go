package proxy

import (
	"io"
	"log"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's transport logs the odd answers of the tests
	os.Exit(m.Run())
}
