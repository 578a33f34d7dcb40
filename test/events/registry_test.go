package events

import (
	"os"
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// clients are the scripts of TestClients.
var clients = []part{
	{"crane", crane}, {"skopeo", skopeo}, {"podman", podman}, {"buildah", buildah}, {"regctl", regctl}, {"oras", oras},
	{"curl", curl},
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
	s.expectsLine("pull", "app:v1", string(one.Digest))
	pod("pull", "-q", "--tls-verify=false", "--arch", "arm64", s.ref("many:v1"))
	s.expectsLine("pull", "many:v1", string(many.Digest))
	pod("tag", s.ref("app:v1"), s.ref("mine:v1"))
	pod("push", "-q", "--tls-verify=false", s.ref("mine:v1"))
	s.expectsLine("push", "mine:v1", s.digest("mine:v1"))
	pod("push", "-q", "--tls-verify=false", s.ref("mine:v1")) // a push of the same manifest
	s.expectsLine("push", "mine:v1", s.digest("mine:v1"))
	pod("rmi", "-f", "-a")
	pod("pull", "-q", "--tls-verify=false", s.ref("mine@"+s.digest("mine:v1")))
	s.expectsLine("pull", "mine:", s.digest("mine:v1"))
}

// shortDir returns a directory with a short path, which podman requires.
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
	s.expectsLine("pull", "app:v1", string(one.Digest))
	build("tag", s.ref("app:v1"), s.ref("built:v1"))
	build("push", "-q", "--tls-verify=false", s.ref("built:v1"), "docker://"+s.ref("built:v1"))
	s.expectsLine("push", "built:v1", s.digest("built:v1"))
	build("manifest", "create", "list")
	build("manifest", "add", "--tls-verify=false", "list", "containers-storage:"+s.ref("built:v1"))
	build("manifest", "push", "-q", "--all", "--tls-verify=false", "list", "docker://"+s.ref("list:v1"))
	s.expectsLine("push", "list:v1", s.digest("list:v1"))
}

func regctl(s *script) {
	one, two, many := image(), image(), multi()
	reg := func(args ...string) {
		s.t.Helper()
		s.run("regctl", append([]string{"--host", "reg=" + s.buoy.Host + ",tls=disabled"}, args...)...)
	}
	reg("image", "copy", "ocidir://"+one.Layout(s.t, "x")+":x", s.ref("app:v1"))
	s.expectsLine("push", "app:v1", string(one.Digest))
	reg("image", "copy", "ocidir://"+many.Layout(s.t, "x")+":x", s.ref("many:v1"))
	s.expectsLine("push", "many:v1", string(many.Digest))
	reg("image", "copy", s.ref("many:v1"), "ocidir://"+s.t.TempDir()+":x")
	s.expectsLine("pull", "many:v1", string(many.Digest))
	reg("image", "copy", s.ref("app:v1"), s.ref("app:v2")) // a new tag of the same manifest
	s.expectsLine("push", "app:v2", string(one.Digest))
	reg("image", "copy", "ocidir://"+two.Layout(s.t, "x")+":x", s.ref("app:v1"))
	s.expectsLine("push", "app:v1", string(two.Digest))
	reg("image", "copy", "ocidir://"+two.Layout(s.t, "x")+":x", s.ref("app:v1")) // unchanged: only a check
	reg("manifest", "head", s.ref("app:v1"))
	reg("image", "digest", s.ref("app:v1"))
	reg("artifact", "put", "--artifact-type", "application/x-note", "--file", s.file("note.txt", "hello"), "--subject", s.ref("app:v1"))
	s.expectsLine("push", "app:", s.referrer("app", string(two.Digest)))
	reg("tag", "delete", s.ref("app:v2"))
	s.expectsLine("untag", "app:v2", string(one.Digest))
	reg("manifest", "delete", s.ref("app@"+string(one.Digest)))
	s.expectsLine("delete", "app:", string(one.Digest))
}

func cosign(s *script) {
	one := image()
	s.run("crane", "push", "--insecure", one.Layout(s.t, "x"), s.ref("app:v1"))
	s.expectsLine("push", "app:v1", string(one.Digest))
	s.run("cosign", "generate-key-pair", "--output-key-prefix", s.home()+"/key")
	plain := []string{"--allow-http-registry", "--allow-insecure-registry"}
	sign := append([]string{"sign", "-y", "--tlog-upload=false", "--use-signing-config=false", "--key", s.home() + "/key.key"}, plain...)
	s.run("cosign", append(sign, "--new-bundle-format=false", s.ref("app@"+string(one.Digest)))...)
	sig := "sha256-" + one.Digest.Encoded() + ".sig"
	s.expectsLine("push", "app:"+sig, s.digest("app:"+sig))
	s.run("cosign", append(sign, "--new-bundle-format=true", s.ref("app@"+string(one.Digest)))...)
	s.expectsLine("push", "app:", s.referrer("app", string(one.Digest)))
	verify := append([]string{"verify", "--insecure-ignore-tlog=true", "--key", s.home() + "/key.pub"}, plain...)
	s.run("cosign", append(verify, "--new-bundle-format=false", s.ref("app:v1"))...)
	s.run("cosign", append([]string{"tree"}, append(plain, s.ref("app:v1"))...)...)
}
