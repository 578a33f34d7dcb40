package events

import (
	"os"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// clients are the scripts of TestClients.
var clients = []part{
	{"crane", crane}, {"skopeo", skopeo}, {"podman", podman}, {"buildah", buildah}, {"regctl", regctl}, {"oras", oras},
	{"cosign", cosign}, {"helm3", helm}, {"helm4", helm}, {"docker", docker}, {"containerd", containerd},
}

// TestClients runs every client's script against a registry of each kind of login.
func TestClients(t *testing.T) {
	for _, login := range logins {
		t.Run(login, func(t *testing.T) {
			s := raise(t, login, "")
			s.play(t, clients)
			s.keepsSecrets(t)
		})
	}
}

func image() harness.Artifact { return harness.NewImage(harness.ImageOptions{Layers: 2}) }

func multi() harness.Artifact {
	return harness.NewMultiArch(harness.ImageOptions{Layers: 2}, "linux/amd64", "linux/arm64")
}

func crane(s *script) {
	one, two, many := image(), image(), multi()
	s.run("crane", "push", "--insecure", one.Layout(s.t, "x"), s.ref("app:v1"))
	s.tells("push", "app:v1", string(one.Digest))
	s.run("crane", "push", "--insecure", many.Layout(s.t, "x"), s.ref("many:v1"))
	s.tells("push", "many:v1", string(many.Digest))
	s.run("crane", "digest", "--insecure", s.ref("app:v1"))   // only asked
	s.run("crane", "manifest", "--insecure", s.ref("app:v1")) // only looked
	s.run("crane", "tag", "--insecure", s.ref("app:v1"), "v2")
	s.tells("push", "app:v2", string(one.Digest))
	s.run("crane", "push", "--insecure", two.Layout(s.t, "x"), s.ref("app:v1"))
	s.tells("push", "app:v1", string(two.Digest))
	s.run("crane", "pull", "--insecure", s.ref("app:v2"), s.file("one.tar", ""))
	s.tells("pull", "app:v2", string(one.Digest))
	s.run("crane", "pull", "--insecure", s.ref("app:v2"), s.file("one.tar", "")) // it downloads again
	s.tells("pull", "app:v2", string(one.Digest))
	s.run("crane", "pull", "--insecure", "--platform", "linux/arm64", s.ref("many:v1"), s.file("many.tar", ""))
	s.tells("pull", "many:v1", string(many.Digest))
	s.run("crane", "pull", "--insecure", s.ref("app@"+string(two.Digest)), s.file("two.tar", ""))
	s.tells("pull", "app:", string(two.Digest))
	s.run("crane", "copy", "--insecure", s.ref("many:v1"), s.ref("copy:v1"))
	s.tellsCopied("many:v1", string(many.Digest))
	s.tells("push", "copy:v1", string(many.Digest))
	s.run("crane", "tag", "--insecure", s.ref("app:v2"), "v3")
	s.tells("push", "app:v3", string(one.Digest))
	s.run("crane", "delete", "--insecure", s.ref("app:v3"))
	s.tells("untag", "app:v3", string(one.Digest))
	s.run("crane", "tag", "--insecure", s.ref("app:v2"), "v4")
	s.tells("push", "app:v4", string(one.Digest))
	s.run("crane", "delete", "--insecure", s.ref("app@"+string(one.Digest)))
	s.tells("delete", "app:v2,v4", string(one.Digest))
}

func skopeo(s *script) {
	one, many := image(), multi()
	to, from := []string{"copy", "-q", "--dest-tls-verify=false"}, []string{"copy", "-q", "--src-tls-verify=false"}
	s.run("skopeo", append(to, "oci:"+one.Layout(s.t, "x")+":x", "docker://"+s.ref("app:v1"))...)
	s.tells("push", "app:v1", string(one.Digest))
	s.run("skopeo", append(to, "--all", "oci:"+many.Layout(s.t, "x")+":x", "docker://"+s.ref("many:v1"))...)
	s.tells("push", "many:v1", string(many.Digest))
	s.run("skopeo", append(to, "oci:"+one.Layout(s.t, "x")+":x", "docker://"+s.ref("app:v1"))...) // it puts again
	s.tells("push", "app:v1", string(one.Digest))
	s.run("skopeo", append(from, "docker://"+s.ref("app:v1"), "dir:"+s.t.TempDir())...)
	s.tells("pull", "app:v1", string(one.Digest))
	s.run("skopeo", append(from, "--all", "docker://"+s.ref("many:v1"), "dir:"+s.t.TempDir())...)
	s.tells("pull", "many:v1", string(many.Digest))
	s.run("skopeo", "inspect", "--raw", "--tls-verify=false", "docker://"+s.ref("many:v1"))
	s.run("skopeo", "list-tags", "--tls-verify=false", "docker://"+s.ref("app"))
	s.run("skopeo", append(from, "--dest-tls-verify=false", "docker://"+s.ref("app:v1"), "docker://"+s.ref("app:v2"))...)
	s.tells("push", "app:v2", string(one.Digest)) // all is there: a retag
	s.run("skopeo", "delete", "--tls-verify=false", "docker://"+s.ref("app:v2"))
	s.tells("delete", "app:v1,v2", string(one.Digest))
}

func podman(s *script) {
	one, many := image(), multi()
	s.seed("app:v1", one)
	s.seed("many:v1", many)
	dir := shortDir(s.t)
	pod := func(args ...string) {
		s.t.Helper()
		s.run("podman", append([]string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs", "--cgroup-manager", "cgroupfs"}, args...)...)
	}
	pod("pull", "-q", "--tls-verify=false", s.ref("app:v1"))
	s.tells("pull", "app:v1", string(one.Digest))
	pod("pull", "-q", "--tls-verify=false", "--arch", "arm64", s.ref("many:v1"))
	s.tells("pull", "many:v1", string(many.Digest))
	pod("tag", s.ref("app:v1"), s.ref("mine:v1"))
	pod("push", "-q", "--tls-verify=false", s.ref("mine:v1"))
	s.tells("push", "mine:v1", s.digest("mine:v1"))
	pod("push", "-q", "--tls-verify=false", s.ref("mine:v1")) // it puts again
	s.tells("push", "mine:v1", s.digest("mine:v1"))
	pod("rmi", "-f", "-a")
	pod("pull", "-q", "--tls-verify=false", s.ref("mine@"+s.digest("mine:v1")))
	s.tells("pull", "mine:", s.digest("mine:v1"))
}

// shortDir is a directory with a short path, which podman insists on.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "bb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func buildah(s *script) {
	one := image()
	s.seed("app:v1", one)
	dir := shortDir(s.t)
	build := func(args ...string) {
		s.t.Helper()
		s.run("buildah", append([]string{"--root", dir + "/root", "--runroot", dir + "/run", "--storage-driver", "vfs"}, args...)...)
	}
	build("pull", "-q", "--tls-verify=false", s.ref("app:v1"))
	s.tells("pull", "app:v1", string(one.Digest))
	build("tag", s.ref("app:v1"), s.ref("built:v1"))
	build("push", "-q", "--tls-verify=false", s.ref("built:v1"), "docker://"+s.ref("built:v1"))
	s.tells("push", "built:v1", s.digest("built:v1"))
	build("manifest", "create", "list")
	build("manifest", "add", "--tls-verify=false", "list", "containers-storage:"+s.ref("built:v1"))
	build("manifest", "push", "-q", "--all", "--tls-verify=false", "list", "docker://"+s.ref("list:v1"))
	s.tells("push", "list:v1", s.digest("list:v1"))
}

func regctl(s *script) {
	one, two, many := image(), image(), multi()
	reg := func(args ...string) {
		s.t.Helper()
		s.run("regctl", append([]string{"--host", "reg=" + s.buoy.Host + ",tls=disabled"}, args...)...)
	}
	reg("image", "copy", "ocidir://"+one.Layout(s.t, "x")+":x", s.ref("app:v1"))
	s.tells("push", "app:v1", string(one.Digest))
	reg("image", "copy", "ocidir://"+many.Layout(s.t, "x")+":x", s.ref("many:v1"))
	s.tells("push", "many:v1", string(many.Digest))
	reg("image", "copy", s.ref("many:v1"), "ocidir://"+s.t.TempDir()+":x")
	s.tells("pull", "many:v1", string(many.Digest))
	reg("image", "copy", s.ref("app:v1"), s.ref("app:v2")) // a retag
	s.tells("push", "app:v2", string(one.Digest))
	reg("image", "copy", "ocidir://"+two.Layout(s.t, "x")+":x", s.ref("app:v1"))
	s.tells("push", "app:v1", string(two.Digest))
	reg("image", "copy", "ocidir://"+two.Layout(s.t, "x")+":x", s.ref("app:v1")) // unchanged: it only asks
	reg("manifest", "head", s.ref("app:v1"))
	reg("image", "digest", s.ref("app:v1"))
	reg("artifact", "put", "--artifact-type", "application/x-note", "--file", s.file("note.txt", "hello"), "--subject", s.ref("app:v1"))
	s.tells("push", "app:", s.referrer("app", string(two.Digest)))
	reg("tag", "delete", s.ref("app:v2"))
	s.tells("untag", "app:v2", string(one.Digest))
	reg("manifest", "delete", s.ref("app@"+string(one.Digest)))
	s.tells("delete", "app:", string(one.Digest))
}

func oras(s *script) {
	one, many := image(), multi()
	in := []string{"cp", "--to-plain-http", "--from-oci-layout"}
	s.run("oras", append(in, one.Layout(s.t, "x")+":x", s.ref("app:v1"))...)
	s.tells("push", "app:v1", string(one.Digest))
	s.run("oras", append(in, many.Layout(s.t, "x")+":x", s.ref("many:v1"))...)
	s.tells("push", "many:v1", string(many.Digest))
	note := s.file("note.txt", "hello")
	s.run("oras", "push", "--plain-http", "--disable-path-validation", "--artifact-type", "application/x-demo", s.ref("art:v1,v2"), note+":text/plain")
	s.tells("push", "art:v1", s.digest("art:v1"))
	s.tells("push", "art:v2", s.digest("art:v1"))
	s.run("oras", "pull", "--plain-http", "-o", s.t.TempDir(), "--allow-path-traversal", s.ref("art:v1"))
	s.tells("pull", "art:v1", s.digest("art:v1"))
	s.run("oras", "attach", "--plain-http", "--disable-path-validation", "--artifact-type", "application/x-sig", s.ref("app:v1"), note+":text/plain")
	s.tells("push", "app:", s.referrer("app", string(one.Digest)))
	s.run("oras", "discover", "--plain-http", s.ref("app:v1"))
	s.run("oras", "resolve", "--plain-http", s.ref("app:v1"))
	s.run("oras", "tag", "--plain-http", s.ref("art:v1"), "v3")
	s.tells("push", "art:v3", s.digest("art:v1"))
	s.run("oras", "cp", "--from-plain-http", "--to-oci-layout", s.ref("many:v1"), s.t.TempDir()+":x")
	s.tells("pull", "many:v1", string(many.Digest))
	gone := s.digest("art:v1")
	s.run("oras", "manifest", "delete", "-f", "--plain-http", s.ref("art:v3"))
	s.tells("delete", "art:v1,v2,v3", gone)
}

func cosign(s *script) {
	one := image()
	s.run("crane", "push", "--insecure", one.Layout(s.t, "x"), s.ref("app:v1"))
	s.tells("push", "app:v1", string(one.Digest))
	s.run("cosign", "generate-key-pair", "--output-key-prefix", s.home()+"/key")
	plain := []string{"--allow-http-registry", "--allow-insecure-registry"}
	sign := append([]string{"sign", "-y", "--tlog-upload=false", "--use-signing-config=false", "--key", s.home() + "/key.key"}, plain...)
	s.run("cosign", append(sign, "--new-bundle-format=false", s.ref("app@"+string(one.Digest)))...)
	sig := "sha256-" + one.Digest.Encoded() + ".sig"
	s.tells("push", "app:"+sig, s.digest("app:"+sig))
	s.run("cosign", append(sign, "--new-bundle-format=true", s.ref("app@"+string(one.Digest)))...)
	s.tells("push", "app:", s.referrer("app", string(one.Digest)))
	verify := append([]string{"verify", "--insecure-ignore-tlog=true", "--key", s.home() + "/key.pub"}, plain...)
	s.run("cosign", append(verify, "--new-bundle-format=false", s.ref("app:v1"))...)
	s.run("cosign", append([]string{"tree"}, append(plain, s.ref("app:v1"))...)...)
}

func helm(s *script) {
	client := s.name
	chart := harness.ChartFile(s.t, "demo", "1.2.3+build.4", harness.ChartOptions{})
	at := "oci://" + s.buoy.Host + "/" + s.name
	s.run(client, "push", "--plain-http", chart, at)
	s.tells("push", "demo:1.2.3_build.4", s.digest("demo:1.2.3_build.4"))
	s.run(client, "pull", "--plain-http", at+"/demo", "--version", "1.2.3+build.4", "-d", s.t.TempDir())
	s.tells("pull", "demo:1.2.3_build.4", s.digest("demo:1.2.3_build.4"))
	next := harness.ChartFile(s.t, "demo", "1.3.0", harness.ChartOptions{})
	s.run(client, "push", "--plain-http", next, at)
	s.tells("push", "demo:1.3.0", s.digest("demo:1.3.0"))
	s.run(client, "show", "values", "--plain-http", at+"/demo", "--version", "1.3.0")
	s.tells("pull", "demo:1.3.0", s.digest("demo:1.3.0"))
}
