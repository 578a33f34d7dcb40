package parts

// withoutClouds builds a ChartMuseum that stores charts only in local files. Otherwise the clients
// of eleven clouds and of Kubernetes are nine tenths of the compiled code.
var withoutClouds = []cut{
	{
		module: "github.com/chartmuseum/storage", version: "v0.10.5",
		keep: []string{"storage.go", "local.go"},
		add: map[string]string{
			"go.mod": "module github.com/chartmuseum/storage\n\ngo 1.16\n",
			"clouds.go": `package storage

func left() Backend { panic("this build of ChartMuseum stores charts only in local files") }

func NewAlibabaCloudOSSBackend(...string) Backend    { return left() }
func NewAmazonS3Backend(...string) Backend           { return left() }
func NewBaiDuBOSBackend(...string) Backend           { return left() }
func NewEtcdCSBackend(...string) Backend             { return left() }
func NewGoogleCSBackend(...string) Backend           { return left() }
func NewMicrosoftBlobBackend(...string) Backend      { return left() }
func NewNeteaseNOSBackend(...string) Backend         { return left() }
func NewOpenstackOSBackend(...string) Backend        { return left() }
func NewOpenstackOSBackendV1Auth(...string) Backend  { return left() }
func NewOracleCSBackend(...string) Backend           { return left() }
func NewTencentCloudCOSBackend(...string) Backend    { return left() }
`,
		},
	},
	{
		module: "helm.sh/helm/v3", version: "v3.5.1",
		keep: []string{
			"pkg/chart/*.go", "pkg/chart/loader/*.go", "pkg/provenance/*.go", "pkg/repo/index.go",
			"internal/fileutil/*.go", "internal/ignore/*.go", "internal/sympath/*.go", "internal/urlutil/*.go",
			"internal/third_party/dep/fs/*.go",
		},
		add: map[string]string{
			"go.mod": `module helm.sh/helm/v3

go 1.16

require (
	github.com/Masterminds/semver/v3 v3.1.1
	github.com/pkg/errors v0.9.1
	golang.org/x/crypto v0.0.0-20201002170205-7f63de1d35b0
	sigs.k8s.io/yaml v1.2.0
)
`,
		},
	},
}
