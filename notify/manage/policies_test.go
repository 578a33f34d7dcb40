package manage

import (
	"reflect"
	"testing"

	"github.com/bellbuoy/bellbuoy/notify"
	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

// TestPolicyKeepsTheRest: a change by Harbor's API keeps the settings that the API does not have.
func TestPolicyKeepsTheRest(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	def := full(secretURL)
	w := r.made(ops, "team", def)
	change := PolicyChange{Description: "by terraform", Enabled: true, Address: secretURL, AuthHeader: "Bearer other", SkipVerify: true,
		Format: "cloudevents", Events: []string{"DELETE_TAG", "PUSH_ARTIFACT"}, Told: []byte(`{"told":1}`)}
	if err := r.ChangePolicy(background, ops, w.Number, change); err != nil {
		t.Fatal(err)
	}
	want := full(secretURL)
	want.Description, want.AuthHeader = "by terraform", "Bearer other"
	s := must[notify.Stored](t)(r.Stored.Get(background, w.Number))
	if got := must[Definition](t)(definitionOf(&s)); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	p := must[[]Policy](t)(r.Policies(background, dev, "team"))[0]
	if p.AuthHeader != "Bearer other" || p.Address != secretURL || string(p.Told) != `{"told":1}` || !p.Enabled {
		t.Errorf("%+v", p)
	}
	// The other secrets are not sent to another receiver.
	change.Address = "https://evil.example.com/"
	if err := r.ChangePolicy(background, ops, w.Number, change); fields(err) == "" {
		t.Errorf("%v", err)
	}
}

// TestPolicyShowsOnlyItsOwnSecrets: Harbor's API shows Authorization and the path only if they were
// set there.
func TestPolicyShowsOnlyItsOwnSecrets(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	def := simple("ci", secretURL)
	def.AuthHeader = "Bearer secret"
	w := r.made(ops, "team", def)
	shown := func() Policy {
		return must[[]Policy](t)(r.Policies(background, dev, "team"))[0]
	}
	if p := shown(); p.AuthHeader != Mask || p.Address != w.Definition.URL {
		t.Errorf("made in the console: %+v", p)
	}
	same := PolicyChange{Enabled: true, Address: w.Definition.URL, AuthHeader: Mask, Format: "harbor", Told: []byte(`{}`)}
	if err := r.ChangePolicy(background, dev, w.Number, same); err != nil {
		t.Fatal(err)
	}
	if p := shown(); p.AuthHeader != Mask || p.Address != w.Definition.URL {
		t.Errorf("masks sent back reveal: %+v", p)
	}
	told := same
	told.Address, told.AuthHeader = "https://ci.example.com/", "Bearer mine"
	if err := r.ChangePolicy(background, dev, w.Number, told); err != nil {
		t.Fatal(err)
	}
	if p := shown(); p.AuthHeader != "Bearer mine" || p.Address != "https://ci.example.com/" {
		t.Errorf("told: %+v", p)
	}
	def = must[Webhook](t)(r.Webhook(background, ops, w.Number)).Definition
	def.AuthHeader = "Bearer console"
	must[Webhook](t)(r.Change(background, ops, w.Number, 0, def))
	if p := shown(); p.AuthHeader != Mask {
		t.Errorf("set in the console: %+v", p)
	}
}

// TestPolicyOfDisabledWebhook: the policy of a webhook that was disabled is not enabled, and
// enabling the policy enables the webhook.
func TestPolicyOfDisabledWebhook(t *testing.T) {
	r := newRig(t, noWebhooks, webhook.GuardOptions{})
	change := PolicyChange{Name: "ci", Enabled: true, Address: "https://e.example.com/", Format: "harbor", Events: []string{"PUSH_ARTIFACT"}}
	number := must[int64](t)(r.MakePolicy(background, dev, "team", change))
	if err := r.Disable(background, dev, number); err != nil {
		t.Fatal(err)
	}
	if p := must[[]Policy](t)(r.Policies(background, dev, "team"))[0]; p.Enabled {
		t.Error("disabled, and shown as enabled")
	}
	if err := r.ChangePolicy(background, dev, number, change); err != nil {
		t.Fatal(err)
	}
	if p := must[[]Policy](t)(r.Policies(background, dev, "team"))[0]; !p.Enabled {
		t.Error("not enabled")
	}
}
