package api

import (
	"context"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/access"
)

// V1Project is a project as /api/v1 shows it.
type V1Project struct {
	Number     int64  `json:"number" doc:"as in Harbor's API and in the source of the cloudevents format"`
	Name       string `json:"name"`
	Visibility string `json:"visibility" enum:"public,private"`
}

// V1ProjectPage is a page of projects.
type V1ProjectPage struct {
	Items []V1Project `json:"items" nullable:"false" doc:"by name"`
	Next  string      `json:"next,omitempty" doc:"the cursor of the next page; without it this is the last one"`
}

// addProjectNames adds the list of projects.
func (v *V1) addProjectNames() {
	addV1(v, operation("listProjects", "GET /projects", "Projects of the configuration, of events and of webhooks", "projects"), everyAccount, v.listProjects)
}

// listProjects answers with a page of projects. The cursor is the last name of the page before.
func (v *V1) listProjects(ctx context.Context, by access.Principal, in *struct {
	Name string `query:"name" maxLength:"255" doc:"part of the name"`
	Paging
}) (*struct{ Body V1ProjectPage }, error) {
	all, err := v.ProjectNames.Projects(ctx)
	if err != nil {
		return nil, err
	}
	out := &struct{ Body V1ProjectPage }{V1ProjectPage{Items: []V1Project{}}}
	for _, p := range all {
		if !by.May(p.Name) || !strings.Contains(strings.ToLower(p.Name), strings.ToLower(in.Name)) || in.Cursor != "" && p.Name <= in.Cursor {
			continue
		}
		if len(out.Body.Items) == in.Limit {
			out.Body.Next = out.Body.Items[in.Limit-1].Name
			break
		}
		shown := V1Project{Number: p.Number, Name: p.Name, Visibility: "private"}
		if p.Public {
			shown.Visibility = "public"
		}
		out.Body.Items = append(out.Body.Items, shown)
	}
	return out, nil
}
