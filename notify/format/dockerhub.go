package format

import (
	"encoding/json"
)

// hubPayload and its parts are the body of Docker Hub. Its repo_name begins with the
// registry's host, so that receivers that use it as a whole (keel, Kargo) update the right image.
// Times are whole seconds: some receivers decode them as integers, others as floats.
type (
	hubPayload struct {
		CallbackURL string        `json:"callback_url"`
		PushData    hubPush       `json:"push_data"`
		Repository  hubRepository `json:"repository"`
	}
	hubPush struct {
		Images    []string `json:"images"`
		MediaType string   `json:"media_type"`
		PushedAt  int64    `json:"pushed_at"`
		Pusher    string   `json:"pusher"`
		Tag       string   `json:"tag"`
	}
	hubRepository struct {
		CommentCount    int    `json:"comment_count"`
		DateCreated     int64  `json:"date_created"`
		Description     string `json:"description"`
		Dockerfile      string `json:"dockerfile"`
		FullDescription string `json:"full_description"`
		IsOfficial      bool   `json:"is_official"`
		IsPrivate       bool   `json:"is_private"`
		IsTrusted       bool   `json:"is_trusted"`
		Name            string `json:"name"`
		Namespace       string `json:"namespace"`
		Owner           string `json:"owner"`
		RepoName        string `json:"repo_name"`
		RepoURL         string `json:"repo_url"`
		StarCount       int    `json:"star_count"`
		Status          string `json:"status"`
	}
)

func renderDockerHub(p Post) (Body, error) {
	e := &p.Event
	namespace, name, _ := names(e)
	push := hubPush{Images: []string{}, PushedAt: e.At.Unix(), Pusher: e.Client.Operator, Tag: p.tag()}
	if e.Artifact != nil {
		push.MediaType = e.Artifact.MediaType
	}
	repository := hubRepository{
		IsPrivate: e.Visibility != "public",
		Name:      name, Namespace: namespace, Owner: namespace,
		RepoName: e.External.Host + "/" + e.Repository,
		RepoURL:  e.External.Scheme + "://" + e.External.Host + "/" + e.Repository,
		Status:   "Active",
	}
	if !e.FirstSeen.IsZero() {
		repository.DateCreated = e.FirstSeen.Unix()
	}
	b, err := json.Marshal(hubPayload{PushData: push, Repository: repository})
	return Body{ContentType: "application/json", Bytes: b}, err
}
