package webhook

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// TestShown: all headers of a POST are shown, but no secrets.
func TestShown(t *testing.T) {
	c, err := New(Options{
		URL: "https://user:hunter2@ci.example.com/", AuthHeader: "Bearer hunter2", Headers: map[string]string{"X-Token": "hunter2"},
		SigningSecrets: []string{"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"},
		Signatures:     []Signature{{Header: "X-Gitlab-Token", Algorithm: "token", Secret: "hunter2"}, {Header: "X-Hub-Signature-256", Prefix: "sha256=", Secret: "hunter2"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := c.Shown(Message{ID: "id_1", Body: []byte("{}"), Header: http.Header{"Ce-Type": {"push"}}})
	for name, want := range map[string]string{
		"Authorization": "***", "X-Token": "***", "X-Gitlab-Token": "***", "X-Hub-Signature-256": "***", "Webhook-Signature": "***",
		"Webhook-Id": "id_1", "Ce-Type": "push", "Content-Type": "application/json", "Webhook-Timestamp": "(seconds at each attempt)",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	for name, values := range got {
		if strings.Contains(strings.Join(values, " "), "hunter2") {
			t.Errorf("%s shows a secret: %q", name, values)
		}
	}
}

// TestReach: Reach connects and sends no request.
func TestReach(t *testing.T) {
	asked := 0
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { asked++ }))
	server.StartTLS()
	defer server.Close()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, tt := range map[string]struct {
		options Options
		problem string // a part; "": none
	}{
		"trusted":   {Options{URL: server.URL, TLS: TLS{InsecureSkipVerify: true}}, ""},
		"its CA":    {Options{URL: server.URL}, "certificate"},
		"plaintext": {Options{URL: strings.Replace(server.URL, "https", "http", 1) + "/x"}, ""}, // nothing is sent, so the mistake is not noticed
		"nobody":    {Options{URL: "http://" + closed.Addr().String()}, "refused"},
		"denied":    {Options{URL: "http://169.254.169.254/"}, "denied by egress"},
	} {
		c, err := New(tt.options)
		if err != nil {
			t.Fatal(err)
		}
		err = c.Reach(t.Context())
		c.Close()
		if (err == nil) != (tt.problem == "") || err != nil && !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if asked != 0 {
		t.Errorf("%d requests were sent", asked)
	}
}
