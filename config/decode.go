package config

import (
	"encoding"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/bellbuoy/bellbuoy/notify/format/presets"
)

// decoder decodes the tree into a Config and records the place of every value.
type decoder struct {
	findings *findings
	expander *expander
	places   map[string]place     // of every value
	scalars  map[string]rawScalar // of every scalar
}

// rawScalar is a scalar as it is written in the file.
type rawScalar struct {
	raw      string // before expansion
	expanded bool
	empty    string // the first ${…} in it that has no value
}

// field is one key of the file: a Go field with its tags.
type field struct {
	name     string
	fallback string
	enum     []string
	index    int
}

// config decodes the root and fills in defaults.
func (d *decoder) config(root *node) *Config {
	cfg := &Config{}
	v := reflect.ValueOf(cfg).Elem()
	setDefaults(v)
	d.block(root, v, "")
	return cfg
}

// fieldsOf returns the keys of a block, in the order of the type.
func fieldsOf(t reflect.Type) []field {
	var out []field
	for i := range t.NumField() {
		tag := t.Field(i).Tag
		name := tag.Get("yaml")
		if name == "" {
			continue
		}
		f := field{name: name, fallback: tag.Get("default"), index: i}
		switch enum := tag.Get("enum"); enum {
		case "":
		case "@presets":
			f.enum = presets.Names()
		default:
			f.enum = strings.Split(enum, "|")
		}
		out = append(out, f)
	}
	return out
}

// block decodes a mapping into a struct.
func (d *decoder) block(n *node, v reflect.Value, path string) {
	if n.kind == null || !d.hasKind(n, mapping, path) {
		return
	}
	fields := fieldsOf(v.Type())
	for _, k := range n.keys {
		at := join(path, k.name)
		i := slices.IndexFunc(fields, func(f field) bool { return f.name == k.name })
		if i < 0 {
			d.findings.problem(k.at, at, "unknown key"+didYouMean(k.name, names(fields)))
			continue
		}
		d.entry(fields[i], k.value, v.Field(fields[i].index), at)
	}
}

// names returns the keys of a block.
func names(fields []field) []string {
	out := make([]string, 0, len(fields))
	for _, f := range fields {
		out = append(out, f.name)
	}
	return out
}

// entry decodes the value of one key. A null is an absent key.
func (d *decoder) entry(f field, n *node, v reflect.Value, path string) {
	if n.kind == broken || n.kind == null {
		return
	}
	d.places[path] = n.at
	d.value(f, n, v, path)
}

func (d *decoder) value(f field, n *node, v reflect.Value, path string) {
	if n.kind == broken {
		return
	}
	d.places[path] = n.at
	switch {
	case isBlock(v.Type()):
		d.block(n, v, path)
	case v.Kind() == reflect.Slice:
		d.list(f, n, v, path)
	case v.Kind() == reflect.Map:
		d.table(f, n, v, path)
	case v.Kind() == reflect.Pointer:
		pointed := reflect.New(v.Type().Elem())
		d.value(f, n, pointed.Elem(), path)
		v.Set(pointed)
	default:
		d.scalar(f, n, v, path)
	}
}

func (d *decoder) list(f field, n *node, v reflect.Value, path string) {
	if !d.hasKind(n, list, path) {
		return
	}
	out := reflect.MakeSlice(v.Type(), len(n.items), len(n.items))
	for i, item := range n.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.kind == null {
			d.findings.problem(item.at, at, "must not be empty")
			continue
		}
		if isBlock(v.Type().Elem()) {
			setDefaults(out.Index(i))
		}
		if webhook, ok := out.Index(i).Addr().Interface().(*Webhook); ok {
			d.applyPreset(item, webhook, at)
		}
		d.value(f, item, out.Index(i), at)
	}
	v.Set(out)
}

// table decodes a mapping whose keys are chosen by the user.
func (d *decoder) table(f field, n *node, v reflect.Value, path string) {
	if !d.hasKind(n, mapping, path) {
		return
	}
	out := reflect.MakeMap(v.Type())
	for name, value := range v.Seq2() { // values of a preset
		out.SetMapIndex(name, value)
	}
	for _, k := range n.keys {
		at := join(path, k.name)
		if k.value.kind == null {
			d.findings.problem(k.at, at, "must not be empty")
			continue
		}
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(f, k.value, item, at)
		out.SetMapIndex(reflect.ValueOf(k.name), item)
	}
	v.Set(out)
}

// scalar expands a scalar and decodes it into the type of v.
func (d *decoder) scalar(f field, n *node, v reflect.Value, path string) {
	if n.kind == list || n.kind == mapping || n.kind == null {
		d.findings.problem(n.at, path, "must be "+wants(v)+", not "+n.kind.String()+colonHint(n, v))
		return
	}
	s := rawScalar{raw: n.value, expanded: n.kind == text && expands(n.value)}
	value := n.value
	var err error
	if s.expanded {
		value, s.empty, err = d.expander.expand(n.value)
	}
	d.scalars[path] = s
	if err != nil {
		d.findings.problem(n.at, path, oneLine(err))
		return
	}
	if problem := setScalar(v, n.kind, value, s); problem != "" {
		d.findings.problem(n.at, path, problem)
		return
	}
	d.checkEnum(f, v, path)
}

// colonHint returns a hint if YAML reads an unquoted text as a mapping, as in
// {hosts: [a.example.com:5000]}.
func colonHint(n *node, v reflect.Value) string {
	if n.kind == mapping && v.Kind() == reflect.String {
		return "; a text with a colon, or with { }, needs quotes"
	}
	return ""
}

// setScalar sets v to an expanded value. It returns the problem, or "".
func setScalar(v reflect.Value, k kind, value string, s rawScalar) string {
	asText := k == text && !s.expanded
	if u, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok && !isPrefix(v) {
		if k == boolean {
			return "must be " + wants(v) + ", not " + k.String()
		}
		if err := u.UnmarshalText([]byte(value)); err != nil {
			return s.show() + " " + err.Error()
		}
		return ""
	}
	wrong := "must be " + wants(v) + ", not " + k.String()
	switch {
	case isPrefix(v):
		return setPrefix(v, value, s)
	case v.Kind() == reflect.Bool && k == boolean && value != strings.ToLower(value):
		return "write " + strings.ToLower(value) + ", not " + value
	case v.Kind() == reflect.Bool:
		if asText || value != "true" && value != "false" {
			return wrong
		}
		v.SetBool(value == "true")
	case v.Kind() == reflect.Int:
		n, err := strconv.Atoi(value)
		if asText || err != nil {
			return strings.TrimSuffix(wrong, ", not a number")
		}
		v.SetInt(int64(n))
	case k != text:
		return wrong + "; put it in quotes"
	case v.Type() == reflect.TypeFor[URL]():
		v.Set(reflect.ValueOf(expandedURL(value, s.raw)))
	default:
		v.SetString(value)
	}
	return ""
}

// setPrefix parses a CIDR. A bare address is a CIDR of one address.
func setPrefix(v reflect.Value, value string, s rawScalar) string {
	if addr, err := netip.ParseAddr(value); err == nil && addr.Zone() == "" {
		v.Set(reflect.ValueOf(netip.PrefixFrom(addr, addr.BitLen())))
		return ""
	}
	prefix, err := netip.ParsePrefix(value)
	if err != nil {
		return s.show() + " is not a CIDR; write it like 10.0.0.0/8 or fd00::/8"
	}
	v.Set(reflect.ValueOf(prefix.Masked()))
	return ""
}

// checkEnum rejects a text that is not one of the field's values. The default is always allowed.
func (d *decoder) checkEnum(f field, v reflect.Value, path string) {
	if len(f.enum) == 0 || v.Kind() != reflect.String {
		return
	}
	value := v.String()
	if value == f.fallback || slices.Contains(f.enum, value) {
		return
	}
	// Later messages must not show the expanded value.
	v.SetString(f.fallback)
	s := d.scalars[path]
	d.findings.problem(d.places[path], path, s.show()+" is not known"+oneOf(s.raw, f.enum))
}

// hasKind reports whether a node has the wanted kind, and adds a problem if it does not.
func (d *decoder) hasKind(n *node, want kind, path string) bool {
	if n.kind == want {
		return true
	}
	if n.kind != broken {
		d.findings.problem(n.at, path, "must be "+want.String()+", not "+n.kind.String())
	}
	return false
}

// show quotes the value as it is written, because its expanded form may be secret.
func (s rawScalar) show() string {
	const most = 80
	raw := s.raw
	if len(raw) > most {
		raw = strings.ToValidUTF8(raw[:most], "") + "…"
	}
	return strconv.Quote(raw)
}

// wants describes the scalars that v accepts.
func wants(v reflect.Value) string {
	switch v.Addr().Interface().(type) {
	case *Size:
		return "a size like 64KiB"
	case *Duration, *Interval:
		return "a duration like 30s"
	case *Percent:
		return "a percentage like 85%"
	case *Rate:
		return "a rate like 1/s"
	case *netip.Prefix:
		return "a CIDR like 10.0.0.0/8"
	case *bool:
		return "true or false"
	case *int:
		return "a whole number"
	}
	return "a string"
}

func isPrefix(v reflect.Value) bool { return v.Type() == reflect.TypeFor[netip.Prefix]() }

// isBlock reports whether t is a mapping with fixed keys.
func isBlock(t reflect.Type) bool {
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[URL]() {
		return false
	}
	return !reflect.PointerTo(t).Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }
