package harness

import (
	"encoding/json"
	"io"
	"strings"
	"testing"
)

// A Delivery is a line of bellbuoy deliveries --json.
type Delivery struct {
	ID       int64  `json:"id"`
	Webhook  string `json:"webhook"`
	State    string `json:"state"`
	Tag      string `json:"tag"`
	Attempts int    `json:"attempts"`
	Status   int    `json:"status"`
	Reason   string `json:"reason"`
}

// Deliveries returns the deliveries of the running bellbuoy, newest last.
func Deliveries(t testing.TB, b *Buoy, args ...string) (all []Delivery) {
	t.Helper()
	out, err := b.Command(append([]string{"deliveries", "--json"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	for dec := json.NewDecoder(strings.NewReader(out)); ; {
		var d Delivery
		if err := dec.Decode(&d); err == io.EOF {
			return all
		} else if err != nil {
			t.Fatalf("decoding the output of deliveries --json: %v\n%s", err, out)
		}
		all = append(all, d)
	}
}

// FirstDelivery returns the oldest delivery of a webhook.
func FirstDelivery(t testing.TB, b *Buoy, webhook string) Delivery {
	t.Helper()
	all := Deliveries(t, b, "--webhook", webhook)
	if len(all) == 0 {
		return Delivery{}
	}
	return all[0] // the newest is the last
}
