package events

import (
	"net/http"
	"strings"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// The scripts of this file compare every field of the events.

func crane(s *script) {
	app, deep, copied := s.name+"/app", s.name+"/deep/many", s.name+"/copied"
	one, two, many := image(), image(), multi()
	do := func(args ...string) {
		s.t.Helper()
		s.run("crane", append([]string{args[0], "--insecure"}, args[1:]...)...)
	}
	if s.operator != "" {
		s.run("crane", "auth", "login", s.buoy.Host, "-u", user, "-p", password)
	}
	layout := one.Layout(s.t, "x")
	do("push", layout, s.ref("app:v1"))
	s.expects(harness.Pushed(app, one, "v1"))
	do("push", layout, s.ref("app:v1")) // finds that all is there
	do("digest", s.ref("app:v1"))
	do("ls", s.ref("app"))
	do("tag", s.ref("app:v1"), "v2")
	s.expects(harness.Pushed(app, one, "v2"))
	do("pull", s.ref("app:v2"), s.file("one.tar", ""))
	s.expects(harness.Pulled(app, one, "v2", "v1"))
	do("pull", s.ref("app:v2"), s.file("one.tar", "")) // downloads again
	s.expects(harness.Pulled(app, one, "v2", "v1"))
	pause()
	do("manifest", s.ref("app:v1"))
	s.expects(harness.Pulled(app, one, "v1", "v2").ManifestRead())
	do("push", two.Layout(s.t, "x"), s.ref("app:v1"))
	s.expects(harness.Pushed(app, two, "v1").Moving(one))
	do("pull", s.ref("app@"+string(two.Digest)), s.file("two.tar", ""))
	s.expects(harness.Pulled(app, two, "v1").ByDigest())
	do("tag", s.ref("app:v2"), "v3")
	s.expects(harness.Pushed(app, one, "v3"))
	do("delete", s.ref("app:v3"))
	s.expects(harness.Untagged(app, one, "v3"))
	do("tag", s.ref("app:v2"), "v4")
	s.expects(harness.Pushed(app, one, "v4"))
	do("delete", s.ref("app@"+string(one.Digest)))
	s.expects(harness.Deleted(app, one, "v2", "v4"))
	if _, err := harness.Try(s.t, s.env, "crane", "delete", "--insecure", s.ref("app:none")); err == nil {
		s.t.Error("crane deleted a tag that does not exist")
	}

	do("push", many.Layout(s.t, "x"), s.ref("deep/many:v1"))
	s.expects(harness.Pushed(deep, many, "v1"))
	do("pull", "--platform", "linux/arm64", s.ref("deep/many:v1"), s.file("many.tar", ""))
	s.expects(harness.Pulled(deep, many, "v1").Chosen("linux/arm64"))
	pause()
	do("copy", s.ref("deep/many:v1"), s.ref("copied:v9"))
	s.expects(harness.Pushed(copied, many, "v9"))
	pulled := harness.Pulled(deep, many, "v1") // by the blobs that were mounted
	if s.shared {
		pulled = pulled.ManifestRead() // all blobs are there already
	}
	s.expects(pulled)
}

func skopeo(s *script) {
	app, list := s.name+"/app", s.name+"/many"
	one, many := image(), multi()
	login := harness.Login{}
	if s.operator != "" {
		login = harness.Login{User: user, Password: password}
	}
	to := append([]string{"copy", "-q", "--dest-tls-verify=false"}, login.Flags("skopeo", "--dest-creds")...)
	from := []string{"copy", "-q", "--src-tls-verify=false"} // with a login from a file
	do := func(flags []string, args ...string) {
		s.t.Helper()
		s.run("skopeo", append(flags[:len(flags):len(flags)], args...)...)
	}
	source := "oci:" + one.Layout(s.t, "x") + ":x"
	do(to, source, "docker://"+s.ref("app:v1"))
	s.expects(harness.Pushed(app, one, "v1"))
	do(to, source, "docker://"+s.ref("app:v1")) // a push of the same manifest
	s.expects(harness.Pushed(app, one, "v1").Unchanged())
	do(to, source, "docker://"+s.ref("app:v2"))
	s.expects(harness.Pushed(app, one, "v2"))
	do(from, "docker://"+s.ref("app:v1"), "dir:"+s.t.TempDir())
	s.expects(harness.Pulled(app, one, "v1", "v2"))
	pause()
	do(from, "docker://"+s.ref("app:v1"), "oci:"+s.t.TempDir()+":x")
	s.expects(harness.Pulled(app, one, "v1", "v2"))
	do(nil, "list-tags", "--tls-verify=false", "docker://"+s.ref("app"))
	do(from, "--dest-tls-verify=false", "docker://"+s.ref("app:v1"), "docker://"+s.ref("app:v3")) // all blobs are there: a new tag only
	s.expects(harness.Pushed(app, one, "v3"))
	do(nil, append([]string{"delete", "--tls-verify=false", "docker://" + s.ref("app:v2")}, login.Flags("skopeo", "--creds")...)...) // by digest
	s.expects(harness.Deleted(app, one, "v1", "v2", "v3").AllTags())

	do(to, "--all", "oci:"+many.Layout(s.t, "x")+":x", "docker://"+s.ref("many:v1"))
	s.expects(harness.Pushed(list, many, "v1"))
	do(from, "--all", "docker://"+s.ref("many:v1"), "oci:"+s.t.TempDir()+":x")
	s.expects(harness.Pulled(list, many, "v1").Chosen("linux/amd64")) // decided while the first child is read
	pause()
	do(nil, "inspect", "--raw", "--tls-verify=false", "docker://"+s.ref("many:v1"))
	s.expects(harness.Pulled(list, many, "v1").Chosen().ManifestRead())
}

func oras(s *script) {
	app, list := s.name+"/app", s.name+"/many"
	one, many := image(), multi()
	login := harness.Login{}
	if s.operator != "" {
		login = harness.Login{User: user, Password: password}
	}
	do := func(args ...string) {
		s.t.Helper()
		s.run("oras", args...)
	}
	in := append([]string{"cp", "--to-plain-http", "--from-oci-layout"}, login.Flags("oras", "--to-username", "--to-password")...)
	do(append(in, one.Layout(s.t, "x")+":x", s.ref("app:v1"))...)
	s.expects(harness.Pushed(app, one, "v1"))
	do("tag", "--plain-http", s.ref("app:v1"), "v2")
	s.expects(harness.Pushed(app, one, "v2"))
	pause()
	do(append([]string{"cp", "--from-plain-http", "--to-oci-layout", s.ref("app:v1"), s.t.TempDir() + ":x"},
		login.Flags("oras", "--from-username", "--from-password")...)...)
	s.expects(harness.Pulled(app, one, "v1", "v2"))
	do("repo", "tags", "--plain-http", s.ref("app"))
	do("resolve", "--plain-http", s.ref("app:v1"))
	note := s.file("note.txt", "hello")
	do("attach", "--plain-http", "--disable-path-validation", "--artifact-type", "application/x-sig", s.ref("app:v1"), note+":text/plain")
	s.expects(s.referrerPushed("app", one))
	do("discover", "--plain-http", s.ref("app:v1"))
	do(append([]string{"manifest", "delete", "--force", "--plain-http", s.ref("app:v1")}, login.Flags("oras", "--username", "--password")...)...)
	s.expects(harness.Deleted(app, one, "v1", "v2").AllTags())

	do(append(in, many.Layout(s.t, "x")+":x", s.ref("many:v1"))...)
	s.expects(harness.Pushed(list, many, "v1")) // its read-back is no pull
	pause()
	do("cp", "--from-plain-http", "--to-oci-layout", s.ref("many:v1"), s.t.TempDir()+":x")
	s.expects(harness.Pulled(list, many, "v1").ChosenSome())

	do("push", "--plain-http", "--disable-path-validation", "--artifact-type", "application/x-demo", s.ref("art:v1,v2"), note+":text/plain")
	pushed := s.pushed("art", "v1", "other")
	s.expects(pushed, s.pushed("art", "v2", "other"))
	pause()
	do("pull", "--plain-http", "-o", s.t.TempDir(), "--allow-path-traversal", s.ref("art:v1"))
	s.expects(pulledOf(pushed, "v2"))
	do("tag", "--plain-http", s.ref("art:v1"), "v3")
	s.expects(s.pushed("art", "v3", "other"))
	do("manifest", "delete", "-f", "--plain-http", s.ref("art:v3"))
	gone := pushed
	gone.Type, gone.Tags, gone.Changed, gone.Complete = "DELETE_ARTIFACT", []string{"v1", "v2", "v3"}, nil, harness.No()
	s.expects(gone)
}

func helm(s *script) {
	client, at := s.name, "oci://"+s.buoy.Host+"/"+s.name
	do := func(args ...string) {
		s.t.Helper()
		s.run(client, args...)
	}
	if s.operator != "" {
		do("registry", "login", s.buoy.Host, "--plain-http", "--username", user, "--password", password)
	}
	for _, version := range []string{"1.2.3", "1.3.0-rc.1+build.5"} {
		do("push", "--plain-http", harness.ChartFile(s.t, "demo", version, harness.ChartOptions{}), at)
		pushed := s.pushed("demo", strings.Replace(version, "+", "_", 1), "chart")
		s.expects(pushed)
		do("pull", "--plain-http", at+"/demo", "--version", version, "-d", s.t.TempDir())
		s.expects(pulledOf(pushed))
		pause()
		do("show", "values", "--plain-http", at+"/demo", "--version", version)
		s.expects(pulledOf(pushed))
	}
}

// curl sends every request of an operation by itself, at a repository of one segment.
func curl(s *script) {
	one, lone, repo := image(), image(), s.name
	header := []string{}
	if s.operator != "" {
		header = []string{"Authorization", s.authorization()}
	}
	at := s.buoy.ProxyURL + "/v2/" + repo
	must := func(status int, method, path string) {
		s.t.Helper()
		harness.Must(s.t, status, method, at+path, nil, append(header, "Accept", one.MediaType)...)
	}
	harness.Push(s.t, s.buoy.ProxyURL, repo, "v1", one, header...)
	s.expects(harness.Pushed(repo, one, "v1"))
	must(http.StatusOK, http.MethodHead, "/manifests/v1")
	must(http.StatusOK, http.MethodGet, "/manifests/v1")
	must(http.StatusOK, http.MethodGet, "/blobs/"+string(one.Layers[0].Digest))
	s.expects(harness.Pulled(repo, one, "v1"))
	must(http.StatusNotFound, http.MethodGet, "/manifests/none")
	must(http.StatusAccepted, http.MethodDelete, "/manifests/"+string(one.Digest))
	s.expects(harness.Deleted(repo, one, "v1"))
	must(http.StatusNotFound, http.MethodDelete, "/manifests/"+string(one.Digest))

	harness.Push(s.t, s.buoy.ProxyURL, repo+"/lone", string(lone.Digest), lone, header...)
	s.expects(harness.Pushed(repo+"/lone", lone)) // when nothing has followed
	if s.operator != "" {
		resp, err := harness.PutManifest(s.buoy.ProxyURL, repo+"/lone", "forged", lone, harness.Login{User: user, Password: "wrong"}.Header()...)
		if err != nil || resp.StatusCode != http.StatusUnauthorized {
			s.t.Errorf("a push with a wrong password: %v %v", resp, err)
		}
	}
}

// pushed returns the event of a push of a manifest that a client has made: of the given kind, to a
// new tag.
func (sc *script) pushed(repository, tag, kind string) harness.Event {
	sc.t.Helper()
	manifest := []byte(sc.run("crane", "manifest", "--insecure", sc.direct+"/"+sc.name+"/"+repository+":"+tag))
	return harness.Event{
		Type: "PUSH_ARTIFACT", Repository: sc.name + "/" + repository, Namespace: sc.name, Name: repository, Tags: []string{tag}, Kind: kind,
		Digest: harness.Sha256(manifest), Size: harness.ImageSize(sc.t, manifest), Changed: harness.Yes(),
	}
}

// referrerPushed returns the event of a push of the newest referrer of an artifact.
func (sc *script) referrerPushed(repository string, subject harness.Artifact) harness.Event {
	sc.t.Helper()
	digest := sc.referrer(repository, string(subject.Digest))
	manifest := []byte(sc.run("crane", "manifest", "--insecure", sc.direct+"/"+sc.name+"/"+repository+"@"+digest))
	return harness.Event{
		Type: "PUSH_ARTIFACT", Repository: sc.name + "/" + repository, Namespace: sc.name, Name: repository, Tags: []string{}, Kind: "referrer",
		Digest: digest, Size: harness.ImageSize(sc.t, manifest), Subject: string(subject.Digest), Changed: harness.Yes(),
	}
}

// pulledOf returns the event of a pull of a pushed tag. others are further tags of the digest.
func pulledOf(pushed harness.Event, others ...string) harness.Event {
	e := pushed
	e.Type, e.TagAsked, e.Changed, e.Moved = "PULL_ARTIFACT", pushed.Tags[0], nil, "layers"
	e.Tags = append([]string{e.TagAsked}, others...)
	return e
}
