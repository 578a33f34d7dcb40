package events

import (
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bellbuoy/bellbuoy/notify/format/presets"
	"github.com/bellbuoy/bellbuoy/test/harness"
)

const (
	presetHost   = "registry.example.com"
	presetSecret = "s3cret-of-the-consumer"
)

// TestPresets runs every preset with its own example; a receiver stands in for the consumer. A
// consumer that deploys must get only the push and the new tag of the image: no signature, no pull,
// no delete. A chat gets the delete, too.
func TestPresets(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("starts a real registry and client")
	}
	registry, hooks := harness.Registry(t, harness.RegistryOptions{Delete: true}), harness.NewReceiver(t)
	config := fmt.Sprintf("upstreams: [{type: registry, url: %q, external_url: https://%s}]\nwebhooks:\n", registry.URL, presetHost)
	var env []string
	for _, name := range presets.Names() {
		p, _ := presets.Get(name)
		config += presetWebhook(p, hooks)
		for _, variable := range regexp.MustCompile(`\$\{(\w+)\}`).FindAllStringSubmatch(p.Example, -1) {
			env = append(env, variable[1]+"="+presetSecret)
		}
	}
	b := harness.BellbuoyWith(t, harness.BuoyOptions{Env: env}, config)
	clientEnv := harness.Env(t)
	crane := func(args ...string) string {
		return strings.TrimSpace(harness.Run(t, clientEnv, "crane", append(args, "--insecure")...))
	}
	ref := b.Host + "/team/app"
	crane("push", harness.NewImage(harness.ImageOptions{}).Layout(t, "v1"), ref+":v1")
	digest := crane("digest", ref+":v1")
	crane("push", harness.NewImage(harness.ImageOptions{}).Layout(t, "sig"), ref+":"+strings.Replace(digest, ":", "-", 1)+".sig")
	crane("tag", ref+":v1", "v2")
	crane("pull", ref+":v2", t.TempDir()+"/image.tar")
	crane("delete", ref+"@"+digest)
	for _, name := range presets.Names() {
		p, _ := presets.Get(name)
		want := []string{presetHost + "/team/app:v1", presetHost + "/team/app:v2"}
		if forPeople(p) {
			want = []string{"pushed team/app:v1", "pushed team/app:v2", "deleted team/app: v1, v2"}
		}
		waitForPreset(hooks, p, want)
	}
	time.Sleep(3 * time.Second) // for unexpected posts
	for _, name := range presets.Names() {
		p, _ := presets.Get(name)
		t.Run(name, func(t *testing.T) { checkPreset(t, p, presetPosts(hooks, p), digest) })
	}
}

// forPeople reports whether a preset is a chat.
func forPeople(p presets.Preset) bool { return strings.Contains(p.Webhook, "group:") }

var exampleURL = regexp.MustCompile(`(?m)^url: https?://[^/\s]+(/\S*)?$`)

// presetPath returns the path of the consumer at the receiver, and the query of the example's URL.
func presetPath(p presets.Preset) (path, query string) {
	rest := exampleURL.FindStringSubmatch(p.Example)[1]
	path, query, _ = strings.Cut(rest, "?")
	return "/" + p.Name + path, query
}

func presetWebhook(p presets.Preset, hooks *harness.Receiver) string {
	path, query := presetPath(p)
	target := hooks.URL(path)
	if query != "" {
		target += "?" + query
	}
	out := "  - name: " + p.Name + "\n    preset: " + p.Name + "\n"
	for line := range strings.Lines(exampleURL.ReplaceAllLiteralString(p.Example, `url: "`+target+`"`)) {
		out += "    " + line
	}
	if forPeople(p) {
		out += "    group: {wait: 3s}\n    rate_limit: 100/s\n"
	}
	return out
}

func presetPosts(hooks *harness.Receiver, p presets.Preset) []harness.Post {
	path, _ := presetPath(p)
	filled := strings.NewReplacer("{repository}", "team/app", "{tag}", "v1")
	return hooks.Posts(filled.Replace(path))
}

// waitForPreset waits until the posts for a consumer contain all of want.
func waitForPreset(hooks *harness.Receiver, p presets.Preset, want []string) {
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		read := strings.Join(readAll(p, presetPosts(hooks, p)), "\n")
		if !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(read, w) }) {
			return
		}
	}
}

// readAll returns what a consumer reads in its posts: the images, or the messages.
func readAll(p presets.Preset, posts []harness.Post) (all []string) {
	for _, post := range posts {
		switch {
		case strings.Contains(p.Webhook, "format: harbor"):
			all = append(all, post.Text("event_data.resources.0.resource_url"))
		case strings.Contains(p.Webhook, "format: distribution"):
			all = append(all, post.Text("events.0.request.host")+"/"+post.Text("events.0.target.repository")+":"+post.Text("events.0.target.tag"))
		case strings.Contains(p.Webhook, "format: slack"), p.Name == "googlechat":
			all = append(all, post.Text("text"))
		case p.Name == "ntfy":
			all = append(all, string(post.Body))
		default:
			all = append(all, regexp.MustCompile(presetHost+`/team/app[@:][\w:.]+`).FindString(string(post.Body)))
		}
	}
	return all
}

func checkPreset(t *testing.T, p presets.Preset, posts []harness.Post, digest string) {
	read := readAll(p, posts)
	if forPeople(p) {
		text := strings.Join(read, "\n")
		if len(posts) != 2 || strings.Count(text, "somebody") != 3 || !strings.Contains(text, "deleted team/app: v1, v2") {
			t.Errorf("got %d messages: %q", len(posts), read)
		}
		return
	}
	slices.Sort(read)
	if want := []string{presetHost + "/team/app:v1", presetHost + "/team/app:v2"}; !slices.Equal(read, want) {
		t.Errorf("it read %q, want %q", read, want)
	}
	for _, post := range posts {
		if strings.Contains(p.Example, "auth_header: ") != (post.Header.Get("Authorization") != "") ||
			strings.Contains(p.Example, "auth_header: ") && !strings.HasSuffix(post.Header.Get("Authorization"), presetSecret) {
			t.Errorf("got the Authorization %q", post.Header.Get("Authorization"))
		}
		if !strings.Contains(p.Webhook, "format: distribution") && !strings.Contains(string(post.Body), digest) {
			t.Errorf("the digest is missing: %s", post.Body)
		}
	}
	_, query := presetPath(p)
	checkQueries(t, query, posts)
}

// checkQueries checks that the placeholders of a URL were replaced.
func checkQueries(t *testing.T, query string, posts []harness.Post) {
	t.Helper()
	var got []string
	for _, post := range posts {
		unescaped, err := url.QueryUnescape(post.Query)
		if err != nil {
			t.Error(err)
		}
		got = append(got, unescaped)
	}
	var want []string
	for _, tag := range []string{"v1", "v2"} {
		filled := strings.NewReplacer("{repository}", "team/app", "{tag}", tag).Replace(query)
		want = append(want, regexp.MustCompile(`\$\{\w+\}`).ReplaceAllString(filled, presetSecret))
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("queries %q, want %q", got, want)
	}
}
