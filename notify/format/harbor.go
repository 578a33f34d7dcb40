package format

import (
	"encoding/json"
	"fmt"
	"net"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// harborPayload and its parts are the bodies of Harbor 2.x in its payload format Default; charts
// are as in Harbor up to 2.7. The keys have the order of the fields.
type (
	harborPayload struct {
		Type      detect.Type      `json:"type"`
		OccurAt   int64            `json:"occur_at"` // unix seconds
		Operator  string           `json:"operator"`
		EventData *harborEventData `json:"event_data"`
	}
	harborEventData struct {
		Resources   []harborResource   `json:"resources,omitempty"`
		Repository  *harborRepository  `json:"repository,omitempty"`
		Replication *harborReplication `json:"replication,omitempty"`
		Scan        *harborScan        `json:"scan,omitempty"`
		Custom      map[string]string  `json:"custom_attributes,omitempty"`
	}
	harborResource struct {
		Digest       string                  `json:"digest,omitempty"`
		Tag          string                  `json:"tag,omitempty"`
		ResourceURL  string                  `json:"resource_url,omitempty"`
		ScanOverview map[string]harborReport `json:"scan_overview,omitempty"` // by the report's media type
	}
	harborRepository struct {
		DateCreated  int64  `json:"date_created,omitempty"` // unix seconds
		Name         string `json:"name"`
		Namespace    string `json:"namespace"`
		RepoFullName string `json:"repo_full_name"`
		RepoType     string `json:"repo_type"`
	}
	harborScan struct {
		Type string `json:"scan_type"`
	}
	harborReport struct {
		ReportID string          `json:"report_id"`
		Status   string          `json:"scan_status"`
		Severity string          `json:"severity"`
		Duration int64           `json:"duration"` // seconds
		Summary  *harborSummary  `json:"summary"`
		Start    time.Time       `json:"start_time"`
		End      time.Time       `json:"end_time"`
		Scanner  *detect.Scanner `json:"scanner,omitempty"`
		Percent  int             `json:"complete_percent"`
	}
	harborSummary struct {
		Total      int            `json:"total"`
		Fixable    int            `json:"fixable"`
		BySeverity map[string]int `json:"summary"`
	}
	harborReplication struct {
		Hostname       string           `json:"harbor_hostname,omitempty"`
		Status         string           `json:"job_status,omitempty"`
		Description    string           `json:"description,omitempty"`
		ArtifactType   string           `json:"artifact_type,omitempty"`
		Authentication string           `json:"authentication_type,omitempty"`
		Override       bool             `json:"override_mode,omitempty"`
		Trigger        string           `json:"trigger_type,omitempty"`
		Creator        string           `json:"policy_creator,omitempty"`
		Started        int64            `json:"execution_timestamp,omitempty"` // unix seconds
		Source         *harborEndpoint  `json:"src_resource,omitempty"`
		Destination    *harborEndpoint  `json:"dest_resource,omitempty"`
		Succeeded      []harborArtifact `json:"successful_artifact,omitempty"`
		Failed         []harborArtifact `json:"failed_artifact,omitempty"`
		Execution      int64            `json:"execution_id,omitempty"`
		Task           int64            `json:"task_id,omitempty"`
	}
	harborEndpoint struct {
		Name      string `json:"registry_name,omitempty"`
		Type      string `json:"registry_type"`
		URL       string `json:"endpoint"`
		Namespace string `json:"namespace,omitempty"`
	}
	harborArtifact struct {
		Type       string   `json:"type"`
		Status     string   `json:"status"`
		NameTag    string   `json:"name_tag"`
		References []string `json:"references"`
		Reason     string   `json:"fail_reason,omitempty"`
	}
)

func renderHarbor(p Post) (Body, error) {
	b, err := json.Marshal(harborPayload{
		Type: p.Event.Type, OccurAt: p.Event.At.Unix(), Operator: p.Event.Client.Operator, EventData: eventData(&p),
	})
	return Body{ContentType: "application/json", Bytes: b}, err
}

// eventData returns Harbor's event_data, which its CloudEvents carry too.
func eventData(p *Post) *harborEventData {
	e := &p.Event
	if e.Replication != nil {
		return &harborEventData{Replication: replicationData(e)}
	}
	d := &harborEventData{Resources: []harborResource{resourceData(p)}, Repository: repositoryData(e)}
	switch {
	case e.Quota != nil:
		d.Custom = map[string]string{"Details": quotaDetails(e)}
		if e.Digest == "" && p.tag() == "" {
			d.Resources = nil // the push was refused at a blob, so there is no manifest
		}
	case e.Scan != nil:
		d.Scan = &harborScan{"vulnerability"}
	}
	return d
}

func resourceData(p *Post) harborResource {
	e, tag := &p.Event, p.tag()
	r := harborResource{Digest: e.Digest, Tag: tag}
	switch {
	case e.Quota != nil:
		return r
	case e.Scan != nil:
		r.ScanOverview = map[string]harborReport{reportType(e.Scan): report(e.Scan)}
	case e.Chart != nil:
		r.Digest = ""
	case tag == "":
		r.Tag = e.Digest // Harbor uses the digest if there is no tag
	}
	r.ResourceURL = reference(e, tag)
	return r
}

func repositoryData(e *detect.Event) *harborRepository {
	namespace, name, full := names(e)
	r := &harborRepository{Name: name, Namespace: namespace, RepoFullName: full, RepoType: e.Visibility}
	if !e.FirstSeen.IsZero() && e.Chart == nil && e.Scan == nil && e.Quota == nil {
		r.DateCreated = e.FirstSeen.Unix()
	}
	return r
}

func reportType(s *detect.Scan) string {
	if s.MediaType == "" {
		return "application/vnd.security.vulnerability.report; version=1.1"
	}
	return s.MediaType
}

func report(s *detect.Scan) harborReport {
	r := harborReport{ReportID: s.ReportID, Status: s.Status, Severity: s.Severity, Duration: int64(s.Ended.Sub(s.Started).Seconds()),
		Start: s.Started.UTC(), End: s.Ended.UTC(), Scanner: s.Scanner}
	if sum := s.Summary; sum != nil {
		r.Percent = 100
		r.Summary = &harborSummary{sum.Total, sum.Fixable, sum.BySeverity}
		if sum.BySeverity == nil {
			r.Summary.BySeverity = map[string]int{}
		}
	}
	return r
}

// quotaDetails returns Harbor's text, or the upstream's own.
func quotaDetails(e *detect.Event) string {
	q := e.Quota
	switch {
	case q.Details != "":
		return q.Details
	case e.Type == detect.QuotaExceed:
		return fmt.Sprintf("adding %s of storage resource, which when updated to current usage of %s will exceed the configured upper limit of %s.",
			bytesText(q.Added), bytesText(q.Used), bytesText(q.Limit))
	}
	return fmt.Sprintf("quota usage reach %d%%: resource storage used %s of %s", q.Level, bytesText(q.Used), bytesText(q.Limit))
}

func replicationData(e *detect.Event) *harborReplication {
	run := e.Replication
	host := e.External.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	r := &harborReplication{Hostname: host, Status: run.Status, Description: run.Description, ArtifactType: run.ArtifactType,
		Authentication: run.Authentication, Override: run.Override, Trigger: run.Trigger, Creator: run.Creator,
		Started: run.Started.Unix(), Source: endpoint(run.Source), Destination: endpoint(run.Destination), Execution: run.Execution, Task: run.Task}
	for _, a := range run.Succeeded {
		r.Succeeded = append(r.Succeeded, replicated(run, a, "Success"))
	}
	for _, a := range run.Failed {
		r.Failed = append(r.Failed, replicated(run, a, "Error"))
	}
	return r
}

func endpoint(p detect.Endpoint) *harborEndpoint {
	return &harborEndpoint{Name: p.Name, Type: p.Type, URL: p.URL, Namespace: p.Namespace}
}

func replicated(run *detect.ReplicationRun, a detect.Replicated, status string) harborArtifact {
	name := fmt.Sprintf("%s [%d item(s) in total]", a.Repository, len(a.References))
	return harborArtifact{Type: run.ArtifactType, Status: status, NameTag: name, References: a.References, Reason: a.Reason}
}
