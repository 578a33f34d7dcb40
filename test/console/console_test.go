// Package console uses the console of a real bellbuoy with a real browser, as people do.
package console

import (
	"bytes"
	"fmt"
	"image/png"
	"net/http"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// stage is a bellbuoy in front of a registry, with two accounts: ops, and ann of the project team.
type stage struct {
	*testing.T
	buoy   *harness.Buoy
	hooks  *harness.Receiver
	base   string // of the console
	config string
}

// newStage starts a stage whose configuration has a webhook called file, and more.
func newStage(t *testing.T, more ...string) *stage {
	t.Helper()
	hooks := harness.NewReceiver(t)
	config := fmt.Sprintf("egress: {private: [127.0.0.0/8]}\nwebhooks: [{name: file, url: %q}]\n", hooks.URL("/file"))
	s := newStageWith(t, harness.BuoyOptions{}, "http://localhost", config+strings.Join(more, ""))
	s.hooks = hooks
	return s
}

// newStageWith starts a stage without a receiver, whose registry users know by an address.
func newStageWith(t *testing.T, opts harness.BuoyOptions, registryURL, config string) *stage {
	t.Helper()
	if testing.Short() {
		t.Skip("starts real parts")
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	registry, address := harness.Registry(t, harness.RegistryOptions{}), fmt.Sprintf("127.0.0.1:%d", harness.FreePort(t))
	config = fmt.Sprintf(`admin: {listen: %q, users: [{name: ops, password_hash: %q}, {name: ann, password_hash: %q, projects: [team]}]}
upstreams: [{type: registry, url: %q, external_url: %q}]
`, address, hash, hash, registry.URL, registryURL) + config
	return &stage{T: t, buoy: harness.BellbuoyWith(t, opts, config), base: "http://" + address, config: config}
}

// push pushes an image to a repository.
func (s *stage) push(reference string) {
	s.Helper()
	image := harness.NewImage(harness.ImageOptions{})
	harness.Run(s, harness.Env(s), "crane", "push", image.Layout(s, "v1"), s.buoy.Host+"/"+reference, "--insecure")
}

// newWebhook makes a webhook of the project team at a path of the receiver, and returns the path of
// its page.
func (s *stage) newWebhook(b *browser, name, project string) string {
	s.Helper()
	b.visit("/webhooks/new")
	b.fill("Name", name)
	b.fill("Project", project)
	b.fill("Endpoint URL", s.hooks.URL("/"+name))
	b.follow("button", "Save")
	b.says("The webhook is saved.")
	return strings.TrimSuffix(b.path(), "?done=saved")
}

func badRequest(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "no", http.StatusBadRequest)
}

func TestLoginAndLogout(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.visit("/webhooks?project=team")
	b.at("/login?next=")
	b.fill("User", "ops")
	b.fill("Password", "wrong")
	b.follow("button", "Log in")
	b.says("The user or the password is wrong.")
	b.fill("Password", "secret")
	b.follow("button", "Log in")
	b.at("/webhooks?project=team")
	b.follow("button", "Log out")
	b.at("/login")
	b.visit("/webhooks")
	b.at("/login")

	out, err := s.buoy.Command("console")
	if err != nil {
		t.Fatal(err)
	}
	once := strings.TrimPrefix(strings.TrimSpace(out), s.base)
	b.visit(once)
	b.visit("/webhooks")
	b.says("file")
	other := open(t, s.base)
	other.visit(once)
	other.says("used already")
}

// While notifications.enabled is false every page says so.
func TestPausedDeliveryIsSaidOnEveryPage(t *testing.T) {
	s := newStage(t, "notifications: {enabled: false}\n")
	b := open(t, s.base)
	b.logIn("ops", "secret")
	one := s.newWebhook(b, "ci", "team")
	for _, path := range []string{"/", "/webhooks", "/webhooks/new", one, one + "/edit", "/deliveries", "/events", "/projects", "/nothing"} {
		b.visit(path)
		b.says("Nothing is delivered.", "notifications.enabled")
	}
	s.push("team/app:v1")
	b.visit("/events")
	b.says("team/app")
	if n := len(s.hooks.Posts("")); n > 0 {
		t.Errorf("%d posts while nothing is delivered", n)
	}
	s.buoy.Reload(strings.Replace(s.config, "enabled: false", "enabled: true", 1))
	if !harness.Eventually(soon, func() bool { b.visit("/webhooks"); return !strings.Contains(b.text(), "Nothing is delivered.") }) {
		t.Error("the banner stays after a reload")
	}
}

// A test that fails keeps what its window shows.
func TestScreenshotsAreKept(t *testing.T) {
	s := newStage(t)
	b := open(t, s.base)
	b.visit("/login")
	path, err := b.keepScreenshot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := png.DecodeConfig(bytes.NewReader(data)); err != nil || c.Width < 1400 || c.Height < 900 {
		t.Errorf("%s: %+v, %v", path, c, err)
	}
}
