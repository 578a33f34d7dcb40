package carry

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"
)

// deadlines counts how often the read deadline of its connection is set.
type deadlines struct {
	http.ResponseWriter
	moved int
}

func (d *deadlines) SetReadDeadline(time.Time) error { d.moved++; return nil }

// The transport continues to read a body after an early answer. Over HTTP/2 the stream has ended by
// then, and setting its deadline would end the process.
func TestBodyAfterTheAnswerSetsNoDeadline(t *testing.T) {
	d := &deadlines{}
	u := &requestBody{ReadCloser: io.NopCloser(strings.NewReader("ab")), x: &Exchange{}, control: http.NewResponseController(d), allowed: allowance{limit: time.Nanosecond}}
	one := make([]byte, 1)
	if n, err := u.Read(one); n != 1 || err != nil || d.moved != 1 {
		t.Fatalf("%d %v, moved %d times", n, err, d.moved)
	}
	u.leave()
	if rest, err := io.ReadAll(u); string(rest) != "b" || err != nil || d.moved != 1 {
		t.Errorf("%q %v, moved %d times", rest, err, d.moved)
	}
}
