package format

import (
	"encoding/json"
	"math"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// acrEvent and its parts are the body of Azure Container Registry.
type (
	acrEvent struct {
		ID        string     `json:"id"`
		Timestamp string     `json:"timestamp"`
		Action    string     `json:"action"`
		Target    acrTarget  `json:"target"`
		Request   acrRequest `json:"request"`
	}
	acrTarget struct {
		MediaType  string `json:"mediaType"`
		Size       int64  `json:"size"`
		Digest     string `json:"digest"`
		Length     int64  `json:"length"` // the size again
		Repository string `json:"repository"`
		Tag        string `json:"tag,omitempty"`
		Name       string `json:"name,omitempty"`    // charts only
		Version    string `json:"version,omitempty"` // charts only
	}
	acrRequest struct {
		ID        string `json:"id"`
		Host      string `json:"host"`
		Method    string `json:"method"`
		UserAgent string `json:"useragent"`
	}
)

var acrActions = map[detect.Type]string{
	detect.PushArtifact: "push", detect.DeleteArtifact: "delete", detect.UploadChart: "chart_push", detect.DeleteChart: "chart_delete",
}

// acrUserAgent is the User-Agent by which Kargo recognises ACR.
const acrUserAgent = "AzureContainerRegistry/1.0"

func renderACR(p Post) (Body, error) {
	e := &p.Event
	b, err := json.Marshal(acrEvent{
		ID:        postID(&p),
		Timestamp: e.At.UTC().Format(time.RFC3339Nano),
		Action:    acrActions[e.Type],
		Target:    acrTargetOf(&p),
		Request:   acrRequest{ID: e.RequestID, Host: e.External.Host, Method: methodOf(e.Type), UserAgent: e.Client.UserAgent},
	})
	return Body{ContentType: "application/json", Header: map[string]string{"User-Agent": acrUserAgent}, Bytes: b}, err
}

func acrTargetOf(p *Post) acrTarget {
	e := &p.Event
	if c := e.Chart; c != nil {
		_, _, full := names(e)
		return acrTarget{MediaType: "application/vnd.acr.helm.chart", Size: int32Of(c.Size), Length: int32Of(c.Size), Digest: chartDigest(e),
			Repository: full, Tag: c.Name + "-" + c.Version + ".tgz", Name: c.Name, Version: c.Version}
	}
	t := acrTarget{Digest: e.Digest, Repository: e.Repository, Tag: p.tag()}
	if a := e.Artifact; a != nil {
		t.MediaType, t.Size = a.MediaType, int32Of(manifestSize(a))
		t.Length = t.Size
	}
	return t
}

// int32Of limits a size to the 32 bits that ACR uses.
func int32Of(size int64) int64 { return min(size, math.MaxInt32) }
