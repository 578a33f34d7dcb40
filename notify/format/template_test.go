package format

import (
	"strings"
	"testing"

	"github.com/bellbuoy/bellbuoy/detect"
)

func TestTemplate(t *testing.T) {
	f, err := New("template", "own", Options{ContentType: "text/plain", Events: allTypes,
		Template: `{{.type}} {{.repository}} {{range .tags}}<{{.}}>{{end}} {{if gt .size 1000}}large{{end}} {{with .chart}}{{.name}} {{.version}} {{.type}}{{end}}`})
	if err != nil {
		t.Fatal(err)
	}
	for kind, want := range map[detect.Type]string{
		detect.PushArtifact: "PUSH_ARTIFACT bellbuoy/ping <v1.0.0> large ",
		detect.UploadChart:  "UPLOAD_CHART bellbuoy/ping <1.0.0> large ping 1.0.0 application",
		detect.Replication:  "REPLICATION   ",
	} {
		contentType, _, body, err := f.Render(Sample(kind), 0)
		if err != nil || contentType != "text/plain" || strings.TrimSpace(string(body)) != strings.TrimSpace(want) && kind != detect.Replication {
			t.Errorf("%s: %v %q %q, want %q", kind, err, contentType, body, want)
		}
	}
}

func TestTemplateMistakes(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"an unknown key", "{\n {{json .tgas}}\n}", `own.tmpl:2:8: executing "own.tmpl" at <.tgas>: map has no entry for key "tgas" (tried with a PUSH_ARTIFACT event)`},
		{"an unknown key in an action", "{{with .artifact}}{{end}}", `no entry for key "artifact"`},
		{"syntax", "{{json .type", "own.tmpl:1: unclosed action"},
		{"an unknown helper", "{{shell .type}}", `own.tmpl:1: function "shell" not defined`},
		{"no JSON", `{"x": {{.type}}}`, "own.tmpl: its output is not JSON: line 1: "},
		{"a loop that writes nothing", `{{range 100000000000}}{{end}}{}`, "needs more than 200000 steps"},
		{"loops that double", `{{define "x"}}{{template "x"}}{{template "x"}}{{end}}{{template "x"}}{}`, "own.tmpl"},
		{"text that doubles in a variable", `{{$x := "a"}}{{range 60}}{{$x = print $x $x}}{{end}}{}`, "its functions produce more than 16 MiB"},
		{"text that doubles by replace", `{{$x := "a"}}{{range 60}}{{$x = replace "a" "aa" $x}}{{end}}{}`, "its functions produce more than 16 MiB"},
		{"a large replacement", `{{$x := ""}}{{range 1000}}{{$x = printf "%s%999d" $x 1}}{{end}}{{$x = replace "" $x $x}}{}`, "its functions produce more than 16 MiB"},
		{"text that doubles by escapes", `{{$x := "'"}}{{range 60}}{{$x = js $x}}{{end}}{}`, "its functions produce more than 16 MiB"},
		{"text that grows with recursion", `{{define "x"}}{{template "x" (print . .)}}{{end}}{{template "x" "aaaa"}}{}`, "its functions produce more than 16 MiB"},
		{"a wide verb", `{{printf "%1000000d" 1}}`, "at most 3 digits"},
		{"a width that is an argument", `{{printf "%*d" 1000000 1}}`, "at most 3 digits"},
		{"a large output", `{{range 100000000}}{{json $.references}}{{end}}`, "its output exceeds 1 MiB"},
		{"a chart of an event without one", `{{json .chart.name}}`, "nil"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New("template", "own", Options{Template: tc.text, TemplateName: "own.tmpl", Events: []detect.Type{detect.PushArtifact}})
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("%v, want %q", err, tc.want)
			}
		})
	}
}

func TestTemplateGroups(t *testing.T) {
	f, err := New("template", "own", Options{Template: `{"text": {{len .events}}, "more": {{.more}}, "first": {{json (index .events 0).type}}}`, Events: allTypes})
	if err != nil || !f.Groups() {
		t.Fatal(err)
	}
	_, _, body, err := f.RenderGroup([]detect.Event{Sample(detect.PushArtifact), Sample(detect.DeleteTag), Sample(detect.DeleteTag)}, 2)
	if want := `{"text": 2, "more": 1, "first": "PUSH_ARTIFACT"}`; err != nil || string(body) != want {
		t.Errorf("%v %s, want %s", err, body, want)
	}
	if f := newFormat(t, "template"); f.Groups() {
		t.Error("a template without .events groups")
	}
}
