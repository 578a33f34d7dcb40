package detect

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v2"
)

// maxChartYAML bounds the bytes of a Chart.yaml. The time and memory of the parser are linear in
// them, and it refuses more than 10,000 levels.
const maxChartYAML = 64 << 10

// metadata are the fields of a Chart.yaml that bellbuoy reads.
type metadata struct {
	Name       string `json:"name"`
	Version    string `json:"version"`
	Type       string `json:"type"`
	AppVersion string `json:"appVersion"`
}

// merge reads a Chart.yaml over what an earlier file said, as Helm's loader does: YAML 1.1, the
// last of equal keys, numbers and booleans as text, keys in any case.
func (m *metadata) merge(b []byte) (err error) {
	defer recovered(&err)
	fields, err := scalars(b, "name", "version", "type", "appVersion")
	if err != nil {
		return err
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, m) // Helm goes through JSON too
}

// over replaces the fields that another file has.
func (m *metadata) over(o metadata) {
	for to, from := range map[*string]string{&m.Name: o.Name, &m.Version: o.Version, &m.Type: o.Type, &m.AppVersion: o.AppVersion} {
		if from != "" {
			*to = from
		}
	}
}

// recovered turns a panic of the YAML parser into ErrNotChart: clients choose what it reads.
func recovered(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("%w: reading YAML: %v", ErrNotChart, p)
	}
}

// scalars returns the values of a YAML mapping under some keys, compared without regard to case.
// All other values are not decoded, because aliases could make them as large as a client likes.
func scalars(b []byte, keys ...string) (map[string]any, error) {
	var fields map[string]lazy
	if err := yaml.Unmarshal(b, &fields); err != nil {
		return nil, err
	}
	found := map[string]any{}
	for name, value := range fields {
		for _, key := range keys {
			if !strings.EqualFold(name, key) {
				continue
			}
			v, err := value.text()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", key, err)
			}
			found[name] = v
		}
	}
	return found, nil
}

// lazy is a value that is not decoded yet. The zero value is null.
type lazy struct{ decode func(any) error }

// UnmarshalYAML keeps the value for later.
func (l *lazy) UnmarshalYAML(decode func(any) error) error {
	l.decode = decode
	return nil
}

// text returns the value as sigs.k8s.io/yaml sets it in a field that is a string. nil is null.
func (l lazy) text() (any, error) {
	if l.decode == nil {
		return nil, nil
	}
	var s scalar
	if err := l.decode(&s); err != nil {
		return nil, err
	}
	return s.text, nil
}

// scalar is the text of a scalar. A collection in its place is an error.
type scalar struct{ text any }

// UnmarshalYAML refuses collections before they are decoded.
func (s *scalar) UnmarshalYAML(decode func(any) error) error {
	var plain string
	if err := decode(&plain); err != nil {
		return err
	}
	var v any
	if err := decode(&v); err != nil {
		return err
	}
	switch v := v.(type) {
	case int:
		s.text = strconv.Itoa(v)
	case int64:
		s.text = strconv.FormatInt(v, 10)
	case uint64:
		s.text = strconv.FormatUint(v, 10)
	case float64:
		s.text = strconv.FormatFloat(v, 'g', -1, 32)
	case bool:
		s.text = strconv.FormatBool(v)
	default:
		s.text = v
	}
	return nil
}
