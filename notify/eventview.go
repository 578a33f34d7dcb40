package notify

import (
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// eventView presents an event to filters.
//
// A chart's repository is its tenant path and its name, as in org/repo/demo, or the name alone. A
// repository of one segment is in the project library, and filters match it with and without that
// prefix: nginx and library/nginx are the same.
type eventView struct {
	event   *detect.Event
	project string   // "": the event has none
	names   []string // names of the repository; none: the event has none
	tags    []string // a chart's version is its tag
	kind    detect.ArtifactKind
	client  bool // a client caused it, named or anonymous

	first [2]string // backing array of names
	ver   [1]string // backing array of a chart's tags
	one   [1]string // backing array of values
}

func (f *eventView) read(e *detect.Event) {
	f.event = e
	f.tags = e.Tags
	if len(f.tags) == 0 && e.Scan != nil { // an image of an index is found by the index's tags
		f.tags = e.Scan.IndexTags
	}
	f.client = byClient(e)
	if e.Artifact != nil {
		f.kind = e.Artifact.Kind
	}
	repository := repositoryOf(e)
	if chartEvent(e.Type) {
		f.kind = detect.HelmChart
		if len(f.tags) == 0 && e.Chart != nil {
			f.ver[0] = e.Chart.Version
			f.tags = f.ver[:]
		}
	}
	if e.Replication != nil {
		f.project = e.Replication.Project
	}
	if repository == "" {
		if e.Replication != nil {
			f.project = e.Replication.Destination.Namespace
		}
		return
	}
	f.first[0] = repository
	f.names = f.first[:1]
	f.project = detect.Project(repository)
	if !strings.Contains(repository, "/") {
		f.first[1] = f.project + "/" + repository
		f.names = f.first[:2]
	}
}

// ProjectOf returns the project of an event, or "" if it has none.
func ProjectOf(e *detect.Event) string {
	var v eventView
	v.read(e)
	return v.project
}

// repositoryOf returns the repository as filters and lanes name it, or "" if the event has none.
func repositoryOf(e *detect.Event) string {
	if !chartEvent(e.Type) || e.Chart == nil {
		return e.Repository
	}
	if e.Repository == "" {
		return e.Chart.Name
	}
	return e.Repository + "/" + e.Chart.Name
}

func chartEvent(t detect.Type) bool {
	return t == detect.UploadChart || t == detect.DownloadChart || t == detect.DeleteChart
}

func isDelete(t detect.Type) bool {
	return t == detect.DeleteArtifact || t == detect.DeleteTag || t == detect.DeleteChart
}

func isPull(t detect.Type) bool { return t == detect.PullArtifact || t == detect.DownloadChart }

// changesTag reports whether events of the type change the digest of a tag.
func changesTag(t detect.Type) bool {
	switch t {
	case detect.PushArtifact, detect.DeleteArtifact, detect.DeleteTag, detect.UploadChart, detect.DeleteChart:
		return true
	}
	return false
}

// aboutArtifact reports whether events of the type concern an artifact or a chart.
func aboutArtifact(t detect.Type) bool {
	return changesTag(t) || isPull(t) || t == detect.ScanningCompleted || t == detect.ScanningFailed
}

// byClient reports whether a client's request caused the event. Its empty operator then means an
// anonymous client. Other events have an operator only if they name one.
func byClient(e *detect.Event) bool {
	return changesTag(e.Type) || isPull(e.Type) || e.Client.Operator != ""
}
