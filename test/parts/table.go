package parts

// table has every part. Versions are pinned: if a test begins to fail, the cause is in this tree.
var table = []part{
	{"registry", "v3.1.2", goInstall{pkg: "github.com/distribution/distribution/v3/cmd/registry", binary: "registry"}},
	// The go.mod of ChartMuseum and of cm-push have replace lines, with which `go install`
	// refuses them. The conformance program reads files beside it. These are built in a copy of
	// their module.
	{"chartmuseum", "v0.13.1", goModule{
		module: "helm.sh/chartmuseum", pkg: "./cmd/chartmuseum", binary: "chartmuseum", ldflags: "-X main.Version=0.13.1",
	}},
	{"crane", "v0.22.1", goInstall{pkg: "github.com/google/go-containerregistry/cmd/crane", binary: "crane"}},
	// The demo builds these if the two above are missing: that takes a tenth of the time.
	{"quick-chartmuseum", "v0.13.1", goModule{
		module: "helm.sh/chartmuseum", pkg: "./cmd/chartmuseum", binary: "chartmuseum", ldflags: "-X main.Version=0.13.1",
		cut: withoutClouds, quick: true,
	}},
	{"quick-crane", "v0.22.1", goInstall{pkg: "github.com/google/go-containerregistry/cmd/crane", binary: "crane", quick: true}},
	{"helm3", "v3.22.0", goInstall{pkg: "helm.sh/helm/v3/cmd/helm", binary: "helm"}},
	{"helm4", "v4.3.1", goInstall{pkg: "helm.sh/helm/v4/cmd/helm", binary: "helm"}},
	{"oras", "v1.3.6", goInstall{pkg: "oras.land/oras/cmd/oras", binary: "oras"}},
	{"cm-push", "v0.10.4", goModule{
		module: "github.com/chartmuseum/helm-push", pkg: "./cmd/helm-cm-push", binary: "plugins/helm-push/bin/helm-cm-push",
		keep: map[string]string{"plugin.yaml": "plugins/helm-push/plugin.yaml"},
	}},
	// A fake of S3 for registries that redirect blobs. It is a program and not a dependency of
	// the tests, because its module requires Amazon's SDK.
	{"gofakes3", "v1.2.0", goInstall{pkg: "github.com/johannesboyne/gofakes3/cmd/gofakes3", binary: "gofakes3"}},
	{"conformance", "v0.0.0-20260831232431-97274622c111", goModule{
		module: "github.com/opencontainers/distribution-spec/conformance", pkg: ".", binary: "conformance",
	}},
	{"regctl", "v0.11.7", goInstall{pkg: "github.com/regclient/regclient/cmd/regctl", binary: "regctl"}},
	{"regsync", "v0.11.7", goInstall{pkg: "github.com/regclient/regclient/cmd/regsync", binary: "regsync"}},
	{"cosign", "v3.1.3", goInstall{pkg: "github.com/sigstore/cosign/v3/cmd/cosign", binary: "cosign"}},
	// Gitea's go.mod has replace lines, too. Its templates and translations are files beside
	// it. The JavaScript of its pages is left out, and so is SQLite, which needs cgo.
	{"gitea", "v1.26.0", goModule{
		module: "code.gitea.io/gitea", pkg: ".", binary: "gitea",
		keep: map[string]string{"templates": "templates", "options": "options", "public": "public"},
	}},
	{"grype", "v0.121.2", goInstall{pkg: "github.com/anchore/grype/cmd/grype", binary: "grype"}}, // takes some 5 min of CPU time
	{"caddy", "v2.11.9", goInstall{pkg: "github.com/caddyserver/caddy/v2/cmd/caddy", binary: "caddy"}},
	{"golangci-lint", "v2.15.0", goInstall{pkg: "github.com/golangci/golangci-lint/v2/cmd/golangci-lint", binary: "golangci-lint"}},
	{"govulncheck", "v1.9.0", goInstall{pkg: "golang.org/x/vuln/cmd/govulncheck", binary: "govulncheck"}},
	{"goreleaser", "v2.16.0", goInstall{pkg: "github.com/goreleaser/goreleaser/v2", binary: "goreleaser", quick: true}},
	{"cyclonedx-gomod", "v1.10.0", goInstall{
		pkg: "github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod", binary: "cyclonedx-gomod", quick: true,
	}},
	{"compose-spec", "v2.16.2", moduleFile{module: "github.com/compose-spec/compose-go/v2", file: "schema/compose-spec.json"}},

	{"docker-compose", "v2.40.3", required{module: "github.com/docker/compose/v2", pkg: "github.com/docker/compose/v2/cmd", binary: "docker-compose"}},
	// A Kubernetes that takes objects and runs nothing: some 7 min of CPU.
	{"kube-apiserver", "v1.37.2", required{
		module: "k8s.io/kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-apiserver", binary: "kube-apiserver", staged: "v0.37.2",
		ldflags: "-X k8s.io/component-base/version.gitVersion=v1.37.2 -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37",
	}},
	{"etcd", "v3.6.6", required{module: "go.etcd.io/etcd/server/v3", pkg: "go.etcd.io/etcd/server/v3", binary: "etcd"}},
	// A system in which packages are installed, systemd runs, and images are made.
	{"debian", "bookworm", debootstrap{packages: "systemd,systemd-sysv,dbus,ca-certificates,python3"}},

	{"gcc", "", debian{packages: "gcc libc6-dev"}}, // the race detector needs it
	{"git", "", debian{packages: "git"}},           // Gitea needs it
	{"curl", "", debian{packages: "curl"}},
	{"docker-registry", "", debian{packages: "docker-registry"}}, // distribution 2.8; its service stays off
	{"htpasswd", "", debian{packages: "apache2-utils"}},
	{"skopeo", "", debian{packages: "skopeo"}},
	{"podman", "", debian{packages: "podman"}},
	{"buildah", "", debian{packages: "buildah"}},
	{"dockerd", "", debian{packages: "docker.io"}},
	{"docker", "", debian{packages: "docker.io"}},
	{"containerd", "", debian{packages: "containerd"}},
	{"ctr", "", debian{packages: "containerd"}},
	{"postgres", "", debian{packages: "postgresql", dirs: []string{"/usr/lib/postgresql/*/bin"}}},
	{"nginx", "", debian{packages: "nginx-light"}},
	{"haproxy", "", debian{packages: "haproxy"}},
	{"promtool", "", debian{packages: "prometheus"}}, // its service stays off
	{"wrk", "", debian{packages: "wrk"}},
	{"chromium", "", debian{packages: "chromium"}},
	{"chromedriver", "", debian{packages: "chromium-driver"}},
	{"axe", "v4.14.1", npm{pkg: "axe-core", file: "axe.min.js"}}, // finds barriers for people who cannot see a page
}
