package format

import (
	"encoding/json"

	"github.com/bellbuoy/bellbuoy/detect"
)

// The bodies of Harbor 2.x, payload format Default; charts as Harbor up to 2.7. The order of the fields is the order of the keys.
type (
	harborPayload struct {
		Type      detect.Type      `json:"type"`
		OccurAt   int64            `json:"occur_at"` // unix seconds
		Operator  string           `json:"operator"`
		EventData *harborEventData `json:"event_data"`
	}
	harborEventData struct {
		Resources  []harborResource  `json:"resources,omitempty"`
		Repository *harborRepository `json:"repository,omitempty"`
	}
	harborResource struct {
		Digest      string `json:"digest,omitempty"`
		Tag         string `json:"tag,omitempty"`
		ResourceURL string `json:"resource_url,omitempty"`
	}
	harborRepository struct {
		DateCreated  int64  `json:"date_created,omitempty"` // unix seconds
		Name         string `json:"name"`
		Namespace    string `json:"namespace"`
		RepoFullName string `json:"repo_full_name"`
		RepoType     string `json:"repo_type"`
	}
)

func renderHarbor(p Post) (Body, error) {
	data, err := eventData(&p)
	if err != nil {
		return Body{}, err
	}
	b, err := json.Marshal(harborPayload{Type: p.Event.Type, OccurAt: p.Event.At.Unix(), Operator: p.Event.Client.Operator, EventData: data})
	return Body{ContentType: "application/json", Bytes: b}, err
}

// eventData is Harbor's event_data, which its CloudEvents carry too.
func eventData(p *Post) (*harborEventData, error) {
	e := &p.Event
	if err := check(e); err != nil {
		return nil, err
	}
	tag := p.tag()
	resource := harborResource{Digest: e.Digest, Tag: tag, ResourceURL: reference(e, tag)}
	if tag == "" {
		resource.Tag = e.Digest // Harbor's way to name what has no tag
	}
	if e.Chart != nil {
		resource.Digest = ""
	}
	namespace, name, full := names(e)
	repository := &harborRepository{Name: name, Namespace: namespace, RepoFullName: full, RepoType: e.Visibility}
	if !e.FirstSeen.IsZero() && e.Chart == nil {
		repository.DateCreated = e.FirstSeen.Unix()
	}
	return &harborEventData{Resources: []harborResource{resource}, Repository: repository}, nil
}
