package config

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// kind is the kind of a node.
type kind int

const (
	broken kind = iota // a problem has been reported
	null
	boolean
	number
	text
	list
	mapping
)

// String returns the kind in words.
func (k kind) String() string {
	return [...]string{"broken", "nothing", "true or false", "a number", "a string", "a list", "a mapping"}[k]
}

// node is a value of the file, with anchors, aliases and merge keys resolved.
type node struct {
	kind  kind
	at    place
	value string // of a scalar, as written, without quotes
	items []*node
	keys  []key // in the order of the file, each name once
}

// key is one entry of a mapping.
type key struct {
	name  string
	at    place
	value *node
}

// maxNodes bounds the nodes of a file after its aliases are resolved, so that a few lines of
// aliases cannot fill the memory.
const maxNodes = 200_000

// builder converts goccy's syntax tree to nodes.
type builder struct {
	findings *findings
	anchors  map[string]*node
	sizes    map[*node]int // nodes below each anchor, including itself
	count    int
}

// build converts a node. If that fails, it reports a problem and returns a broken node.
func (b *builder) build(n ast.Node, at place, path string) *node {
	if b.count++; b.count > maxNodes {
		return b.tooLarge(at)
	}
	switch n := n.(type) {
	case nil:
		return &node{kind: null, at: at}
	case *ast.NullNode:
		return &node{kind: null, at: nullPlace(n, at)}
	case *ast.BoolNode:
		return &node{kind: boolean, at: placeOf(n, at), value: n.GetToken().Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return &node{kind: number, at: placeOf(n, at), value: n.GetToken().Value}
	case *ast.StringNode:
		return &node{kind: text, at: placeOf(n, at), value: n.Value}
	case *ast.LiteralNode:
		return &node{kind: text, at: placeOf(n, at), value: n.Value.Value}
	case *ast.SequenceNode:
		return b.buildList(n, placeOf(n, at), path)
	case *ast.MappingNode:
		return b.buildMapping(n.Values, mappingPlace(n, at), path)
	case *ast.MappingValueNode:
		return b.buildMapping([]*ast.MappingValueNode{n}, placeOf(n.Key, at), path)
	case *ast.AnchorNode:
		return b.buildAnchor(n, at, path)
	case *ast.AliasNode:
		return b.resolve(n, placeOf(n, at), path)
	case *ast.TagNode:
		return b.fail(placeOf(n, at), path, "YAML tags are not supported; a text that begins with ! needs quotes")
	}
	return b.fail(placeOf(n, at), path, "this kind of YAML is not supported")
}

func (b *builder) buildList(n *ast.SequenceNode, at place, path string) *node {
	out := &node{kind: list, at: at}
	for i, v := range n.Values {
		where := at
		if i < len(n.Entries) {
			where = tokenPlace(n.Entries[i].Start)
		}
		out.items = append(out.items, b.build(v, where, fmt.Sprintf("%s[%d]", path, i)))
	}
	return out
}

func (b *builder) buildMapping(values []*ast.MappingValueNode, at place, path string) *node {
	out := &node{kind: mapping, at: at}
	var merges []*node
	seen := map[string]place{}
	for _, v := range values {
		where := placeOf(v.Key, at)
		if v.Key.IsMergeKey() {
			merges = append(merges, b.buildMerge(v.Value, where, path)...)
			continue
		}
		name := keyName(v.Key)
		if first, ok := seen[name]; ok {
			b.findings.problem(where, join(path, name), fmt.Sprintf("duplicate key; it is already in line %d", first.line))
			continue
		}
		seen[name] = where
		out.keys = append(out.keys, key{name: name, at: where, value: b.build(v.Value, where, join(path, name))})
	}
	for _, m := range merges {
		out.merge(m, seen)
	}
	return out
}

// buildMerge returns the mappings that << names.
func (b *builder) buildMerge(v ast.Node, at place, path string) []*node {
	n := b.build(v, at, join(path, "<<"))
	sources := []*node{n}
	if n.kind == list {
		sources = n.items
	}
	for _, s := range sources {
		if s.kind == broken {
			return nil
		}
		if s.kind != mapping {
			b.findings.problem(at, join(path, "<<"), "must be a mapping or a list of mappings, not "+s.kind.String())
			return nil
		}
	}
	return sources
}

// merge adds the keys of m that n does not have.
func (n *node) merge(m *node, seen map[string]place) {
	for _, k := range m.keys {
		if _, ok := seen[k.name]; !ok {
			seen[k.name] = k.at
			n.keys = append(n.keys, k)
		}
	}
}

func (b *builder) buildAnchor(n *ast.AnchorNode, at place, path string) *node {
	before := b.count
	value := b.build(n.Value, placeOf(n, at), path)
	if n.Name != nil {
		// The anchor is added only now, because a value with its own alias would be
		// infinite.
		b.anchors[n.Name.GetToken().Value] = value
		b.sizes[value] = b.count - before
	}
	return value
}

func (b *builder) resolve(n *ast.AliasNode, at place, path string) *node {
	value := b.anchors[n.Value.GetToken().Value]
	if value == nil {
		return b.fail(at, path, "alias of an anchor that is not defined above; a text that begins with * needs quotes")
	}
	if b.count += b.sizes[value]; b.count > maxNodes {
		return b.tooLarge(at)
	}
	return value
}

func (b *builder) fail(at place, path, message string) *node {
	b.findings.problem(at, path, message)
	return &node{kind: broken, at: at}
}

func (b *builder) tooLarge(at place) *node {
	if !b.findings.bad[""] {
		b.findings.problem(at, "", fmt.Sprintf("more than %d values; the rest is not read", maxNodes))
	}
	return &node{kind: broken, at: at}
}

// keyName returns a key as it is written. Every scalar may be a key.
func keyName(k ast.MapKeyNode) string {
	if s, ok := k.(*ast.StringNode); ok {
		return s.Value
	}
	if m, ok := k.(*ast.MappingKeyNode); ok && m.Value != nil {
		return strings.TrimSpace(m.Value.GetToken().Value)
	}
	return k.GetToken().Value
}

// placeOf returns the place of n, or fallback for a node without a place, such as an absent value.
func placeOf(n ast.Node, fallback place) place {
	if n == nil || n.GetToken() == nil || n.GetToken().Position == nil {
		return fallback
	}
	p := n.GetToken().Position
	if p.Line < 1 || p.Column < 1 {
		return fallback
	}
	return place{line: p.Line, column: p.Column}
}

// nullPlace returns the place of a null. The token of an absent value has no useful place.
func nullPlace(n *ast.NullNode, fallback place) place {
	if n.Token == nil || n.Token.Type != token.NullType {
		return fallback
	}
	return placeOf(n, fallback)
}

// mappingPlace returns the place of a mapping: its brace, or its first key.
func mappingPlace(n *ast.MappingNode, fallback place) place {
	if !n.IsFlowStyle && len(n.Values) > 0 {
		return placeOf(n.Values[0].Key, fallback)
	}
	return placeOf(n, fallback)
}

// join returns the path of the key name below path. The result is printable.
func join(path, name string) string {
	if strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }) {
		name = strconv.Quote(name)
	}
	if path == "" {
		return name
	}
	return path + "." + name
}
