package e2e

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// users of registries and ChartMuseums that ask for a login.
var users = map[string]string{"ann": "pw"}

// login is how each client is told who it is; without one, nothing.
type login struct{ user, password string }

func (l login) flags(name string, more ...string) []string {
	switch {
	case l.user == "":
		return nil
	case name == "skopeo":
		return []string{more[0], l.user + ":" + l.password}
	}
	return []string{more[0], l.user, more[1], l.password}
}

// header is the login as header arguments of a request.
func (l login) header() []string {
	if l.user == "" {
		return nil
	}
	r, _ := http.NewRequest(http.MethodGet, "http://x", nil)
	r.SetBasicAuth(l.user, l.password)
	return []string{"Authorization", r.Header.Get("Authorization")}
}

// Images with the clients that move them, at an anonymous registry and at one that asks for a login.
func TestImages(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]login{"anonymous": {}, "htpasswd": {"ann", "pw"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := harness.RegistryOptions{Delete: true}
			if l.user != "" {
				opts.Htpasswd = users
			}
			registry := harness.Registry(t, opts)
			s := newStage(t, registryUpstream(registry.URL))
			s.direct = registry.URL
			t.Run("clients", func(t *testing.T) {
				for client, play := range map[string]func(*stage, login){"crane": playCrane, "skopeo": playSkopeo, "oras": playOras, "helm3": playHelm, "helm4": playHelm, "curl": playCurl} {
					t.Run(client, func(t *testing.T) {
						t.Parallel()
						mine := &stage{T: t, hooks: s.hooks, buoy: s.buoy, direct: s.direct, want: map[string][]event{}}
						play(mine, l)
						s.adopt(mine)
					})
				}
			})
			s.end()
		})
	}
}

// adopt takes over what another player of the same stage expects.
func (s *stage) adopt(o *stage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for repository, events := range o.want {
		s.want[repository] = append(s.want[repository], events...)
	}
}

func playCrane(s *stage, l login) {
	env := harness.Env(s)
	crane := func(args ...string) string { return harness.Run(s, env, "crane", args...) }
	if l.user != "" {
		crane("auth", "login", s.buoy.Host, "-u", l.user, "-p", l.password)
	}
	image, index := harness.NewImage(harness.ImageOptions{Layers: 2}), harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	repo, multi, copied := "crane/app", "crane/deep/multi", "crane/copied"
	layout := image.Layout(s, "v1")

	crane("push", layout, s.ref(repo, "v1"))
	s.expect(repo, pushed(repo, image, "v1").by(l.user))
	crane("push", layout, s.ref(repo, "v1")) // sees that it is there
	crane("digest", s.ref(repo, "v1"))
	crane("ls", s.buoy.Host+"/"+repo)
	crane("tag", s.ref(repo, "v1"), "v2")
	s.expect(repo, pushed(repo, image, "v2").by(l.user))
	crane("pull", s.ref(repo, "v2"), filepath.Join(s.TempDir(), "out.tar"))
	s.expect(repo, pulled(repo, image, "v2", "v1").by(l.user))
	s.pause()
	crane("manifest", s.ref(repo, "v1"))
	s.expect(repo, pulled(repo, image, "v1", "v2").manifest().by(l.user))

	next := harness.NewImage(harness.ImageOptions{})
	crane("push", next.Layout(s, "v1"), s.ref(repo, "v1")) // moves the tag
	s.expect(repo, pushed(repo, next, "v1").by(l.user).with(func(e *event) { e.Previous = image.Digest.String() }))
	crane("delete", s.ref(repo, "v2"))
	s.expect(repo, untagged(repo, image, "v2").by(l.user))
	crane("tag", s.ref(repo, "v1"), "v3")
	s.expect(repo, pushed(repo, next, "v3").by(l.user))
	crane("delete", s.ref(repo, next.Digest.String()))
	s.expect(repo, deleted(repo, next, "v1", "v3").by(l.user))
	if _, err := harness.Try(s, env, "crane", "delete", s.ref(repo, "v1")); err == nil {
		s.Error("deleted what was not there")
	}

	crane("push", index.Layout(s, "v1"), s.ref(multi, "v1"))
	s.expect(multi, pushed(multi, index, "v1").by(l.user))
	crane("pull", "--platform", "linux/arm64", s.ref(multi, "v1"), filepath.Join(s.TempDir(), "out.tar"))
	s.expect(multi, pulled(multi, index, "v1").by(l.user).chosen("linux/arm64"))
	s.pause()
	crane("copy", s.ref(multi, "v1"), s.ref(copied, "v9"))
	s.expect(copied, pushed(copied, index, "v9").by(l.user))
	s.expect(multi, pulled(multi, index, "v1").by(l.user)) // of the mounted blobs
}

func playSkopeo(s *stage, l login) {
	env := harness.Env(s)
	skopeo := func(command string, args ...string) string {
		return harness.Run(s, env, "skopeo", append([]string{"--insecure-policy", command}, args...)...)
	}
	push := append([]string{"--dest-tls-verify=false"}, l.flags("skopeo", "--dest-creds")...)
	pull := append([]string{"--src-tls-verify=false"}, l.flags("skopeo", "--src-creds")...)
	only := append([]string{"--tls-verify=false"}, l.flags("skopeo", "--creds")...)
	with := func(flags []string, args ...string) []string { return append(flags[:len(flags):len(flags)], args...) }
	image, index := harness.NewImage(harness.ImageOptions{Layers: 2}), harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	repo, multi := "skopeo/app", "skopeo/multi"

	source := "oci:" + image.Layout(s, "v1") + ":v1"
	skopeo("copy", with(push, source, "docker://"+s.ref(repo, "v1"))...)
	s.expect(repo, pushed(repo, image, "v1").by(l.user))
	skopeo("copy", with(push, source, "docker://"+s.ref(repo, "v1"))...) // puts it again
	s.expect(repo, pushed(repo, image, "v1").by(l.user).unchanged())
	skopeo("copy", with(push, source, "docker://"+s.ref(repo, "v2"))...)
	s.expect(repo, pushed(repo, image, "v2").by(l.user))
	skopeo("copy", with(pull, "docker://"+s.ref(repo, "v1"), "oci:"+s.TempDir()+":x")...)
	s.expect(repo, pulled(repo, image, "v1", "v2").by(l.user))
	skopeo("list-tags", with(only, "docker://"+s.buoy.Host+"/"+repo)...)
	skopeo("delete", with(only, "docker://"+s.ref(repo, "v2"))...) // deletes the digest
	s.expect(repo, deleted(repo, image, "v1", "v2").by(l.user))

	skopeo("copy", with(push, "--all", "oci:"+index.Layout(s, "v1")+":v1", "docker://"+s.ref(multi, "v1"))...)
	s.expect(multi, pushed(multi, index, "v1").by(l.user))
	skopeo("copy", with(pull, "--all", "docker://"+s.ref(multi, "v1"), "oci:"+s.TempDir()+":x")...)
	s.expect(multi, pulled(multi, index, "v1").by(l.user).chosen("linux/amd64")) // decided while the first child is read
}

func playOras(s *stage, l login) {
	env := harness.Env(s)
	oras := func(args ...string) string { return harness.Run(s, env, "oras", args...) }
	plainHTTP := append([]string{"--plain-http"}, l.flags("oras", "--username", "--password")...)
	to := append([]string{"--to-plain-http"}, l.flags("oras", "--to-username", "--to-password")...)
	from := append([]string{"--from-plain-http"}, l.flags("oras", "--from-username", "--from-password")...)
	with := func(flags []string, args ...string) []string { return append(args, flags...) }
	image, index := harness.NewImage(harness.ImageOptions{Layers: 2}), harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	repo, multi := "oras/app", "oras/multi"

	oras(with(to, "cp", "--from-oci-layout", image.Layout(s, "v1")+":v1", s.ref(repo, "v1"))...)
	s.expect(repo, pushed(repo, image, "v1").by(l.user))
	oras(with(plainHTTP, "tag", s.ref(repo, "v1"), "v2")...)
	s.expect(repo, pushed(repo, image, "v2").by(l.user))
	s.pause()
	oras(with(from, "cp", "--to-oci-layout", s.ref(repo, "v1"), s.TempDir()+":v1")...)
	s.expect(repo, pulled(repo, image, "v1", "v2").by(l.user))
	oras(with(plainHTTP, "repo", "tags", s.buoy.Host+"/"+repo)...)
	oras(with(plainHTTP, "resolve", s.ref(repo, "v1"))...)
	oras(with(plainHTTP, "manifest", "delete", "--force", s.ref(repo, "v1"))...)
	s.expect(repo, deleted(repo, image, "v1", "v2").by(l.user))

	oras(with(to, "cp", "--from-oci-layout", index.Layout(s, "v1")+":v1", s.ref(multi, "v1"))...)
	s.expect(multi, pushed(multi, index, "v1").by(l.user)) // and its reading back is no pull
	s.attach(l, env, plainHTTP)
}

// attach attaches a file to an image: an accessory of its own kind, and bookkeeping where the registry has no referrers API.
func (s *stage) attach(l login, env, plainHTTP []string) {
	repo, image := "oras/subject", harness.NewImage(harness.ImageOptions{})
	push(s, s.buoy.ProxyURL, repo, "v1", image, l.header()...)
	s.expect(repo, pushed(repo, image, "v1").by(l.user))
	dir := s.TempDir()
	args := append([]string{"attach", "--artifact-type", "application/vnd.example.note", "--export-manifest", dir + "/manifest.json", "--disable-path-validation"}, plainHTTP...)
	writeFile(s, dir+"/note.txt", "well done")
	harness.Run(s, env, "oras", append(args, s.ref(repo, "v1"), dir+"/note.txt:text/plain")...)
	manifest := readFile(s, dir+"/manifest.json")
	e := event{
		Type: "PUSH_ARTIFACT", Repository: repo, Namespace: "oras", Name: "subject", Tags: []string{}, Kind: "referrer",
		Digest: sha256of(manifest), Size: sizeOf(s, manifest), Subject: image.Digest.String(), Changed: yes(), Operator: l.user,
	}
	s.expect(repo, e)
}

func playHelm(s *stage, l login) {
	client := filepath.Base(s.Name())
	env := harness.Env(s)
	helm := func(args ...string) string { return harness.Run(s, env, client, args...) }
	if l.user != "" {
		helm("registry", "login", s.buoy.Host, "--plain-http", "--username", l.user, "--password", l.password)
	}
	repo := "oci/" + client + "/app"
	oci := "oci://" + s.buoy.Host + "/oci/" + client
	helm("push", harness.ChartFile(s, "app", "1.2.3", harness.ChartOptions{}), oci, "--plain-http")
	e := s.ociChart(repo, "1.2.3", l)
	s.expect(repo, e)
	helm("pull", oci+"/app", "--version", "1.2.3", "--plain-http", "-d", s.TempDir())
	s.expect(repo, e.with(func(e *event) {
		e.Type, e.TagAsked, e.Changed, e.Moved = "PULL_ARTIFACT", "1.2.3", nil, "layers"
	}))
	helm("push", harness.ChartFile(s, "app", "1.3.0-rc.1+build.5", harness.ChartOptions{}), oci, "--plain-http")
	s.expect(repo, s.ociChart(repo, "1.3.0-rc.1_build.5", l))
}

// ociChart is the push of a chart whose manifest helm made.
func (s *stage) ociChart(repository, tag string, l login) event {
	s.Helper()
	got := must(s, http.StatusOK, http.MethodHead, s.buoy.ProxyURL+"/v2/"+repository+"/manifests/"+tag, nil,
		append([]string{"Accept", "application/vnd.oci.image.manifest.v1+json"}, l.header()...)...)
	manifest := must(s, http.StatusOK, http.MethodGet, s.direct+"/v2/"+repository+"/manifests/"+tag, nil,
		append([]string{"Accept", "application/vnd.oci.image.manifest.v1+json"}, l.header()...)...)
	namespace, name := "oci", repository[len("oci/"):]
	return event{
		Type: "PUSH_ARTIFACT", Repository: repository, Namespace: namespace, Name: name, Tags: []string{tag}, Kind: "chart",
		Digest: got.Header.Get("Docker-Content-Digest"), Size: sizeOf(s, []byte(bodyOf(manifest))), Changed: yes(), Operator: l.user,
	}
}

// curl: every request by hand.
func playCurl(s *stage, l login) {
	image, repo := harness.NewImage(harness.ImageOptions{}), "single"
	push(s, s.buoy.ProxyURL, repo, "v1", image, l.header()...)
	s.expect(repo, pushed(repo, image, "v1").by(l.user))
	manifests, blobs := s.buoy.ProxyURL+"/v2/"+repo+"/manifests/", s.buoy.ProxyURL+"/v2/"+repo+"/blobs/"
	must(s, http.StatusOK, http.MethodHead, manifests+"v1", nil, append(l.header(), "Accept", image.MediaType)...)
	must(s, http.StatusOK, http.MethodGet, manifests+"v1", nil, append(l.header(), "Accept", image.MediaType)...)
	must(s, http.StatusOK, http.MethodGet, blobs+image.Layers[0].Digest.String(), nil, l.header()...)
	s.expect(repo, pulled(repo, image, "v1").by(l.user))
	must(s, http.StatusNotFound, http.MethodGet, manifests+"none", nil, append(l.header(), "Accept", image.MediaType)...)
	must(s, http.StatusAccepted, http.MethodDelete, manifests+image.Digest.String(), nil, l.header()...)
	s.expect(repo, deleted(repo, image, "v1").by(l.user))
	must(s, http.StatusNotFound, http.MethodDelete, manifests+image.Digest.String(), nil, l.header()...)

	digestOnly, lone := harness.NewImage(harness.ImageOptions{}), "curl/lone"
	push(s, s.buoy.ProxyURL, lone, digestOnly.Digest.String(), digestOnly, l.header()...)
	s.expect(lone, pushed(lone, digestOnly).by(l.user)) // once nothing followed
	if l.user != "" {
		resp, err := putManifest(s.buoy.ProxyURL, lone, "forged", digestOnly, login{"ann", "wrong"}.header()...)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			s.Errorf("a push with a wrong password: %v %v", resp, err)
		}
	}
}
