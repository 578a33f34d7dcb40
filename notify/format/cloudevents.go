package format

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// cloudEvents renders Harbor's CloudEvents 1.0: structured JSON, or binary mode on request.
type cloudEvents struct{ Options }

// cloudEvent is the structured mode; the order of the keys is that of Harbor's SDK.
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
	detect.PushArtifact:   "harbor.artifact.pushed",
	detect.PullArtifact:   "harbor.artifact.pulled",
	detect.DeleteArtifact: "harbor.artifact.deleted",
	detect.DeleteTag:      "harbor.tag.deleted",
	detect.UploadChart:    "harbor.chart.uploaded",
	detect.DownloadChart:  "harbor.chart.downloaded",
	detect.DeleteChart:    "harbor.chart.deleted",
}

func (c cloudEvents) render(p Post) (Body, error) {
	data, err := eventData(&p)
	if err != nil {
		return Body{}, err
	}
	e := cloudEvent{
		SpecVersion:     "1.0",
		ID:              cloudEventID(&p),
		Source:          fmt.Sprintf("/projects/%d/webhook/policies/%d", stableID("project/"+data.Repository.Namespace), stableID("webhook/"+p.Webhook)),
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

func (e *cloudEvent) binary() (Body, error) {
	b, err := json.Marshal(e.Data)
	header := map[string]string{
		"ce-specversion": e.SpecVersion, "ce-id": e.ID, "ce-source": e.Source, "ce-type": e.Type, "ce-time": e.Time,
		"ce-operator": e.Operator, "ce-requestid": e.RequestID, "ce-subject": e.Subject,
	}
	for name, value := range header {
		if value == "" {
			delete(header, name) // a header cannot carry an empty attribute
			continue
		}
		header[name] = percentEncode(value)
	}
	return Body{ContentType: e.DataContentType, Header: header, Bytes: b}, err
}

// percentEncode writes an attribute as a header's value (CloudEvents HTTP binding §3.1.3.2).
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

// cloudEventID is one UUID for each event, tag and webhook: Harbor's ids differ between policies, and stay the same on retries.
func cloudEventID(p *Post) string {
	space, err := uuid.Parse(p.Event.ID)
	if err != nil {
		space = uuid.NameSpaceOID
	}
	return uuid.NewSHA1(space, []byte(p.Webhook+"/"+strconv.Itoa(p.Number))).String()
}

// stableID is a number for a name that has none: the same in every replica and after every restart.
func stableID(name string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return h.Sum32()&0x7fffffff | 1 // positive in 32 bits, never 0
}
