package api

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/manage"
)

// projectOf returns the project in the path. Digits are its number, unless a header says that they
// are its name.
func (h *Harbor) projectOf(c *call) (Project, error) {
	text := c.PathValue("project")
	number, err := strconv.ParseInt(text, 10, 64)
	var p Project
	switch {
	case err == nil && c.Header.Get("X-Is-Resource-Name") != "true":
		p, err = h.Projects.Numbered(c.Context(), number)
	case !manage.ValidProject(text):
		return p, noProject(text)
	default:
		p, err = h.Projects.Project(c.Context(), text)
	}
	if err == nil && !c.by.May(p.Name) {
		return p, noProject(text)
	}
	return p, err
}

func noProject(text string) error {
	return fmt.Errorf("%w: project %.255s not found", manage.ErrNotFound, text)
}

type projectJSON struct {
	ID       int64             `json:"project_id"`
	Name     string            `json:"name"`
	Made     harborTime        `json:"creation_time"`
	Changed  harborTime        `json:"update_time"`
	Role     int               `json:"current_user_role_id"`
	Metadata map[string]string `json:"metadata"`
}

func shownProject(p Project) projectJSON {
	const administrator = 1
	return projectJSON{ID: p.Number, Name: p.Name, Role: administrator, Metadata: map[string]string{"public": strconv.FormatBool(p.Public)}}
}

func (h *Harbor) getProject(c *call) error { return c.answer(shownProject(c.project)) }

// getScanner answers 404, because no project has a scanner of its own.
func (h *Harbor) getScanner(*call) error {
	return fmt.Errorf("%w: the project has no scanner", manage.ErrNotFound)
}

// listProjects lists the account's projects. A project that the query names exactly is listed even
// before the first push to it, so that its webhooks can be made.
func (h *Harbor) listProjects(c *call) error {
	p, err := c.page()
	if err != nil {
		return err
	}
	terms, err := c.terms("name")
	if err != nil {
		return err
	}
	if name := c.URL.Query().Get("name"); name != "" {
		terms = append(terms, term{"name", name, true})
	}
	known, err := h.Projects.Projects(c.Context())
	if err != nil {
		return err
	}
	known = slices.DeleteFunc(known, func(p Project) bool { return !c.by.May(p.Name) })
	for _, t := range terms {
		if known, err = h.withNamed(c, known, t.value); err != nil {
			return err
		}
	}
	var found []projectJSON
	for _, p := range known {
		if !slices.ContainsFunc(terms, func(t term) bool { return !t.meets(p.Name) }) {
			found = append(found, shownProject(p))
		}
	}
	slices.SortFunc(found, func(a, b projectJSON) int { return strings.Compare(a.Name, b.Name) })
	err = sorted(c, found, map[string]func(a, b projectJSON) int{
		"name":          byField(func(p projectJSON) string { return p.Name }),
		"project_id":    byField(func(p projectJSON) int64 { return p.ID }),
		"creation_time": func(a, b projectJSON) int { return 0 },
	})
	if err != nil {
		return err
	}
	return answerPage(c, p, found)
}

// withNamed adds the project with a name if the account may manage it.
func (h *Harbor) withNamed(c *call, known []Project, name string) ([]Project, error) {
	if !manage.ValidProject(name) || !c.by.May(name) || slices.ContainsFunc(known, func(p Project) bool { return p.Name == name }) {
		return known, nil
	}
	asked, err := h.Projects.Project(c.Context(), name)
	return append(known, asked), err
}
