package events

import (
	"testing"

	"github.com/bellbuoy/bellbuoy/test/harness"
)

// TestLessCommon runs operations of clients that are less common.
func TestLessCommon(t *testing.T) {
	t.Parallel()
	s := raise(t, "anonymous", "")
	s.play(t, []part{
		{"crane-more", craneMore}, {"cosign-more", cosignMore}, {"oras-more", orasMore}, {"regctl-more", regctlMore},
		{"skopeo-sync", skopeoSync}, {"docker-more", dockerMore}, {"helm-more", helmMore}, {"push-then-pull", pushThenPull},
		{"attested", attested}, {"inspected", inspected},
	})
}

func craneMore(s *script) {
	one, many := image(), multi()
	s.seed("all:v1", one)
	s.seed("all:v2", many)
	s.run("crane", "ls", "--insecure", s.ref("all"))
	s.run("crane", "catalog", "--insecure", s.buoy.Host)
	s.run("crane", "copy", "--insecure", "-a", s.ref("all"), s.ref("copied"))
	s.expectsLine("pull", "all:v1", string(one.Digest))
	s.expectsLine("push", "copied:v1", string(one.Digest))
	s.expectsLine("pull", "all:v2", string(many.Digest))
	s.expectsLine("push", "copied:v2", string(many.Digest))
	s.run("crane", "delete", "--insecure", s.ref("copied@"+string(many.Digest)))
	s.expectsLine("delete", "copied:v2", string(many.Digest))
	s.run("crane", "export", "--insecure", s.ref("all:v1"), s.file("fs.tar", ""))
	s.expectsLine("pull", "all:v1", string(one.Digest))
	s.run("crane", "pull", "--insecure", "--format", "oci", s.ref("all:v2"), s.t.TempDir())
	s.expectsLine("pull", "all:v2", string(many.Digest))
}

func cosignMore(s *script) {
	one := image()
	s.run("crane", "push", "--insecure", one.Layout(s.t, "x"), s.ref("app:v1"))
	s.expectsLine("push", "app:v1", string(one.Digest))
	s.run("cosign", "generate-key-pair", "--output-key-prefix", s.home()+"/key")
	plain := []string{"--allow-http-registry", "--allow-insecure-registry"}
	at := s.ref("app@" + string(one.Digest))
	prefix := "sha256-" + one.Digest.Encoded()
	attest := append([]string{"attest", "-y", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", "--key", s.home() + "/key.key",
		"--type", "custom", "--predicate", s.file("predicate.json", `{"a":1}`)}, plain...)
	s.run("cosign", append(attest, at)...)
	s.expectsLine("push", "app:"+prefix+".att", s.digest("app:"+prefix+".att"))
	sign := append([]string{"sign", "-y", "--tlog-upload=false", "--use-signing-config=false", "--new-bundle-format=false", "--key", s.home() + "/key.key"}, plain...)
	s.run("cosign", append(sign, at)...)
	s.expectsLine("push", "app:"+prefix+".sig", s.digest("app:"+prefix+".sig"))
	s.run("cosign", append(append([]string{"triangulate"}, plain...), at)...)
	s.run("cosign", append(append([]string{"download", "signature"}, plain...), at)...)
	s.run("cosign", append(append([]string{"copy"}, plain...), s.ref("app:v1"), s.ref("copied:v1"))...)
	s.expectsLine("pull", "app:v1", string(one.Digest))
	s.expectsLine("push", "copied:v1", string(one.Digest))
	s.expectsLine("push", "copied:"+prefix, string(one.Digest)) // the image once more, under a tag that looks like a fallback tag: it is no index, so it is no bookkeeping
	s.expectsLine("push", "copied:"+prefix+".sig", s.digest("app:"+prefix+".sig"))
	s.expectsLine("push", "copied:"+prefix+".att", s.digest("app:"+prefix+".att"))
}

func orasMore(s *script) {
	one, many := image(), multi()
	s.seed("src:v1", many)
	s.seed("src:v2", one)
	s.run("oras", "repo", "tags", "--plain-http", s.ref("src"))
	s.run("oras", "manifest", "fetch", "--plain-http", s.ref("src:v1")) // reads the manifest only
	s.run("oras", "cp", "--from-plain-http", "--to-plain-http", s.ref("src:v1"), s.ref("dst:v1"))
	s.expectsLine("pull", "src:v1", string(many.Digest))
	s.expectsLine("push", "dst:v1", string(many.Digest))
	s.run("oras", "cp", "--from-plain-http", "--to-plain-http", s.ref("src:v2"), s.ref("dst:v2,v3"))
	s.expectsLine("pull", "src:v2", string(one.Digest))
	s.expectsLine("push", "dst:v2", string(one.Digest))
	s.expectsLine("push", "dst:v3", string(one.Digest))
	s.run("oras", "blob", "fetch", "--plain-http", "-o", s.file("blob", ""), s.ref("src@"+string(one.Layers[0].Digest)))
	s.run("oras", "manifest", "delete", "-f", "--plain-http", s.ref("dst@"+string(many.Digest)))
	s.expectsLine("delete", "dst:v1", string(many.Digest))
}

func regctlMore(s *script) {
	one, many := image(), multi()
	s.seed("src:v1", one)
	s.seed("many:v1", many)
	reg := func(args ...string) {
		s.t.Helper()
		s.run("regctl", append([]string{"--host", "reg=" + s.buoy.Host + ",tls=disabled"}, args...)...)
	}
	reg("tag", "ls", s.ref("src"))
	reg("image", "copy", s.ref("src:v1"), s.ref("dst:v1"))
	s.expectsLine("pull", "src:v1", string(one.Digest))
	s.expectsLine("push", "dst:v1", string(one.Digest))
	reg("image", "export", s.ref("many:v1"), s.file("many.tar", ""))
	s.expectsLine("pull", "many:v1", string(many.Digest))
	reg("image", "copy", s.ref("dst:v1"), s.ref("dst:v2"))
	s.expectsLine("push", "dst:v2", string(one.Digest))
	reg("tag", "delete", s.ref("dst:v1"))
	s.expectsLine("untag", "dst:v1", string(one.Digest))
	reg("manifest", "delete", s.ref("dst@"+string(one.Digest)))
	s.expectsLine("delete", "dst:v2", string(one.Digest))
}

func skopeoSync(s *script) {
	one, many := image(), multi()
	s.seed("app:v1", one)
	s.seed("app:v2", many)
	s.run("skopeo", "sync", "--all", "--src", "docker", "--dest", "dir", "--src-tls-verify=false", s.ref("app"), s.t.TempDir())
	s.expectsLine("pull", "app:v1", string(one.Digest))
	s.expectsLine("pull", "app:v2", string(many.Digest))
}

func dockerMore(s *script) {
	engine := harness.Dockerd(s.t)
	one, two, base := image(), image(), image()
	s.seed("all:v1", one)
	s.seed("all:v2", one)
	s.seed("all:v3", two)
	s.seed("base:v1", base)
	do := func(env []string, args ...string) {
		s.t.Helper()
		engine.Run(s.t, append(s.env, env...), args...)
	}
	do(nil, "pull", "-a", s.ref("all")) // a digest that docker has already is not fetched again
	s.expectsLine("pull", "all:v1", string(one.Digest))
	s.expectsLine("pull", "all:v3", string(two.Digest))
	dir := s.t.TempDir()
	s.write(dir+"/Dockerfile", []byte("FROM "+s.ref("base:v1")+"\nCOPY Dockerfile /x\n"))
	do([]string{"DOCKER_BUILDKIT=0"}, "build", "-q", "-t", s.ref("built:v1"), dir)
	s.expectsLine("pull", "base:v1", string(base.Digest))
	do(nil, "push", "-q", s.ref("built:v1"))
	s.expectsLine("push", "built:v1", s.digest("built:v1"))
	do([]string{"DOCKER_CLI_EXPERIMENTAL=enabled"}, "manifest", "create", "--insecure", s.ref("list:v1"), s.ref("all:v1"), s.ref("all:v3")) // reads their configs, and no layer
}

func helmMore(s *script) {
	at := "oci://" + s.buoy.Host + "/" + s.name
	for _, version := range []string{"1.0.0", "1.1.0"} {
		s.run("helm3", "push", "--plain-http", harness.ChartFile(s.t, "demo", version, harness.ChartOptions{}), at)
		s.expectsLine("push", "demo:"+version, s.digest("demo:"+version))
	}
	s.run("helm4", "template", "--plain-http", "x", at+"/demo") // of the newest version, which helm finds by the tags
	s.expectsLine("pull", "demo:1.1.0", s.digest("demo:1.1.0"))
	s.run("helm3", "show", "chart", "--plain-http", at+"/demo", "--version", "1.0.0")
	s.expectsLine("pull", "demo:1.0.0", s.digest("demo:1.0.0"))
	parent := s.t.TempDir()
	s.write(parent+"/Chart.yaml", []byte("apiVersion: v2\nname: parent\nversion: 0.1.0\ndependencies:\n  - {name: demo, version: 1.1.0, repository: \""+at+"\"}\n"))
	s.run("helm3", "dependency", "update", "--plain-http", parent)
	s.expectsLine("pull", "demo:1.1.0", s.digest("demo:1.1.0"))
}

// pushThenPull pushes and pulls the same artifact in turn, without a pause.
func pushThenPull(s *script) {
	for _, a := range []harness.Artifact{image(), multi()} {
		s.run("crane", "push", "--insecure", a.Layout(s.t, "x"), s.ref("app:v1"))
		s.expectsLine("push", "app:v1", string(a.Digest))
		s.run("crane", "pull", "--insecure", "--format", "oci", s.ref("app:v1"), s.t.TempDir())
		s.expectsLine("pull", "app:v1", string(a.Digest))
		s.run("oras", "cp", "--to-plain-http", "--from-oci-layout", a.Layout(s.t, "x")+":x", s.ref("app:v2"))
		s.expectsLine("push", "app:v2", string(a.Digest))
		s.run("oras", "cp", "--from-plain-http", "--to-oci-layout", s.ref("app:v2"), s.t.TempDir()+":x")
		s.expectsLine("pull", "app:v2", string(a.Digest))
	}
}
