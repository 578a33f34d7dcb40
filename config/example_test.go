package config_test

import (
	"fmt"
	"os"

	"github.com/bellbuoy/bellbuoy/config"
)

func ExampleParse() {
	file := []byte(`
upstreams:
  - type: registry
    url: http://127.0.0.1:5000
    external_url: https://registry.example.com
webhooks:
  - name: ci
    url: https://ci.example.com/hooks/registry
    fromat: harbor
`)
	_, _, err := config.Parse("bellbuoy.yaml", file, os.LookupEnv)
	fmt.Println(err)
	// Output:
	// bellbuoy.yaml:9:5: webhooks[0].fromat: unknown key; did you mean "format"?
}
