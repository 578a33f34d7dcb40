package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"reflect"
	"strings"
	"sync"
	"text/template"
	"text/template/parse"
	"time"

	"github.com/bellbuoy/bellbuoy/detect"
)

// Bounds on rendering a template. An output that is larger or takes longer is an error.
const (
	templateMost    = 1 << 20
	templateSteps   = 200_000 // writes and rounds of loops
	templateTimeout = 10 * time.Second
)

// templateFormat renders the user's own template. Its data is the event in the bellbuoy format, by
// its JSON names. Absent values are empty; unknown names are errors.
type templateFormat struct {
	contentType string
	name        string
	runs        *sync.Pool // of *templateRun
}

// newTemplate parses a template and renders a sample of each type that its webhook gets, so that
// mistakes are found when the configuration is loaded.
func newTemplate(o Options) (renderers, error) {
	name := o.TemplateName
	if name == "" {
		name = "template"
	}
	t, err := template.New(name).Option("missingkey=error").Funcs(new(templateRun).functions()).Parse(o.Template)
	if err != nil {
		return renderers{}, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	for _, defined := range t.Templates() {
		if defined.Tree != nil {
			addStops(defined.Root)
		}
	}
	c := templateFormat{contentType: o.ContentType, name: name, runs: &sync.Pool{}}
	run, err := newTemplateRun(t)
	if err != nil {
		return renderers{}, err
	}
	c.runs.Put(run)
	c.runs.New = func() any {
		run, _ := newTemplateRun(t) // a template that was never executed can be cloned
		return run
	}
	if c.contentType == "" {
		c.contentType = "application/json"
	}
	for _, kind := range o.Events {
		if _, err := c.render(Post{Event: Sample(kind)}); err != nil {
			return renderers{}, fmt.Errorf("%w (tried with a %s event)", err, kind)
		}
	}
	b := renderers{render: c.render}
	if mentionsEvents(t) {
		b.group = c.renderGroup
	}
	return b, nil
}

func (c templateFormat) render(p Post) (Body, error) {
	return c.renderGroup([]detect.Event{p.Event}, 1)
}

// renderGroup passes the first event to the template, and the listed ones as .events. .more counts
// those that are not listed, and .message holds one line of plain text for each event.
func (c templateFormat) renderGroup(events []detect.Event, most int) (Body, error) {
	var listed []any
	for i := range events[:min(len(events), max(most, 1))] {
		listed = append(listed, templateData(&events[i]))
	}
	data := templateData(&events[0])
	data["events"], data["more"] = listed, len(events)-len(listed)
	data["message"] = messageText(events, most)
	out, err := c.execute(data)
	if err != nil {
		return Body{}, err
	}
	if c.isJSON() && !json.Valid(out) {
		return Body{}, fmt.Errorf("%s: its output is not JSON: %s", c.name, jsonProblem(out))
	}
	return Body{ContentType: c.contentType, Bytes: out}, nil
}

func (c templateFormat) isJSON() bool {
	t, _, err := mime.ParseMediaType(c.contentType)
	return err == nil && (t == "application/json" || strings.HasSuffix(t, "+json"))
}

func jsonProblem(out []byte) string {
	var v any
	err := json.Unmarshal(out, &v)
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		line := 1 + bytes.Count(out[:min(int(syntax.Offset), len(out))], []byte("\n"))
		return fmt.Sprintf("line %d: %v (write values with {{json .name}})", line, err)
	}
	return fmt.Sprint(err)
}

// addStops inserts an empty write at the beginning of each list of nodes. So boundedBuffer can stop
// a template at every step, even in a loop that writes nothing.
func addStops(list *parse.ListNode) {
	if list == nil {
		return
	}
	for _, n := range list.Nodes {
		switch n := n.(type) {
		case *parse.RangeNode:
			addStops(n.List)
			addStops(n.ElseList)
		case *parse.IfNode:
			addStops(n.List)
			addStops(n.ElseList)
		case *parse.WithNode:
			addStops(n.List)
			addStops(n.ElseList)
		}
	}
	list.Nodes = append([]parse.Node{&parse.TextNode{NodeType: parse.NodeText, Pos: list.Pos}}, list.Nodes...)
}

// execute runs the template within its bounds.
func (c templateFormat) execute(data map[string]any) ([]byte, error) {
	w := &boundedBuffer{deadline: time.Now().Add(templateTimeout)}
	run := c.runs.Get().(*templateRun)
	defer c.runs.Put(run)
	run.made = 0
	err := run.template.Execute(w, data)
	switch {
	case w.stopped != nil:
		return nil, fmt.Errorf("%s: %w", c.name, w.stopped)
	case err != nil:
		return nil, errors.New(strings.TrimPrefix(err.Error(), "template: "))
	}
	return w.Bytes(), nil
}

// boundedBuffer fails a write beyond templateMost bytes, templateSteps or templateTimeout.
type boundedBuffer struct {
	bytes.Buffer
	steps    int
	deadline time.Time
	stopped  error
}

var _ io.Writer = (*boundedBuffer)(nil)

func (b *boundedBuffer) Write(p []byte) (int, error) {
	b.steps++
	switch {
	case b.steps > templateSteps:
		b.stopped = fmt.Errorf("needs more than %d steps", templateSteps)
	case b.Len()+len(p) > templateMost:
		b.stopped = errors.New("its output exceeds 1 MiB")
	case time.Now().After(b.deadline):
		b.stopped = fmt.Errorf("takes longer than %v", templateTimeout)
	default:
		return b.Buffer.Write(p)
	}
	return 0, b.stopped
}

// templateData returns an event by the JSON names of the bellbuoy format. It contains every name,
// so that a template can test for a value that the event lacks; any other name is an error.
func templateData(e *detect.Event) map[string]any {
	return dataOf(reflect.ValueOf(NewBellbuoyEvent(e))).(map[string]any)
}

// dataOf converts a value to maps, lists and basic types, which templates can compare.
func dataOf(v reflect.Value) any {
	if t, ok := v.Interface().(time.Time); ok {
		if t.IsZero() {
			return ""
		}
		return t.Format(time.RFC3339Nano)
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		return dataOf(v.Elem())
	case reflect.Struct:
		data := map[string]any{}
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
			data[name] = dataOf(v.Field(i))
		}
		return data
	case reflect.Slice:
		list := make([]any, 0, v.Len())
		for i := range v.Len() {
			list = append(list, dataOf(v.Index(i)))
		}
		return list
	case reflect.Map:
		data := map[string]any{}
		for name, value := range v.Seq2() {
			data[name.String()] = dataOf(value)
		}
		return data
	case reflect.String:
		return v.String() // also for named string types
	}
	return v.Interface()
}

// mentionsEvents reports whether the template uses more than the first event of a group.
func mentionsEvents(t *template.Template) bool {
	for _, defined := range t.Templates() {
		if defined.Tree == nil {
			continue
		}
		if text := defined.Root.String(); strings.Contains(text, ".events") || strings.Contains(text, ".message") {
			return true
		}
	}
	return false
}
