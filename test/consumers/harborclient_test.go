package consumers

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	harborclient "github.com/goharbor/go-client/pkg/harbor"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/health"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/ping"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/project"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/systeminfo"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/user"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/webhook"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/client/webhookjob"
	"github.com/goharbor/go-client/pkg/sdk/v2.0/models"
	"golang.org/x/crypto/bcrypt"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestHarborClient manages webhooks with Harbor's own client, by each call of its webhook API.
func TestHarborClient(t *testing.T) {
	if testing.Short() {
		t.Skip("starts real parts")
	}
	registry, hooks := harness.Registry(t, harness.RegistryOptions{}), harness.NewReceiver(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	address := fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	b := harness.Bellbuoy(t, fmt.Sprintf("admin: {listen: %q, users: [{name: ops, password_hash: %q}]}\nupstreams: [{type: registry, url: %q, external_url: http://localhost}]\n", address, hash, registry.URL))
	set, err := harborclient.NewClientSet(&harborclient.ClientSetConfig{URL: "http://" + address, Username: "ops", Password: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	c, ctx := set.V2(), t.Context()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}

	pong, err := c.Ping.GetPing(ctx, ping.NewGetPingParams())
	must(err)
	me, err := c.User.GetCurrentUserInfo(ctx, user.NewGetCurrentUserInfoParams())
	must(err)
	fit, err := c.Health.GetHealth(ctx, health.NewGetHealthParams())
	must(err)
	info, err := c.Systeminfo.GetSystemInfo(ctx, systeminfo.NewGetSystemInfoParams())
	must(err)
	if pong.Payload != "Pong" || me.Payload.Username != "ops" || !me.Payload.SysadminFlag || fit.Payload.Status != "healthy" || *info.Payload.AuthMode != "db_auth" {
		t.Errorf("got %q, %+v, %+v, %+v", pong.Payload, me.Payload, fit.Payload, info.Payload)
	}
	name := "team"
	projects, err := c.Project.ListProjects(ctx, project.NewListProjectsParams().WithName(&name))
	must(err)
	if len(projects.Payload) != 1 || projects.Payload[0].Name != name || projects.XTotalCount != 1 {
		t.Fatalf("got the projects %+v", projects)
	}
	id := fmt.Sprint(projects.Payload[0].ProjectID)
	if one, err := c.Project.GetProject(ctx, project.NewGetProjectParams().WithProjectNameOrID(id)); err != nil || one.Payload.Name != name {
		t.Errorf("got the project %+v, %v", one, err)
	}
	if _, err := c.Project.GetScannerOfProject(ctx, project.NewGetScannerOfProjectParams().WithProjectNameOrID(id)); err == nil || !strings.Contains(err.Error(), "404") {
		t.Errorf("getting the scanner: %v", err)
	}
	kinds, err := c.Webhook.GetSupportedEventTypes(ctx, webhook.NewGetSupportedEventTypesParams().WithProjectNameOrID(name))
	must(err)
	if len(kinds.Payload.EventType) != 14 || len(kinds.Payload.NotifyType) != 2 || len(kinds.Payload.PayloadFormats) != 1 {
		t.Errorf("got the types of events %+v", kinds.Payload)
	}

	policy := &models.WebhookPolicy{Name: "ci", Description: "tells ci", Enabled: true, EventTypes: []string{"PUSH_ARTIFACT", "DELETE_ARTIFACT"},
		Targets: []*models.WebhookTargetObject{{Type: "http", Address: hooks.URL("/ci"), AuthHeader: "Bearer x", PayloadFormat: "CloudEvents"}}}
	created, err := c.Webhook.CreateWebhookPolicyOfProject(ctx, webhook.NewCreateWebhookPolicyOfProjectParams().WithProjectNameOrID(name).WithPolicy(policy))
	must(err)
	if created.Location != "/api/v2.0/projects/team/webhook/policies/1" || created.XRequestID == "" {
		t.Errorf("created the policy %+v", created)
	}
	get := func() *models.WebhookPolicy {
		t.Helper()
		byName := true
		got, err := c.Webhook.GetWebhookPolicyOfProject(ctx, webhook.NewGetWebhookPolicyOfProjectParams().WithProjectNameOrID(name).WithXIsResourceName(&byName).WithWebhookPolicyID(1))
		must(err)
		return got.Payload
	}
	if got := get(); got.Name != "ci" || got.Description != "tells ci" || got.Creator != "ops" || *got.Targets[0] != *policy.Targets[0] || time.Time(got.CreationTime).IsZero() {
		t.Errorf("got the policy %+v with the target %+v", got, got.Targets[0])
	}
	ref := b.Host + "/team/app"
	harness.Run(t, harness.Env(t), "crane", "push", harness.NewImage(harness.ImageOptions{}).Layout(t, "v1"), ref+":v1", "--insecure")
	post := hooks.WaitAt("/ci", 1, time.Minute)[0]
	if source := post.Text("source"); source != "/projects/"+id+"/webhook/policies/1" {
		t.Errorf("the body's source is %s, not by the numbers of the API", source)
	}

	executions := webhook.NewListExecutionsOfWebhookPolicyParams().WithProjectNameOrID(id).WithWebhookPolicyID(1)
	var execution *models.Execution
	for deadline := time.Now().Add(time.Minute); execution == nil && time.Now().Before(deadline); {
		got, err := c.Webhook.ListExecutionsOfWebhookPolicy(ctx, executions)
		must(err)
		if len(got.Payload) == 1 && got.XTotalCount == 1 && got.Payload[0].Status == "Success" {
			execution = got.Payload[0]
		}
	}
	if execution == nil || execution.Metrics.SuccessTaskCount != 1 || execution.VendorID != 1 || execution.EndTime == "" {
		t.Fatalf("got the execution %+v", execution)
	}
	tasks, err := c.Webhook.ListTasksOfWebhookExecution(ctx, webhook.NewListTasksOfWebhookExecutionParams().WithProjectNameOrID(id).WithWebhookPolicyID(1).WithExecutionID(execution.ID))
	must(err)
	log, err := c.Webhook.GetLogsOfWebhookTask(ctx, webhook.NewGetLogsOfWebhookTaskParams().WithProjectNameOrID(id).WithWebhookPolicyID(1).WithExecutionID(execution.ID).WithTaskID(tasks.Payload[0].ID))
	must(err)
	if !strings.Contains(log.Payload, "response code 200") {
		t.Errorf("got the log %q", log.Payload)
	}
	jobs, err := c.Webhookjob.ListWebhookJobs(ctx, webhookjob.NewListWebhookJobsParams().WithProjectNameOrID(name).WithPolicyID(1).WithStatus([]string{"Success"}))
	must(err)
	last, err := c.Webhook.LastTrigger(ctx, webhook.NewLastTriggerParams().WithProjectNameOrID(name))
	must(err)
	if len(jobs.Payload) != 1 || len(last.Payload) != 2 || time.Time(last.Payload[0].LastTriggerTime).IsZero() || !time.Time(last.Payload[1].LastTriggerTime).Before(time.Unix(0, 0)) {
		t.Errorf("got the jobs %+v and last triggers %+v", jobs.Payload, last.Payload)
	}

	policy.Enabled, policy.Targets[0].AuthHeader = false, ""
	_, err = c.Webhook.UpdateWebhookPolicyOfProject(ctx, webhook.NewUpdateWebhookPolicyOfProjectParams().WithProjectNameOrID(name).WithWebhookPolicyID(1).WithPolicy(policy))
	must(err)
	if got := get(); got.Enabled || got.Targets[0].AuthHeader != "" {
		t.Errorf("got the policy %+v with the target %+v", got, got.Targets[0])
	}
	list, err := c.Webhook.ListWebhookPoliciesOfProject(ctx, webhook.NewListWebhookPoliciesOfProjectParams().WithProjectNameOrID(name))
	must(err)
	if len(list.Payload) != 1 || list.XTotalCount != 1 {
		t.Errorf("got the list %+v", list)
	}
	_, err = c.Webhook.DeleteWebhookPolicyOfProject(ctx, webhook.NewDeleteWebhookPolicyOfProjectParams().WithProjectNameOrID(name).WithWebhookPolicyID(1))
	must(err)
	_, err = c.Webhook.DeleteWebhookPolicyOfProject(ctx, webhook.NewDeleteWebhookPolicyOfProjectParams().WithProjectNameOrID(name).WithWebhookPolicyID(1))
	if _, gone := err.(*webhook.DeleteWebhookPolicyOfProjectNotFound); !gone {
		t.Errorf("deleted twice: %T %v", err, err)
	}
	stranger, err := harborclient.NewClientSet(&harborclient.ClientSetConfig{URL: "http://" + address, Username: "ops", Password: "wrong"})
	must(err)
	if _, err := stranger.V2().User.GetCurrentUserInfo(ctx, user.NewGetCurrentUserInfoParams()); err == nil || !strings.Contains(err.Error(), fmt.Sprint(http.StatusUnauthorized)) {
		t.Errorf("a wrong password: %v", err)
	}
}
