package quota

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

// recorded returns a body that a real Harbor sent.
func recorded(t *testing.T, name string) string {
	t.Helper()
	raw, err := os.ReadFile("../../notify/format/testdata/harbor/" + name + ".json")
	if err != nil {
		t.Fatal(err)
	}
	var r struct{ Body string }
	if err := json.Unmarshal(raw, &r); err != nil {
		t.Fatal(err)
	}
	return r.Body
}

// bodies returns the events in Harbor's format.
func (l *ledger) bodies() []string {
	l.t.Helper()
	f, err := format.New("harbor", "w", format.Options{})
	if err != nil {
		l.t.Fatal(err)
	}
	var all []string
	for _, e := range l.told {
		_, _, body, err := f.Render(e, 0)
		if err != nil {
			l.t.Fatal(err)
		}
		all = append(all, string(body))
	}
	l.told = nil
	return all
}

// For a push, bellbuoy sends the bodies that Harbor was recorded to send for the same push, byte
// for byte.
func TestHarborBodies(t *testing.T) {
	const (
		mib    = 1 << 20
		digest = "sha256:30e2b725a5be697b5991be7864670adef6d01d3bea8e7b1977c4127a6ac9bc03"
		exceed = "quota-exceed-crane__quota-default__QUOTA_EXCEED"
	)
	admin := detect.Client{Operator: "admin"}
	l := newLedger(t, Rule{})
	l.quotas = New(func(string) Rule { return Rule{Limit: 5 * mib, WarnAt: []float64{85}} })
	of := func(repository, digest string, at, layer int64) detect.Changes {
		c := push(image(repository, digest, layer), "v1")
		c.Events[0].At, c.Events[0].Client, c.Events[0].Visibility, c.Events[0].FirstSeen = time.Unix(at, 0), admin, "private", time.Unix(at, 0)
		return c
	}
	says := func(what, want string) {
		t.Helper()
		if got := l.bodies(); len(got) != 1 || got[0] != want {
			t.Errorf("%s:\n got %s\nwant %s", what, strings.Join(got, "\n     "), want)
		}
	}

	l.commit(of("quota/q3", digest, 1795424335, 43*mib/10))
	says("a push over the level", recorded(t, "quota-push-86pct-warning__quota-default__QUOTA_WARNING__3"))

	// Harbor refuses a push over the limit; bellbuoy reports it and names the artifact
	l.commit(of("quota/q4", digest, 1795424373, 29*mib/10))
	says("a push over the limit", strings.Replace(recorded(t, exceed), `{"repository":`, `{"resources":[{"digest":"`+digest+`","tag":"v1"}],"repository":`, 1))

	refused := &detect.Operation{Request: detect.Request{Action: detect.UploadEnd, Repository: "quota/q4"}, At: time.Unix(1795424373, 0), Client: admin, Status: 403,
		Got: detect.Body{Bytes: []byte(`{"errors":[{"code":"DENIED","message":"adding 2.9 MiB of storage resource, which when updated to current usage of 4.3 MiB will exceed the configured upper limit of 5.0 MiB."}]}`)}}
	if err := NewRefusals(later{ledger: l}).Note(t.Context(), refused); err != nil {
		t.Fatal(err)
	}
	says("a push that the registry refuses", recorded(t, exceed))
}
