package format

import (
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Sample returns an example event of the type, for test messages, previews and checks of templates.
func Sample(t detect.Type) detect.Event {
	const digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	e := detect.Event{
		ID: "019b7c9b-1d88-7000-8000-000000000000", Type: t, At: at, FirstSeen: at, Upstream: "registry", Visibility: "private",
		External:   detect.External{Scheme: "https", Host: "registry.example.com"},
		Repository: "bellbuoy/ping",
		Client:     detect.Client{Operator: "bellbuoy", Address: "127.0.0.1", UserAgent: "bellbuoy"},
	}
	switch t {
	case detect.UploadChart, detect.DownloadChart, detect.DeleteChart:
		e.Repository = "bellbuoy"
		e.Chart = &detect.Chart{Name: "ping", Version: "1.0.0", Type: "application", Digest: digest, Size: 1024}
		return e
	case detect.Replication:
		e.Repository = ""
		e.Replication = &detect.ReplicationRun{Name: "dr-site", Status: "Success", Trigger: "MANUAL", ArtifactType: "image", Started: at,
			Source:      detect.Endpoint{Type: "docker-registry", URL: "https://registry.example.com", Namespace: "bellbuoy"},
			Destination: detect.Endpoint{Type: "docker-registry", URL: "https://dr.example.com", Namespace: "bellbuoy"},
			Succeeded:   []detect.Replicated{{Repository: "ping", References: []string{"v1.0.0"}}}}
		return e
	case detect.QuotaExceed:
		e.Quota = &detect.Quota{Project: "bellbuoy", Limit: 100 << 20, Used: 90 << 20, Added: 20 << 20}
	case detect.QuotaWarning:
		e.Quota = &detect.Quota{Project: "bellbuoy", Limit: 100 << 20, Used: 90 << 20, Level: 85}
	case detect.ScanningCompleted, detect.ScanningFailed:
		e.Scan = sampleScan(t, at)
	}
	e.Tags, e.Digest = []string{"v1.0.0"}, digest
	e.Artifact = &detect.Artifact{Kind: detect.Image, MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1024,
		Platforms: []string{"linux/amd64"}}
	return e
}

func sampleScan(t detect.Type, at time.Time) *detect.Scan {
	s := &detect.Scan{ReportID: "3f1d2a6e-0000-4000-8000-000000000000", Status: "Success", Severity: "High", Started: at.Add(-8 * time.Second), Ended: at,
		Scanner: &detect.Scanner{Name: "Trivy", Vendor: "Aqua Security", Version: "v0.0.0"},
		Summary: &detect.Summary{Total: 2, Fixable: 1, BySeverity: map[string]int{"High": 1, "Low": 1}},
		Findings: []detect.Finding{{ID: "CVE-2099-0001", Description: "an example", Links: []string{"https://example.com/CVE-2099-0001"}, Package: "bell", Version: "1.2.3",
			FixedVersion: "1.2.4", Severity: "High", CVSS: 7.5}}}
	if t == detect.ScanningFailed {
		s.Status, s.Severity, s.Summary, s.Findings, s.Reason = "Error", "", nil, nil, "the scanner answered 500"
	}
	return s
}
