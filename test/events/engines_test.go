package events

import "github.com/bellbuoy/bellbuoy/test/harness"

func docker(s *script) {
	engine := harness.Dockerd(s.t)
	one, many := image(), multi()
	s.seed("seen:v1", one)
	s.seed("many:v1", many)
	do := func(args ...string) string {
		s.t.Helper()
		return engine.Run(s.t, s.env, args...)
	}
	do("pull", s.ref("seen:v1"))
	s.expectsLine("pull", "seen:v1", string(one.Digest))
	do("pull", s.ref("seen:v1")) // up to date: only a check
	do("tag", s.ref("seen:v1"), s.ref("app:v1"))
	do("push", s.ref("app:v1"))
	s.expectsLine("push", "app:v1", s.digest("app:v1"))
	do("push", s.ref("app:v1")) // a push of the same manifest
	s.expectsLine("push", "app:v1", s.digest("app:v1"))
	do("pull", s.ref("many:v1"))
	s.expectsLine("pull", "many:v1", string(many.Digest))
	do("image", "rm", "-f", s.ref("app:v1"), s.ref("seen:v1"))
	do("pull", s.ref("app@"+s.digest("app:v1")))
	s.expectsLine("pull", "app:", s.digest("app:v1"))
	do("load", "-i", image().DockerArchive(s.t, s.ref("app:v2")))
	do("push", "-a", s.ref("app")) // only v2 has a tag there
	s.expectsLine("push", "app:v2", s.digest("app:v2"))
	do("image", "rm", "-f", s.ref("app:v2"))
	do("tag", s.ref("many:v1"), s.ref("app:v1"))
	do("push", s.ref("app:v1")) // moves the tag
	s.expectsLine("push", "app:v1", s.digest("app:v1"))
}

func containerd(s *script) {
	engine := harness.Containerd(s.t)
	one, two, many := image(), image(), multi()
	s.seed("app:v1", one)
	s.seed("many:v1", many)
	var login []string
	if s.login != "anonymous" {
		login = []string{"-u", user + ":" + password}
	}
	do := func(verb string, args ...string) {
		s.t.Helper()
		engine.Run(s.t, s.env, append(append([]string{"images", verb, "--plain-http"}, login...), args...)...)
	}
	do("pull", "--snapshotter", "native", s.ref("app:v1"))
	s.expectsLine("pull", "app:v1", string(one.Digest))
	do("pull", "--snapshotter", "native", s.ref("app:v1")) // up to date
	do("pull", "--snapshotter", "native", "--platform", "linux/amd64", s.ref("many:v1"))
	s.expectsLine("pull", "many:v1", string(many.Digest))
	engine.Run(s.t, s.env, "images", "import", "--no-unpack", "--base-name", s.ref("pushed"), two.Archive(s.t, "v1"))
	do("push", s.ref("pushed:v1"))
	s.expectsLine("push", "pushed:v1", string(two.Digest))
	whole := multi()
	engine.Run(s.t, s.env, "images", "import", "--no-unpack", "--all-platforms", "--base-name", s.ref("whole"), whole.Archive(s.t, "v1"))
	do("push", s.ref("whole:v1"))
	s.expectsLine("push", "whole:v1", string(whole.Digest))
}
