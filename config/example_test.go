package config_test

import (
	"errors"
	"fmt"

	"github.com/bellbuoy/bellbuoy/config"
)

func noVariables(string) (string, bool) { return "", false }

func ExampleParse() {
	file := `
upstreams:
  - type: registry
    url: http://127.0.0.1:5000
    external_url: https://registry.example.com
webhooks:
  - name: ci
    url: https://ci.example.com/hooks/registry
`
	c, warnings, err := config.Parse("bellbuoy.yaml", []byte(file), noVariables)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(c.Upstreams[0].Name, c.Webhooks[0].Format, c.Webhooks[0].Retry[:3])
	fmt.Println(len(warnings), "warnings")
	// Output:
	// registry harbor [0s 5s 5m]
	// 0 warnings
}

// A wrong file yields all of its problems at once, with their places.
func ExampleParse_problems() {
	file := "upstreams: [{type: registry, urll: 'http://127.0.0.1:5000'}]\nlog: {level: loud}\n"
	_, _, err := config.Parse("bellbuoy.yaml", []byte(file), noVariables)
	if problems, ok := errors.AsType[config.Problems](err); ok {
		for _, p := range problems {
			fmt.Println(p.Line, p.Path)
		}
	}
	// Output:
	// 1 upstreams[0].url
	// 1 upstreams[0].urll
	// 2 log.level
}

func ExampleLoad() {
	_, _, err := config.Load("missing.yaml", noVariables)
	fmt.Println(err)
	// Output:
	// reading configuration: missing.yaml: no such file or directory
}
