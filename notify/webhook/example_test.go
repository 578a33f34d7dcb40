package webhook_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/bellbuoy/bellbuoy/notify/webhook"
)

func ExampleClient_Post() {
	receiver := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println(r.Method, r.URL.Path, r.Header.Get("Webhook-Id"))
	}))
	defer receiver.Close()

	client, err := webhook.New(webhook.Options{URL: receiver.URL + "/hooks/registry"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()
	result := client.Post(context.Background(), webhook.Message{ID: "event-1", Body: []byte(`{"type":"PUSH_ARTIFACT"}`)})
	fmt.Println(result.Outcome, result.Status)
	// Output:
	// POST /hooks/registry event-1
	// delivered 200
}

// For Slack and others the path of the URL is the secret.
func ExampleRedact() {
	fmt.Println(webhook.Redact("https://hooks.example.com/services/T000/B000/XXXX"))
	// Output:
	// https://hooks.example.com/…
}
