package quota

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

func TestRefused(t *testing.T) {
	const harbor = "adding 2.9 MiB of storage resource, which when updated to current usage of 4.3 MiB will exceed the configured upper limit of 5.0 MiB."
	entry := func(code, message string) string {
		return `{"errors":[{"code":"` + code + `","message":"` + message + `"}]}`
	}
	tests := []struct {
		name    string
		action  detect.Action
		status  int
		body    string
		details string
		refused bool
	}{
		{"Harbor", detect.UploadEnd, 403, entry("DENIED", harbor), harbor, true},
		{"Harbor at a manifest", detect.ManifestPut, 403, entry("DENIED", harbor), harbor, true},
		{"Quay", detect.UploadStart, 403, entry("DENIED", "Quota has been exceeded on namespace"), "Quota has been exceeded on namespace", true},
		{"GitLab", detect.UploadStart, 403, entry("DENIED", "Your action has been rejected because the namespace storage limit has been reached. For more information, visit /help."), "Your action has been rejected because the namespace storage limit has been reached. For more information, visit /help.", true},
		{"ECR", detect.ManifestPut, 400, entry("LIMIT_EXCEEDED", ""), "LIMIT_EXCEEDED", true},
		{"ACR", detect.UploadEnd, 403, entry("DENIED", "The registry has reached its storage limit."), "The registry has reached its storage limit.", true},
		{"Artifactory", detect.UploadEnd, 413, "Datastore disk usage is too high. Contact your administrator.", "Datastore disk usage is too high. Contact your administrator.", true},
		{"detail", detect.UploadEnd, 403, `{"errors":[{"code":"DENIED","message":"denied","detail":"over the quota of 5 GB"}]}`, "over the quota of 5 GB", true},
		{"a page of a proxy", detect.UploadEnd, 413, "<html>413</html>", "Request Entity Too Large", true},
		{"full", detect.ManifestPut, 507, "", "Insufficient Storage", true},
		{"no login", detect.UploadStart, 403, entry("DENIED", "requested access to the resource is denied"), "", false},
		{"a rate limit", detect.UploadStart, 429, entry("TOOMANYREQUESTS", "quota exceeded"), "", false},
		{"a read", detect.ManifestGet, 403, entry("DENIED", "Quota has been exceeded on namespace"), "", false},
		{"a success", detect.UploadEnd, 201, "quota exceeded", "", false},
		{"control characters", detect.UploadEnd, 413, "a\x1b[2J\xff" + strings.Repeat("é", 1000), "a [2J�" + strings.Repeat("é", 508), true},
	}
	for _, tt := range tests {
		op := &detect.Operation{Request: detect.Request{Action: tt.action}, Status: tt.status, Got: detect.Body{Bytes: []byte(tt.body)}}
		details, refused := Refused(op)
		if details != tt.details || refused != tt.refused {
			t.Errorf("%s: got %q %v, want %q %v", tt.name, details, refused, tt.details, tt.refused)
		}
	}
}

// later is a ledger whose CommitLater commits at once.
type later struct {
	detect.Ledger
	*ledger
}

// CommitLater implements detect.Ledger.
func (l later) CommitLater(_ context.Context, _ string, _ bool, decide func(detect.View) (detect.Changes, error)) error {
	c, err := decide(l.ledger)
	for _, row := range c.Put {
		l.rows[row.Key] = row
	}
	l.told = append(l.told, c.Events...)
	return err
}

func TestOneEventForEachRefusedPushAndClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLedger(t, Rule{})
		here, there := NewRefusals(later{ledger: l}), NewRefusals(later{ledger: l})
		op := func(client, repository string, action detect.Action) *detect.Operation {
			return &detect.Operation{Request: detect.Request{Action: action, Repository: repository, Reference: "v1"}, Upstream: "up", At: time.Now(),
				Client: detect.Client{Operator: client}, Status: 413, Sent: detect.Body{Digest: "sha256:ab"}}
		}
		told := func(what string, want int) {
			t.Helper()
			if len(l.told) != want {
				t.Errorf("%s: %d events, want %d", what, len(l.told), want)
			}
			l.told = nil
		}
		for range 3 {
			_ = here.Note(t.Context(), op("alice", "team/a", detect.UploadEnd))
			_ = there.Note(t.Context(), op("alice", "team/a", detect.UploadEnd))
			_ = here.Note(t.Context(), op("alice", "team/a", detect.ManifestPut))
		}
		if e := l.told[0]; e.Type != detect.QuotaExceed || e.Digest != "" || len(e.Tags) > 0 || e.Quota.Project != "team" {
			t.Errorf("refused at a blob: %+v", e)
		}
		told("blobs, tried again and again", 1)
		_ = here.Note(t.Context(), op("bob", "team/a", detect.ManifestPut))
		if e := l.told[0]; e.Digest != "sha256:ab" || len(e.Tags) != 1 || e.Tags[0] != "v1" {
			t.Errorf("refused at a manifest: %+v", e)
		}
		told("another client", 1)
		_ = here.Note(t.Context(), op("alice", "team/b", detect.UploadEnd))
		told("another repository", 1)
		time.Sleep(together)
		_ = here.Note(t.Context(), op("alice", "team/a", detect.UploadEnd))
		told("another push", 1)
	})
}
