package format

import (
	"encoding/json"
	"path"
)

// quayPayload is the body of Quay's repository_push.
type quayPayload struct {
	Name        string   `json:"name"`
	Repository  string   `json:"repository"`
	Namespace   string   `json:"namespace"`
	DockerURL   string   `json:"docker_url"` // without a scheme
	Homepage    string   `json:"homepage"`
	UpdatedTags []string `json:"updated_tags"`
}

func renderQuay(p Post) (Body, error) {
	e := &p.Event
	namespace, _, _ := names(e)
	q := quayPayload{Name: path.Base(e.Repository), Repository: e.Repository, Namespace: namespace,
		DockerURL: e.External.Host + "/" + e.Repository, Homepage: e.External.Scheme + "://" + e.External.Host + "/" + e.Repository, UpdatedTags: []string{}}
	if tag := p.tag(); tag != "" {
		q.UpdatedTags = append(q.UpdatedTags, tag)
	}
	b, err := json.Marshal(q)
	return Body{ContentType: "application/json", Bytes: b}, err
}
