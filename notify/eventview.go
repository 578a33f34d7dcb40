package notify

import (
	"strings"

	"github.com/bellbuoy/bellbuoy/detect"
)

// library is the project of what has none of its own, in Harbor's word.
const library = "library"

// facts are an event as filters see it.
//
// A chart's repository is its tenant path and its name (org/repo/demo); where there is no tenant, demo. What has one segment only is in the
// project library, and filters find it with that before it and without: nginx and library/nginx name the same.
type eventView struct {
	event   *detect.Event
	project string   // "": the event has none
	names   []string // of its repository; none: the event has none
	tags    []string // of a chart: its version
	kind    detect.ArtifactKind
	client  bool // somebody did it, be it anonymously

	first [2]string // room for names
	ver   [1]string // room for a chart's tags
	one   [1]string // room for texts
}

func (f *eventView) read(e *detect.Event) {
	f.event = e
	f.tags = e.Tags
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
	if repository == "" {
		return
	}
	f.first[0] = repository
	f.names = f.first[:1]
	project, _, more := strings.Cut(repository, "/")
	if more {
		f.project = project
		return
	}
	f.project = library
	f.first[1] = library + "/" + repository
	f.names = f.first[:2]
}

// repositoryOf is the repository as filters and queues name it; "": the event has none.
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

// moves tells the types that change what stands at a tag.
func changesTag(t detect.Type) bool {
	switch t {
	case detect.PushArtifact, detect.DeleteArtifact, detect.DeleteTag, detect.UploadChart, detect.DeleteChart:
		return true
	}
	return false
}

// aboutArtifact tells the types that concern an artifact or a chart, with a tag or without.
func aboutArtifact(t detect.Type) bool {
	return changesTag(t) || isPull(t) || t == detect.ScanningCompleted || t == detect.ScanningFailed
}

// clientDid tells the events that a client's request is, so that an empty operator means an anonymous one. Others have an operator only where they name one.
func byClient(e *detect.Event) bool {
	return changesTag(e.Type) || isPull(e.Type) || e.Client.Operator != ""
}
