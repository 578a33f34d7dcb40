package detect

import "time"

// This file has the parts of the events of scans, quotas and replications.

// Scan is what a scanner found in an artifact, or why it found nothing.
type Scan struct {
	// of the scanner's report; unique for each scan
	ReportID  string `json:"report_id"`
	MediaType string `json:"media_type,omitempty"` // of the report
	Status    string `json:"status"`               // Success, Error
	Reason    string `json:"reason,omitempty"`     // of an Error
	// the worst finding's: None, Unknown, Negligible, Low, Medium, High, Critical
	Severity string    `json:"severity,omitempty"`
	Started  time.Time `json:"started"`            // when the scanner was asked
	Ended    time.Time `json:"ended"`              // when its report came, or it was given up
	Scanner  *Scanner  `json:"scanner,omitempty"`  // nil where it never answered
	Summary  *Summary  `json:"summary,omitempty"`  // nil for an Error
	Findings []Finding `json:"findings,omitempty"` // the worst first
	// Findings has no room for all; Summary counts them
	Truncated bool     `json:"truncated,omitempty"`
	New       int      `json:"new,omitempty"`        // findings that the last scan of this tag did not have
	By        string   `json:"by,omitempty"`         // name of the scanner in the configuration
	Run       string   `json:"run,omitempty"`        // the same for every image of an index
	Index     string   `json:"index,omitempty"`      // digest of the index that the image belongs to
	IndexTags []string `json:"index_tags,omitempty"` // its tags
}

// Scanner is the program that scanned.
type Scanner struct {
	Name    string `json:"name"`    // such as Trivy
	Vendor  string `json:"vendor"`  // who makes it
	Version string `json:"version"` // of the program
}

// Summary counts the findings of a scan.
type Summary struct {
	Total   int `json:"total"`   // of all severities
	Fixable int `json:"fixable"` // those with a fixed version
	// as Scan.Severity names them; those of which there are none are absent
	BySeverity map[string]int `json:"by_severity"`
}

// Finding is one vulnerability of one package.
type Finding struct {
	ID           string   `json:"id"` // CVE-…
	Description  string   `json:"description,omitempty"`
	Links        []string `json:"links,omitempty"`         // to advisories
	Package      string   `json:"package"`                 // that has it
	Version      string   `json:"version"`                 // of the package
	FixedVersion string   `json:"fixed_version,omitempty"` // "": there is none yet
	Severity     string   `json:"severity"`                // as Scan.Severity
	CVSS         float64  `json:"cvss,omitempty"`          // base score, version 3 or newer
	Vector       string   `json:"vector,omitempty"`        // of the CVSS score
	New          bool     `json:"new,omitempty"`           // the last scan of this tag did not find it
}

// SeverityRank orders severities as Harbor does: None and Unknown are 0, Critical is 5, and a word
// that Harbor does not know is above all of them.
func SeverityRank(severity string) int {
	switch severity {
	case "", "None", "Unknown":
		return 0
	case "Negligible":
		return 1
	case "Low":
		return 2
	case "Medium":
		return 3
	case "High":
		return 4
	case "Critical":
		return 5
	}
	return 99
}

// Quota is a project's usage against its limit at the time of the event. Sizes are bytes.
type Quota struct {
	Project string `json:"project"`         // its name
	Limit   int64  `json:"limit"`           // what the project may use
	Used    int64  `json:"used"`            // QUOTA_EXCEED: before what was refused
	Added   int64  `json:"added,omitempty"` // QUOTA_EXCEED: what the push adds
	// QUOTA_WARNING: the level that was crossed, in percent
	Level int `json:"level,omitempty"`
	// the upstream's words, where it refused a push for its own quota
	Details string `json:"details,omitempty"`
}

// ReplicationRun is what one run of a replication moved.
type ReplicationRun struct {
	Name           string `json:"name"`                     // of the configured replication
	Description    string `json:"description,omitempty"`    // of it
	Project        string `json:"project,omitempty"`        // that it pushed to, or pulled from
	Status         string `json:"status"`                   // Running, Success, Error
	Trigger        string `json:"trigger,omitempty"`        // MANUAL, SCHEDULE, EVENT
	Creator        string `json:"creator,omitempty"`        // who set it up
	Authentication string `json:"authentication,omitempty"` // basic, oauth, secret
	// it replaces what stands at the destination
	Override     bool      `json:"override,omitempty"`
	ArtifactType string    `json:"artifact_type,omitempty"` // image, chart, artifact
	Started      time.Time `json:"started"`                 // of the run
	Ended        time.Time `json:"ended,omitzero"`          // when the last artifact came
	// of the artifacts that arrived, as far as their sizes are known
	Bytes       int64        `json:"bytes,omitempty"`
	More        int          `json:"more,omitempty"`      // artifacts that are too many to be listed
	Source      Endpoint     `json:"source"`              // where the artifacts came from
	Destination Endpoint     `json:"destination"`         // where they went
	Succeeded   []Replicated `json:"succeeded,omitempty"` // those that arrived
	Failed      []Replicated `json:"failed,omitempty"`    // those that did not
	Execution   int64        `json:"execution,omitempty"` // number of the run
	Task        int64        `json:"task,omitempty"`      // number of its part
}

// Endpoint is one side of a replication.
type Endpoint struct {
	Name      string `json:"name,omitempty"`      // as the operator calls it
	Type      string `json:"type"`                // harbor, docker-registry, …
	URL       string `json:"url"`                 // scheme and host
	Namespace string `json:"namespace,omitempty"` // project there
}

// Replicated is an artifact that a replication moved, or failed to move.
type Replicated struct {
	Repository string   `json:"repository"`       // without its namespace
	References []string `json:"references"`       // tags or digests
	Reason     string   `json:"reason,omitempty"` // why it failed
}
