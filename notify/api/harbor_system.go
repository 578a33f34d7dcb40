package api

import (
	"io"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/format"
)

func (h *Harbor) ping(c *call) error {
	c.w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(c.w, "Pong")
	return nil
}

func (h *Harbor) currentUser(c *call) error {
	return c.answer(struct {
		ID       int64  `json:"user_id"`
		Name     string `json:"username"`
		RealName string `json:"realname"`
		Admin    bool   `json:"sysadmin_flag"`
		AdminToo bool   `json:"admin_role_in_auth"`
	}{format.Number("account/" + c.by.Name), c.by.Name, c.by.Name, c.by.Administrator, c.by.Administrator})
}

func (h *Harbor) systemInfo(c *call) error {
	external := h.System.ExternalURL()
	_, host, _ := strings.Cut(external, "://")
	return c.answer(struct {
		Auth     string `json:"auth_mode"`
		External string `json:"external_url,omitempty"`
		Version  string `json:"harbor_version"`
		Registry string `json:"registry_url,omitempty"`
		SelfReg  bool   `json:"self_registration"`
	}{"db_auth", external, "bellbuoy-" + h.System.Version(), host, false})
}

func (h *Harbor) health(c *call) error {
	type component struct {
		Name   string `json:"name"`
		Status string `json:"status"`
		Error  string `json:"error,omitempty"`
	}
	store, all := component{Name: "database", Status: "healthy"}, "healthy"
	if err := h.System.Healthy(); err != nil {
		store.Status, store.Error, all = "unhealthy", "the store fails; the log says more", "unhealthy"
	}
	return c.answer(struct {
		Status     string      `json:"status"`
		Components []component `json:"components"`
	}{all, []component{{Name: "core", Status: "healthy"}, store}})
}
