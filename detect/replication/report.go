package replication

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// event returns the REPLICATION event of a run.
func (r *runRow) event(k runKey, artifacts []detect.Row, now time.Time) detect.Event {
	run := &detect.ReplicationRun{
		Name: k.rule, Project: k.project, Status: "Success", ArtifactType: "artifact", Started: r.Started, Ended: r.Last, Bytes: r.Bytes, More: r.More,
		Execution: r.Number, Task: r.Number,
	}
	here := detect.Endpoint{Type: "docker-registry", Namespace: k.project}
	if r.External.Host != "" {
		here.URL = r.External.Scheme + "://" + r.External.Host
	}
	// its address is not known
	there := detect.Endpoint{Name: k.rule, Type: "docker-registry", Namespace: k.project}
	run.Source, run.Destination = there, here
	if k.direction == pulls {
		run.Source, run.Destination = here, there
	}
	for _, a := range artifacts {
		repository, reference, _ := strings.Cut(strings.TrimPrefix(a.ID, k.artifacts()), separator)
		var row artifactRow
		if json.Unmarshal(a.Value, &row) != nil {
			continue // a newer version has written it
		}
		_, name, more := strings.Cut(repository, "/")
		if !more {
			name = repository
		}
		if row.Reason == "" {
			run.Succeeded = add(run.Succeeded, detect.Replicated{Repository: name}, reference)
		} else {
			run.Failed = add(run.Failed, detect.Replicated{Repository: name, Reason: row.Reason}, reference)
		}
	}
	if len(run.Failed) > 0 {
		run.Status = "Error"
	}
	return detect.Event{ID: r.Event, Type: detect.Replication, At: now, Upstream: k.upstream, External: r.External,
		Visibility: r.Visibility, Client: r.Client, Replication: run}
}

// add appends a reference to those of the same repository and reason, which are next to each other
// because rows are ordered by repository.
func add(list []detect.Replicated, a detect.Replicated, reference string) []detect.Replicated {
	n := len(list)
	if n == 0 || list[n-1].Repository != a.Repository || list[n-1].Reason != a.Reason {
		a.References = []string{}
		list, n = append(list, a), n+1
	}
	if reference != "" {
		list[n-1].References = append(list[n-1].References, reference)
	}
	return list
}
