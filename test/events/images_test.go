package events

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// Images with the clients that move them, at an anonymous registry and at one that asks for a
// login.
func TestImages(t *testing.T) {
	t.Parallel()
	for name, l := range map[string]harness.Login{"anonymous": {}, "htpasswd": {User: "ann", Password: "pw"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			opts := harness.RegistryOptions{Delete: true}
			if l.User != "" {
				opts.Htpasswd = harness.Users
			}
			registry := harness.Registry(t, opts)
			s := harness.NewStage(t, harness.RegistryUpstream(registry.URL))
			s.Direct = registry.URL
			t.Run("clients", func(t *testing.T) {
				for client, play := range map[string]func(*harness.Stage, harness.Login){"crane": playCrane, "skopeo": playSkopeo, "oras": playOras, "helm3": playHelm, "helm4": playHelm, "curl": playCurl} {
					t.Run(client, func(t *testing.T) {
						t.Parallel()
						mine := harness.StageOn(t, s.Hooks, s.Buoy)
						mine.Direct = s.Direct
						play(mine, l)
						s.Adopt(mine)
					})
				}
			})
			s.End()
		})
	}
}

func playCrane(s *harness.Stage, l harness.Login) {
	env := harness.Env(s)
	crane := func(args ...string) string { return harness.Run(s, env, "crane", args...) }
	if l.User != "" {
		crane("auth", "login", s.Buoy.Host, "-u", l.User, "-p", l.Password)
	}
	image, index := harness.NewImage(harness.ImageOptions{Layers: 2}), harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	repo, multi, copied := "crane/app", "crane/deep/multi", "crane/copied"
	layout := image.Layout(s, "v1")

	crane("push", layout, s.Ref(repo, "v1"))
	s.Expect(repo, harness.Pushed(repo, image, "v1").By(l.User))
	crane("push", layout, s.Ref(repo, "v1")) // sees that it is there
	crane("digest", s.Ref(repo, "v1"))
	crane("ls", s.Buoy.Host+"/"+repo)
	crane("tag", s.Ref(repo, "v1"), "v2")
	s.Expect(repo, harness.Pushed(repo, image, "v2").By(l.User))
	crane("pull", s.Ref(repo, "v2"), filepath.Join(s.TempDir(), "out.tar"))
	s.Expect(repo, harness.Pulled(repo, image, "v2", "v1").By(l.User))
	s.Pause()
	crane("manifest", s.Ref(repo, "v1"))
	s.Expect(repo, harness.Pulled(repo, image, "v1", "v2").ManifestRead().By(l.User))

	next := harness.NewImage(harness.ImageOptions{})
	crane("push", next.Layout(s, "v1"), s.Ref(repo, "v1")) // moves the tag
	s.Expect(repo, harness.Pushed(repo, next, "v1").By(l.User).With(func(e *harness.Event) { e.Previous = image.Digest.String() }))
	crane("delete", s.Ref(repo, "v2"))
	s.Expect(repo, harness.Untagged(repo, image, "v2").By(l.User))
	crane("tag", s.Ref(repo, "v1"), "v3")
	s.Expect(repo, harness.Pushed(repo, next, "v3").By(l.User))
	crane("delete", s.Ref(repo, next.Digest.String()))
	s.Expect(repo, harness.Deleted(repo, next, "v1", "v3").By(l.User))
	if _, err := harness.Try(s, env, "crane", "delete", s.Ref(repo, "v1")); err == nil {
		s.Error("deleted what was not there")
	}

	crane("push", index.Layout(s, "v1"), s.Ref(multi, "v1"))
	s.Expect(multi, harness.Pushed(multi, index, "v1").By(l.User))
	crane("pull", "--platform", "linux/arm64", s.Ref(multi, "v1"), filepath.Join(s.TempDir(), "out.tar"))
	s.Expect(multi, harness.Pulled(multi, index, "v1").By(l.User).Chosen("linux/arm64"))
	s.Pause()
	crane("copy", s.Ref(multi, "v1"), s.Ref(copied, "v9"))
	s.Expect(copied, harness.Pushed(copied, index, "v9").By(l.User))
	s.Expect(multi, harness.Pulled(multi, index, "v1").By(l.User)) // of the mounted blobs
}

func playSkopeo(s *harness.Stage, l harness.Login) {
	env := harness.Env(s)
	skopeo := func(command string, args ...string) string {
		return harness.Run(s, env, "skopeo", append([]string{"--insecure-policy", command}, args...)...)
	}
	push := append([]string{"--dest-tls-verify=false"}, l.Flags("skopeo", "--dest-creds")...)
	pull := append([]string{"--src-tls-verify=false"}, l.Flags("skopeo", "--src-creds")...)
	only := append([]string{"--tls-verify=false"}, l.Flags("skopeo", "--creds")...)
	with := func(flags []string, args ...string) []string { return append(flags[:len(flags):len(flags)], args...) }
	image, index := harness.NewImage(harness.ImageOptions{Layers: 2}), harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	repo, multi := "skopeo/app", "skopeo/multi"

	source := "oci:" + image.Layout(s, "v1") + ":v1"
	skopeo("copy", with(push, source, "docker://"+s.Ref(repo, "v1"))...)
	s.Expect(repo, harness.Pushed(repo, image, "v1").By(l.User))
	skopeo("copy", with(push, source, "docker://"+s.Ref(repo, "v1"))...) // puts it again
	s.Expect(repo, harness.Pushed(repo, image, "v1").By(l.User).Unchanged())
	skopeo("copy", with(push, source, "docker://"+s.Ref(repo, "v2"))...)
	s.Expect(repo, harness.Pushed(repo, image, "v2").By(l.User))
	skopeo("copy", with(pull, "docker://"+s.Ref(repo, "v1"), "oci:"+s.TempDir()+":x")...)
	s.Expect(repo, harness.Pulled(repo, image, "v1", "v2").By(l.User))
	skopeo("list-tags", with(only, "docker://"+s.Buoy.Host+"/"+repo)...)
	skopeo("delete", with(only, "docker://"+s.Ref(repo, "v2"))...) // deletes the digest
	s.Expect(repo, harness.Deleted(repo, image, "v1", "v2").By(l.User))

	skopeo("copy", with(push, "--all", "oci:"+index.Layout(s, "v1")+":v1", "docker://"+s.Ref(multi, "v1"))...)
	s.Expect(multi, harness.Pushed(multi, index, "v1").By(l.User))
	skopeo("copy", with(pull, "--all", "docker://"+s.Ref(multi, "v1"), "oci:"+s.TempDir()+":x")...)
	s.Expect(multi, harness.Pulled(multi, index, "v1").By(l.User).Chosen("linux/amd64")) // decided while the first child is read
}

func playOras(s *harness.Stage, l harness.Login) {
	env := harness.Env(s)
	oras := func(args ...string) string { return harness.Run(s, env, "oras", args...) }
	plainHTTP := append([]string{"--plain-http"}, l.Flags("oras", "--username", "--password")...)
	to := append([]string{"--to-plain-http"}, l.Flags("oras", "--to-username", "--to-password")...)
	from := append([]string{"--from-plain-http"}, l.Flags("oras", "--from-username", "--from-password")...)
	with := func(flags []string, args ...string) []string { return append(args, flags...) }
	image, index := harness.NewImage(harness.ImageOptions{Layers: 2}), harness.NewMultiArch(harness.ImageOptions{}, "linux/amd64", "linux/arm64")
	repo, multi := "oras/app", "oras/multi"

	oras(with(to, "cp", "--from-oci-layout", image.Layout(s, "v1")+":v1", s.Ref(repo, "v1"))...)
	s.Expect(repo, harness.Pushed(repo, image, "v1").By(l.User))
	oras(with(plainHTTP, "tag", s.Ref(repo, "v1"), "v2")...)
	s.Expect(repo, harness.Pushed(repo, image, "v2").By(l.User))
	s.Pause()
	oras(with(from, "cp", "--to-oci-layout", s.Ref(repo, "v1"), s.TempDir()+":v1")...)
	s.Expect(repo, harness.Pulled(repo, image, "v1", "v2").By(l.User))
	oras(with(plainHTTP, "repo", "tags", s.Buoy.Host+"/"+repo)...)
	oras(with(plainHTTP, "resolve", s.Ref(repo, "v1"))...)
	oras(with(plainHTTP, "manifest", "delete", "--force", s.Ref(repo, "v1"))...)
	s.Expect(repo, harness.Deleted(repo, image, "v1", "v2").By(l.User))

	oras(with(to, "cp", "--from-oci-layout", index.Layout(s, "v1")+":v1", s.Ref(multi, "v1"))...)
	s.Expect(multi, harness.Pushed(multi, index, "v1").By(l.User)) // and its reading back is no pull
	attach(s, l, env, plainHTTP)
}

// attach attaches a file to an image: an accessory of its own kind, and bookkeeping where the
// registry has no referrers API.
func attach(s *harness.Stage, l harness.Login, env, plainHTTP []string) {
	repo, image := "oras/subject", harness.NewImage(harness.ImageOptions{})
	harness.Push(s, s.Buoy.ProxyURL, repo, "v1", image, l.Header()...)
	s.Expect(repo, harness.Pushed(repo, image, "v1").By(l.User))
	dir := s.TempDir()
	args := append([]string{"attach", "--artifact-type", "application/vnd.example.note", "--export-manifest", dir + "/manifest.json", "--disable-path-validation"}, plainHTTP...)
	harness.WriteFile(s, dir+"/note.txt", "well done")
	harness.Run(s, env, "oras", append(args, s.Ref(repo, "v1"), dir+"/note.txt:text/plain")...)
	manifest := harness.ReadFile(s, dir+"/manifest.json")
	e := harness.Event{
		Type: "PUSH_ARTIFACT", Repository: repo, Namespace: "oras", Name: "subject", Tags: []string{}, Kind: "referrer",
		Digest: harness.Sha256(manifest), Size: harness.ImageSize(s, manifest), Subject: image.Digest.String(), Changed: harness.Yes(), Operator: l.User,
	}
	s.Expect(repo, e)
}

func playHelm(s *harness.Stage, l harness.Login) {
	client := filepath.Base(s.Name())
	env := harness.Env(s)
	helm := func(args ...string) string { return harness.Run(s, env, client, args...) }
	if l.User != "" {
		helm("registry", "login", s.Buoy.Host, "--plain-http", "--username", l.User, "--password", l.Password)
	}
	repo := "oci/" + client + "/app"
	oci := "oci://" + s.Buoy.Host + "/oci/" + client
	helm("push", harness.ChartFile(s, "app", "1.2.3", harness.ChartOptions{}), oci, "--plain-http")
	e := ociChart(s, repo, "1.2.3", l)
	s.Expect(repo, e)
	helm("pull", oci+"/app", "--version", "1.2.3", "--plain-http", "-d", s.TempDir())
	s.Expect(repo, e.With(func(e *harness.Event) {
		e.Type, e.TagAsked, e.Changed, e.Moved = "PULL_ARTIFACT", "1.2.3", nil, "layers"
	}))
	helm("push", harness.ChartFile(s, "app", "1.3.0-rc.1+build.5", harness.ChartOptions{}), oci, "--plain-http")
	s.Expect(repo, ociChart(s, repo, "1.3.0-rc.1_build.5", l))
}

// ociChart is the push of a chart whose manifest helm made.
func ociChart(s *harness.Stage, repository, tag string, l harness.Login) harness.Event {
	s.Helper()
	got := harness.Must(s, http.StatusOK, http.MethodHead, s.Buoy.ProxyURL+"/v2/"+repository+"/manifests/"+tag, nil,
		append([]string{"Accept", "application/vnd.oci.image.manifest.v1+json"}, l.Header()...)...)
	manifest := harness.Must(s, http.StatusOK, http.MethodGet, s.Direct+"/v2/"+repository+"/manifests/"+tag, nil,
		append([]string{"Accept", "application/vnd.oci.image.manifest.v1+json"}, l.Header()...)...)
	namespace, name := "oci", repository[len("oci/"):]
	return harness.Event{
		Type: "PUSH_ARTIFACT", Repository: repository, Namespace: namespace, Name: name, Tags: []string{tag}, Kind: "chart",
		Digest: got.Header.Get("Docker-Content-Digest"), Size: harness.ImageSize(s, []byte(harness.BodyOf(manifest))), Changed: harness.Yes(), Operator: l.User,
	}
}

// curl: every request by hand.
func playCurl(s *harness.Stage, l harness.Login) {
	image, repo := harness.NewImage(harness.ImageOptions{}), "single"
	harness.Push(s, s.Buoy.ProxyURL, repo, "v1", image, l.Header()...)
	s.Expect(repo, harness.Pushed(repo, image, "v1").By(l.User))
	manifests, blobs := s.Buoy.ProxyURL+"/v2/"+repo+"/manifests/", s.Buoy.ProxyURL+"/v2/"+repo+"/blobs/"
	harness.Must(s, http.StatusOK, http.MethodHead, manifests+"v1", nil, append(l.Header(), "Accept", image.MediaType)...)
	harness.Must(s, http.StatusOK, http.MethodGet, manifests+"v1", nil, append(l.Header(), "Accept", image.MediaType)...)
	harness.Must(s, http.StatusOK, http.MethodGet, blobs+image.Layers[0].Digest.String(), nil, l.Header()...)
	s.Expect(repo, harness.Pulled(repo, image, "v1").By(l.User))
	harness.Must(s, http.StatusNotFound, http.MethodGet, manifests+"none", nil, append(l.Header(), "Accept", image.MediaType)...)
	harness.Must(s, http.StatusAccepted, http.MethodDelete, manifests+image.Digest.String(), nil, l.Header()...)
	s.Expect(repo, harness.Deleted(repo, image, "v1").By(l.User))
	harness.Must(s, http.StatusNotFound, http.MethodDelete, manifests+image.Digest.String(), nil, l.Header()...)

	digestOnly, lone := harness.NewImage(harness.ImageOptions{}), "curl/lone"
	harness.Push(s, s.Buoy.ProxyURL, lone, digestOnly.Digest.String(), digestOnly, l.Header()...)
	s.Expect(lone, harness.Pushed(lone, digestOnly).By(l.User)) // once nothing followed
	if l.User != "" {
		resp, err := harness.PutManifest(s.Buoy.ProxyURL, lone, "forged", digestOnly, harness.Login{User: "ann", Password: "wrong"}.Header()...)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			s.Errorf("a push with a wrong password: %v %v", resp, err)
		}
	}
}
