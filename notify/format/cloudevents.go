package format

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// cloudEvents renders Harbor's CloudEvents 1.0, in structured or binary mode.
type cloudEvents struct{ Options }

// cloudEvent is the structured mode. The keys have the order of Harbor's SDK.
type cloudEvent struct {
	SpecVersion     string           `json:"specversion"`
	ID              string           `json:"id"`
	Source          string           `json:"source"`
	Type            string           `json:"type"`
	Subject         string           `json:"subject,omitempty"`
	DataContentType string           `json:"datacontenttype"`
	Time            string           `json:"time"`
	Data            *harborEventData `json:"data"`
	Operator        string           `json:"operator"`
	RequestID       string           `json:"requestid"`
}

var cloudEventTypes = map[detect.Type]string{
	detect.PushArtifact:      "harbor.artifact.pushed",
	detect.PullArtifact:      "harbor.artifact.pulled",
	detect.DeleteArtifact:    "harbor.artifact.deleted",
	detect.DeleteTag:         "harbor.tag.deleted",
	detect.UploadChart:       "harbor.chart.uploaded",
	detect.DownloadChart:     "harbor.chart.downloaded",
	detect.DeleteChart:       "harbor.chart.deleted",
	detect.ScanningCompleted: "harbor.scan.completed",
	detect.ScanningFailed:    "harbor.scan.failed",
	detect.QuotaExceed:       "harbor.quota.exceeded",
	detect.QuotaWarning:      "harbor.quota.warned",
	detect.Replication:       "harbor.replication.status.changed",
}

func newCloudEvents(o Options) (renderers, error) {
	return renderers{render: cloudEvents{o}.render}, nil
}

func (c cloudEvents) render(p Post) (Body, error) {
	data := eventData(&p)
	e := cloudEvent{
		SpecVersion:     "1.0",
		ID:              postID(&p),
		Source:          c.source(&p),
		Type:            c.Type,
		Subject:         c.Subject,
		DataContentType: "application/json",
		Time:            p.Event.At.UTC().Truncate(time.Second).Format(time.RFC3339),
		Data:            data,
		Operator:        p.Event.Client.Operator,
		RequestID:       p.Event.RequestID,
	}
	if e.Type == "" {
		e.Type = cloudEventTypes[p.Event.Type]
	}
	if c.Mode == "binary" {
		return e.binary()
	}
	b, err := json.Marshal(e)
	return Body{ContentType: "application/cloudevents+json", Bytes: b}, err
}

// source returns the CloudEvents source, with the numbers of project and webhook.
func (c cloudEvents) source(p *Post) string {
	project, number := projectOf(&p.Event), c.Number
	if number == 0 {
		number = Number("webhook/" + p.Webhook)
	}
	of := func(project string) int64 { return Number("project/" + project) }
	if c.Project != nil {
		of = c.Project
	}
	return fmt.Sprintf("/projects/%d/webhook/policies/%d", of(project), number)
}

// Number derives a number from a name. It is the same in every replica and after every restart,
// positive, and fits into 32 bits.
func Number(name string) int64 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int64(h.Sum32()&0x7fffffff | 1)
}

func (e *cloudEvent) binary() (Body, error) {
	b, err := json.Marshal(e.Data)
	return Body{ContentType: e.DataContentType, Header: attributes(map[string]string{
		"ce-specversion": e.SpecVersion, "ce-id": e.ID, "ce-source": e.Source, "ce-type": e.Type, "ce-time": e.Time,
		"ce-operator": e.Operator, "ce-requestid": e.RequestID, "ce-subject": e.Subject,
	}), Bytes: b}, err
}

// attributes returns CloudEvents attributes as headers. It leaves out empty ones, which a header
// cannot carry.
func attributes(values map[string]string) map[string]string {
	for name, value := range values {
		if value == "" {
			delete(values, name)
			continue
		}
		values[name] = percentEncode(value)
	}
	return values
}

// escape percent-encodes all characters that have a meaning in any part of a URL.
func escape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte("-._~", c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// percentEncode encodes an attribute as a header's value (CloudEvents HTTP binding §3.1.3.2).
func percentEncode(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if c := s[i]; c > ' ' && c < 0x7f && c != '"' && c != '%' {
			b.WriteByte(c)
		} else {
			b.WriteString("%" + strings.ToUpper(strconv.FormatUint(uint64(c)+0x100, 16)[1:]))
		}
	}
	return b.String()
}

// postID returns the UUID of an event, tag and webhook. As with Harbor, webhooks get different ids,
// and retries the same id.
func postID(p *Post) string {
	space, err := uuid.Parse(p.Event.ID)
	if err != nil {
		space = uuid.NameSpaceOID
	}
	return uuid.NewSHA1(space, []byte(p.Webhook+"/"+strconv.Itoa(p.Number))).String()
}

// projectOf returns the project of an event.
func projectOf(e *detect.Event) string {
	if e.Replication != nil {
		return cmp.Or(e.Replication.Project, e.Replication.Destination.Namespace)
	}
	namespace, _, _ := names(e)
	return namespace
}
