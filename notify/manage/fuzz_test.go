package manage

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/config"
	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// FuzzDefinition checks that a definition of a limited account is refused with problems or keeps
// to the limits, that it is shown without secrets, and that the shown form, when it is sent back,
// gives the same definition.
func FuzzDefinition(f *testing.F) {
	for _, d := range []Definition{full(secretURL), simple("a", "http://localhost/"), {Name: "b", URL: "https://e.example.com/{tag}", Preset: "keel"}} {
		seed, err := json.Marshal(d)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(seed))
	}
	f.Add(`{"name":"a","url":"https://e.example.com/***","signing_secrets":["***","***2"],"headers":{"A":"***"},"retry":null}`)
	f.Add(`{"name":"a","url":"https://e.example.com","format":"template","format_options":{"text":"{{range 9}}{{.type}}{{end}}"},"auth_header":"${HOME}"}`)
	c, _, err := config.Parse("bellbuoy.yaml", []byte(noWebhooks), func(string) (string, bool) { return "", false })
	if err != nil {
		f.Fatal(err)
	}
	b := &Builder{Config: c, Guard: webhook.NewGuard(webhook.GuardOptions{})}
	f.Fuzz(func(t *testing.T, body string) {
		var def Definition
		if len(body) > mostDefinition || json.Unmarshal([]byte(body), &def) != nil {
			return
		}
		stored, err := json.Marshal(def)
		if err != nil {
			t.Fatal(err)
		}
		h, err := b.Stored(&notify.Stored{Key: "team/x", Project: "team", Name: def.Name, Limited: true, Definition: stored})
		if err != nil {
			if problems, ok := errors.AsType[Problems](err); !ok || len(problems) == 0 {
				t.Errorf("%q: %v", body, err)
			}
			return
		}
		defer h.Client.Close()
		if h.Project != "team" || h.Complete.Proxy != "" || h.Complete.TLS.InsecureSkipVerify || strings.Contains(def.AuthHeader, "${") {
			t.Errorf("%q is beyond the limits: %+v", body, h.Complete)
		}
		shown := def.masked()
		if shown.AuthHeader != "" && shown.AuthHeader != Mask {
			t.Errorf("%q shows %q", body, shown.AuthHeader)
		}
		if again, err := shown.unmasked(def, false); err != nil || !reflect.DeepEqual(again, def) {
			t.Errorf("%q: %v\ngot  %+v\nwant %+v", body, err, again, def)
		}
	})
}
