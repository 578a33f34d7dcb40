package detect

import (
	"strings"
	"time"
)

// Meaning returns the type of the event that a request raises if the upstream answers with success,
// as far as the request alone decides it; "" if it raises none. because names what else decides it,
// or why there is none.
func (r *Request) Meaning() (event Type, because string) {
	_, _, fallback := FallbackTag(r.Reference)
	byDigest := IsDigest(r.Reference)
	switch r.Action {
	case ManifestPut:
		switch {
		case fallback:
			return PushArtifact, "of an accessory; an index at this tag is bookkeeping and no event"
		case byDigest && len(r.Tags) == 0:
			return PushArtifact, "unless an index that lists it, or a tag, follows; then it is part of that push"
		}
		return PushArtifact, "if the upstream answers 2xx"
	case ManifestGet:
		switch {
		case fallback:
			return "", "a read of an accessory's tag is no pull"
		case byDigest:
			return PullArtifact, "of the tag that the client resolved to it by HEAD, else by digest; a child of an index is part of the pull of the index"
		}
		return PullArtifact, "if a blob follows; otherwise only a read of the manifest"
	case ManifestHead:
		return "", "a HEAD is a check and no pull; it says which tag a later GET by digest belongs to"
	case ManifestDelete:
		if byDigest {
			return DeleteArtifact, "with all tags that have this digest"
		}
		return DeleteTag, "the artifact stays"
	case ChartPost:
		return UploadChart, "name and version are read from the archive"
	case ChartGet:
		return DownloadChart, "if the upstream answers 200"
	case ChartDelete:
		return DeleteChart, "if the upstream answers 200"
	case ProvenancePost, ProvenanceGet:
		return "", "a provenance file alone is no event"
	case BlobGet, BlobHead:
		return "", "a blob is part of the pull of a manifest that lists it"
	case UploadStart, UploadChunk, UploadEnd, UploadInfo, UploadCancel:
		return "", "an uploaded blob is part of a push when a manifest lists it; refused for the upstream's own quota, it is a QUOTA_EXCEED"
	}
	return "", "this request raises no event"
}

// Sample returns an event of the type that Meaning returned, with the data that the request has.
func (r *Request) Sample(event Type, upstream string, client Client) Event {
	e := Event{ID: "00000000-0000-7000-8000-000000000000", Type: event, At: time.Now(), Upstream: upstream, Repository: r.Repository, Client: client}
	switch r.Action {
	case ChartGet:
		name, version, _ := SplitChartFile(r.File)
		e.Chart = &Chart{Name: name, Version: version}
	case ChartDelete, ChartPost:
		e.Chart = &Chart{Name: r.Chart, Version: r.Version}
	default:
		if IsDigest(r.Reference) {
			e.Digest, e.Tags = r.Reference, r.Tags
		} else {
			e.Tags = []string{r.Reference}
		}
	}
	return e
}

// Description returns a line for people: the action and the values that the request has.
func (r *Request) Description() string {
	var parts []string
	add := func(name, value string) {
		if value != "" {
			parts = append(parts, name+" "+value)
		}
	}
	reference := "tag"
	if IsDigest(r.Reference) {
		reference = "digest"
	}
	add("repository", r.Repository)
	add(reference, r.Reference)
	add("chart", r.Chart)
	add("version", r.Version)
	add("file", r.File)
	add("mount of", r.Mount)
	add("from", r.From)
	add("namespace hint", r.Hint)
	return strings.TrimSuffix(strings.ReplaceAll(r.Action.String(), "_", " ")+": "+strings.Join(parts, ", "), ": ")
}
