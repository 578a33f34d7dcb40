package format

import (
	"cmp"
	"encoding/json"
	"net/http"

	"github.com/google/uuid"

	"github.com/bellbuoy/bellbuoy/detect"
)

// distributionEnvelope and its parts are the notification of distribution, always with one event.
// The keys have the order of the fields.
type (
	distributionEnvelope struct {
		Events []distributionEvent `json:"events"`
	}
	distributionEvent struct {
		ID        string              `json:"id"`
		Timestamp string              `json:"timestamp"`
		Action    string              `json:"action"`
		Target    distributionTarget  `json:"target"`
		Request   distributionRequest `json:"request"`
		Actor     distributionActor   `json:"actor"`
		Source    distributionSource  `json:"source"`
	}
	distributionTarget struct {
		MediaType  string `json:"mediaType,omitempty"`
		Digest     string `json:"digest,omitempty"`
		Size       int64  `json:"size,omitempty"`
		Length     int64  `json:"length,omitempty"` // the size again
		Repository string `json:"repository,omitempty"`
		URL        string `json:"url,omitempty"`
		Tag        string `json:"tag,omitempty"`
	}
	distributionRequest struct {
		ID        string `json:"id"`
		Addr      string `json:"addr,omitempty"`
		Host      string `json:"host,omitempty"` // keel builds the image's name from it
		Method    string `json:"method"`
		UserAgent string `json:"useragent"`
	}
	distributionActor struct {
		Name string `json:"name,omitempty"`
	}
	distributionSource struct {
		Addr       string `json:"addr,omitempty"`
		InstanceID string `json:"instanceID,omitempty"`
	}
)

// fractional is RFC 3339 with a fraction, which Jenkins requires.
const fractional = "2006-01-02T15:04:05.000000000Z07:00"

var distributionActions = map[detect.Type]string{
	detect.PushArtifact: "push", detect.PullArtifact: "pull", detect.DeleteArtifact: "delete", detect.DeleteTag: "delete",
}

func renderDistribution(p Post) (Body, error) {
	e := &p.Event
	b, err := json.MarshalIndent(distributionEnvelope{Events: []distributionEvent{{
		ID:        postID(&p),
		Timestamp: e.At.UTC().Format(fractional),
		Action:    distributionActions[e.Type],
		Target:    distributionTargetOf(&p),
		Request:   distributionRequest{ID: e.RequestID, Addr: e.Client.Address, Host: e.External.Host, Method: methodOf(e.Type), UserAgent: e.Client.UserAgent},
		Actor:     distributionActor{e.Client.Operator},
		Source:    distributionSource{e.External.Host, uuid.NewSHA1(uuid.NameSpaceURL, []byte("bellbuoy/"+e.Upstream)).String()},
	}}}, "", "   ")
	return Body{ContentType: "application/vnd.docker.distribution.events.v2+json", Bytes: b}, err
}

// distributionTargetOf returns the target. It has no digest if only a tag was deleted, because the
// artifact still exists.
func distributionTargetOf(p *Post) distributionTarget {
	e := &p.Event
	t := distributionTarget{Repository: e.Repository, Tag: p.tag()}
	if e.Type == detect.DeleteTag {
		return t
	}
	t.Digest = e.Digest
	if a := e.Artifact; a != nil {
		t.MediaType, t.Size = a.MediaType, manifestSize(a)
		t.Length = t.Size
	}
	t.URL = e.External.Scheme + "://" + e.External.Host + "/v2/" + e.Repository + "/manifests/" + e.Digest
	return t
}

// manifestSize returns the bytes of a manifest itself, as registries report them; if they are not
// known, those of the whole artifact.
func manifestSize(a *detect.Artifact) int64 { return cmp.Or(a.Own, a.Size) }

// methodOf returns the method of the request that causes an event of the type.
func methodOf(t detect.Type) string {
	switch t {
	case detect.PushArtifact:
		return http.MethodPut
	case detect.UploadChart:
		return http.MethodPost
	case detect.PullArtifact, detect.DownloadChart:
		return http.MethodGet
	}
	return http.MethodDelete
}
