package proxy

import (
	"io"
	"log"
	"os"
	"testing"
)

func TestMain(m *testing.M) {
	log.SetOutput(io.Discard) // net/http's transport tells of the odd answers that the tests send
	os.Exit(m.Run())
}
