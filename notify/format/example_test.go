package format_test

import (
	"fmt"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
	"github.com/bellbuoy/bellbuoy/notify/format"
)

func ExampleFormat_Render() {
	harbor, err := format.New("harbor", "ci", format.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	e := format.Sample(detect.PushArtifact)
	e.At = time.Unix(1795424487, 0)
	e.Client.Operator = "alice"
	_, _, body, err := harbor.Render(e, 0)
	fmt.Println(string(body[:62]), err)
	// Output:
	// {"type":"PUSH_ARTIFACT","occur_at":1795424487,"operator":"alic <nil>
}

// A template renders the JSON of the bellbuoy format with Go's text/template.
func ExampleNew_template() {
	f, err := format.New("template", "own", format.Options{
		Template: `{"image": {{json .repository}}, "tag": {{json (index .tags 0)}}}`,
		Events:   []detect.Type{detect.PushArtifact},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, _, body, err := f.Render(format.Sample(detect.PushArtifact), 0)
	fmt.Println(string(body), err)
	// Output:
	// {"image": "bellbuoy/ping", "tag": "v1.0.0"} <nil>
}
