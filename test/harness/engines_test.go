package harness

import (
	"strings"
	"testing"
)

func TestDockerPullsAndPushes(t *testing.T) {
	registry, docker := Registry(t, RegistryOptions{}), Dockerd(t)
	ref := registry.Host + "/team/app:v1"
	docker.Run(t, nil, "load", "-i", NewImage(ImageOptions{}).DockerArchive(t, ref))
	docker.Run(t, nil, "push", ref)
	docker.Run(t, nil, "image", "rm", ref)
	if out := docker.Run(t, nil, "pull", ref); !strings.Contains(out, "Downloaded newer image") {
		t.Errorf("got the output %s of docker pull, want the digest", out)
	}
}

func TestContainerdPulls(t *testing.T) {
	registry, ctr := Registry(t, RegistryOptions{}), Containerd(t)
	ref := registry.Host + "/team/app:v1"
	Run(t, nil, "crane", "push", NewImage(ImageOptions{}).Layout(t, "v1"), ref)
	ctr.Run(t, nil, "images", "pull", "--plain-http", "--snapshotter", "native", ref)
	if out := ctr.Run(t, nil, "images", "ls", "-q"); strings.TrimSpace(out) != ref {
		t.Errorf("got the output %q of ctr images ls, want the image", out)
	}
}
