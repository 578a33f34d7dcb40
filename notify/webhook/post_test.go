package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// receiver is a test server and the client that posts to it.
func receiver(t *testing.T, handler http.HandlerFunc, options ...func(*Options)) *Client {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return clientFor(t, server.URL+"/hooks/registry", options...)
}

func clientFor(t *testing.T, url string, options ...func(*Options)) *Client {
	t.Helper()
	o := Options{URL: url, UserAgent: "bellbuoy/test", Timeout: 5 * time.Second}
	for _, set := range options {
		set(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func message() Message {
	return Message{ID: "0199b8a0-1", ContentType: "application/json", Body: []byte(`{"type":"PUSH_ARTIFACT"}`)}
}

func TestStatusDecidesOutcome(t *testing.T) {
	type want struct {
		outcome Outcome
		reason  Reason
	}
	special := map[int]want{
		400: {Permanent, Reason4xx}, 405: {Permanent, Reason4xx}, 413: {Permanent, Reason4xx},
		415: {Permanent, Reason4xx}, 422: {Permanent, Reason4xx}, 501: {Permanent, Reason5xx},
		410: {Gone, Reason4xx}, 429: {Retry, ReasonRateLimited},
	}
	classes := map[int]want{
		1: {Retry, ReasonOther}, 2: {Delivered, ReasonNone}, 3: {Retry, ReasonRedirect},
		4: {Retry, Reason4xx}, 5: {Retry, Reason5xx}, 6: {Retry, ReasonOther}, 9: {Retry, ReasonOther},
	}
	for status := 200; status < 1000; status++ {
		expect, ok := special[status]
		if !ok {
			expect, ok = classes[status/100]
		}
		if !ok {
			expect = want{Retry, ReasonOther}
		}
		outcome, reason := outcomeOf(status)
		if (want{outcome, reason}) != expect {
			t.Errorf("status %d: %v %v, want %v", status, outcome, reason, expect)
		}
	}
}

func TestStatusOverTheWire(t *testing.T) {
	for _, status := range []int{200, 201, 202, 204, 206, 299, 302, 304, 307, 400, 401, 403, 404, 408, 410, 418, 429, 500, 501, 503, 599} {
		c := receiver(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Retry-After", "7")
			w.WriteHeader(status)
		})
		got := c.Post(t.Context(), message())
		outcome, reason := outcomeOf(status)
		if got.Status != status || got.Outcome != outcome || got.Reason != reason {
			t.Errorf("status %d: %+v", status, got)
		}
		if wait := got.After == 7*time.Second; wait != (outcome == Retry) {
			t.Errorf("status %d: After %v", status, got.After)
		}
		if (got.Err == "") != (outcome == Delivered) || got.Latency <= 0 {
			t.Errorf("status %d: Err %q, Latency %v", status, got.Err, got.Latency)
		}
	}
}

func TestHeadersOfAPost(t *testing.T) {
	var got *http.Request
	var body []byte
	c := receiver(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
	}, func(o *Options) {
		o.AuthHeader = "raw value, no scheme"
		o.Headers = map[string]string{"x-team": "blue", "Host": "virtual.example", "user-agent": "AzureContainerRegistry/1.0"}
	})
	m := message()
	m.ContentType = "application/cloudevents+json"
	m.Header = http.Header{"ce-id": {"1"}, "Webhook-Id": {"forged"}, "Webhook-Signature": {"v1,forged"}, "Content-Length": {"3"}}
	before := time.Now().Unix()
	if r := c.Post(t.Context(), m); r.Outcome != Delivered {
		t.Fatalf("%+v", r)
	}
	want := map[string]string{
		"Content-Type": "application/cloudevents+json", "Authorization": "raw value, no scheme", "X-Team": "blue",
		"User-Agent": "AzureContainerRegistry/1.0", "Ce-Id": "1", "Webhook-Id": m.ID, "Webhook-Signature": "",
		"Content-Length": fmt.Sprint(len(m.Body)), "Idempotency-Key": "", "Accept-Encoding": "",
	}
	for name, value := range want {
		if got.Header.Get(name) != value {
			t.Errorf("%s: %q, want %q", name, got.Header.Get(name), value)
		}
	}
	var timestamp int64
	if _, err := fmt.Sscan(got.Header.Get("Webhook-Timestamp"), &timestamp); err != nil || timestamp < before || timestamp > time.Now().Unix() {
		t.Errorf("webhook-timestamp %q", got.Header.Get("Webhook-Timestamp"))
	}
	if got.Method != "POST" || got.Host != "virtual.example" || got.URL.Path != "/hooks/registry" || !bytes.Equal(body, m.Body) {
		t.Errorf("%s %s%s %q", got.Method, got.Host, got.URL, body)
	}
}

func TestAuthorizationPrecedence(t *testing.T) {
	for _, test := range []struct {
		name, auth, header, want string
	}{
		{"url", "", "", "Basic cm9ib3Q6dG9rZW4="},
		{"headers over url", "", "Bearer h", "Bearer h"},
		{"auth_header over all", "Bearer a", "Bearer h", "Bearer a"},
	} {
		var got string
		server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header.Get("Authorization") }))
		c := clientFor(t, strings.Replace(server.URL, "http://", "http://robot:token@", 1), func(o *Options) {
			o.AuthHeader = test.auth
			if test.header != "" {
				o.Headers = map[string]string{"authorization": test.header}
			}
		})
		c.Post(t.Context(), message())
		server.Close()
		if got != test.want {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
}

func TestUnsendableMessageIsPermanent(t *testing.T) {
	c := receiver(t, func(http.ResponseWriter, *http.Request) { t.Error("it was sent") })
	for name, m := range map[string]Message{
		"no id":        {Body: []byte("x")},
		"split id":     {ID: "a\r\nX-Evil: 1"},
		"content type": {ID: "a", ContentType: "a\nb"},
		"header name":  {ID: "a", Header: http.Header{"a b": {"c"}}},
		"header value": {ID: "a", Header: http.Header{"Ce-Subject": {"a\x00"}}},
	} {
		if r := c.Post(t.Context(), m); r.Outcome != Permanent || r.Reason != ReasonBody || r.Err == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}

func TestCanceledIsRetried(t *testing.T) {
	arrived := make(chan struct{})
	c := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		close(arrived)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	if r := c.Post(ctx, message()); r.Outcome != Retry || r.Reason != ReasonCanceled || r.Status != 0 {
		t.Errorf("%+v", r)
	}
}

func TestCallersDeadline(t *testing.T) {
	c := receiver(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if r := c.Post(ctx, message()); r.Outcome != Retry || r.Reason != ReasonTimeout {
		t.Errorf("%+v", r)
	}
}

func TestConcurrencyBoundsTheConnections(t *testing.T) {
	var now, most, served atomic.Int32
	c := receiver(t, func(http.ResponseWriter, *http.Request) {
		n := now.Add(1)
		defer now.Add(-1)
		for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
		}
		served.Add(1)
	}, func(o *Options) { o.Concurrency = 2; o.SigningSecrets = []string{newSecret} })
	var posts sync.WaitGroup
	for range 40 {
		posts.Go(func() {
			if r := c.Post(t.Context(), message()); r.Outcome != Delivered {
				t.Errorf("%+v", r)
			}
		})
	}
	posts.Wait()
	if most.Load() > 2 || served.Load() != 40 {
		t.Errorf("%d at once, %d served", most.Load(), served.Load())
	}
}
