package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// smallest is the smallest useful file of the documentation.
const smallest = `upstreams:
  - type: registry
    url: http://127.0.0.1:5000
    external_url: https://registry.example.com
webhooks:
  - name: ci
    url: https://ci.example.com/hooks/registry
`

func noEnv(string) (string, bool) { return "", false }

// environment returns a fixed environment.
func environment(vars map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) {
		value, ok := vars[name]
		return value, ok
	}
}

func mustParse(t *testing.T, file string) *Config {
	t.Helper()
	cfg, _, err := Parse("bellbuoy.yaml", []byte(file), noEnv)
	if err != nil {
		t.Fatalf("parsing:\n%v", err)
	}
	return cfg
}

var compareURLs = cmp.Comparer(func(a, b URL) bool { return a == b })

func TestDefaults(t *testing.T) {
	cfg, warnings, err := Parse("bellbuoy.yaml", []byte(smallest), noEnv)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("problems: %v, warnings: %v", err, warnings)
	}
	const s, m, h, d = Duration(time.Second), Duration(time.Minute), Duration(time.Hour), Duration(24 * time.Hour)
	want := &Config{
		Listen:        ":5080",
		DataDir:       "./data",
		Log:           Log{Level: "info", Format: "json"},
		ShutdownGrace: 25 * s,
		ShutdownDelay: 8 * s,
		Limits: Limits{
			HeaderRead: 10 * s, Idle: 2 * m, UpstreamConnect: 10 * s, UpstreamResponseHeader: 15 * m,
			StalledBody: 2 * m, WriteTimeout: 15 * m, HeaderSize: 64 << 10,
		},
		Upstreams: []Upstream{{
			Name: "registry", Type: "registry", URL: "http://127.0.0.1:5000",
			ExternalURL: "https://registry.example.com", Host: "client",
		}},
		Identity: Identity{JWTClaims: []string{"sub"}},
		Store: Store{OnFailure: "pass", Timeout: 2 * s, Retention: Retention{
			Delivered: 7 * d, Pulls: 24 * h, Unmatched: 24 * h, Dead: 30 * d, Attempts: 7 * d, MaxSize: 10 << 30,
		}},
		Detection:     Detection{Accessories: true},
		Correlation:   Correlation{UntaggedPush: 30 * s, UntaggedPushMax: 24 * h, Pull: 30 * s, Repeat: 5 * s},
		Notifications: Notifications{Enabled: true},
		Webhooks: []Webhook{{
			Name: "ci", Enabled: true, URL: NewURL("https://ci.example.com/hooks/registry"), Format: "harbor",
			Events: []string{
				"PUSH_ARTIFACT", "DELETE_ARTIFACT", "UPLOAD_CHART", "DELETE_CHART", "SCANNING_COMPLETED",
				"SCANNING_FAILED", "QUOTA_EXCEED", "QUOTA_WARNING", "REPLICATION",
			},
			Timeout: 15 * s, Concurrency: 8, Order: "tag", Overtaken: "deliver", Group: Group{Most: 20},
			Retry: []Duration{0, 5 * s, 5 * m, 30 * m, 2 * h, 5 * h, 10 * h, 14 * h, 20 * h, 24 * h},
		}},
		Health: Health{Listen: ":5081"},
		Admin:  Admin{Listen: "127.0.0.1:5082"},
	}
	if diff := cmp.Diff(want, cfg, compareURLs, cmpopts.IgnoreUnexported(Config{})); diff != "" {
		t.Errorf("the smallest file (-want +got):\n%s", diff)
	}
}
