package config

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	maxFile  = 4 << 20
	maxDepth = 64
)

// Parse reads a configuration from data. name is the file's name in problems, and env looks up
// environment variables. If the configuration has problems, the error is a Problems with all of
// them, and the Config is nil. Parse reads the files that data names and changes nothing.
func Parse(name string, data []byte, env func(string) (string, bool)) (*Config, Warnings, error) {
	found := &findings{file: name, bad: map[string]bool{}}
	root := readTree(data, found)
	if root == nil {
		warnings, err := found.result()
		return nil, warnings, err
	}
	d := &decoder{findings: found, expander: &expander{env: env}, scalars: map[string]rawScalar{}, places: map[string]place{}}
	cfg := d.config(root)
	d.complete(cfg)
	(&validator{decoder: d, cfg: cfg}).config()
	warnings, err := found.result()
	if err != nil {
		return nil, warnings, err
	}
	cfg.source = source{file: name, places: d.places, secretFiles: d.expander.files}
	return cfg, warnings, nil
}

// readTree returns the file's root, or nil if the file is not YAML.
func readTree(data []byte, found *findings) *node {
	if len(data) > maxFile {
		found.problem(place{}, "", "larger than "+Size(maxFile).String())
		return nil
	}
	if !utf8.Valid(data) {
		found.problem(place{}, "", "not UTF-8")
		return nil
	}
	// Editors on Windows add a byte order mark.
	file, at, err := parseYAML(strings.TrimPrefix(string(data), "\ufeff"))
	if err != nil {
		found.problem(at, "", err.Error())
		return nil
	}
	body, at, err := onlyDocument(file)
	if err != nil {
		found.problem(at, "", err.Error())
		return nil
	}
	b := &builder{findings: found, anchors: map[string]*node{}, sizes: map[*node]int{}}
	return b.build(body, place{1, 1}, "")
}

// parseYAML returns the syntax tree, or the place and cause of an error. It accepts duplicate keys:
// the builder reports all of them.
func parseYAML(data string) (file *ast.File, at place, err error) {
	// A panic of the parser is reported as a file that cannot be read.
	defer func() {
		if recover() != nil {
			file, at, err = nil, place{}, errors.New("not valid YAML")
		}
	}()
	tokens := lexer.Tokenize(data)
	if at, deep := tooDeep(tokens); deep {
		return nil, at, fmt.Errorf("nested deeper than %d levels", maxDepth)
	}
	file, err = parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err == nil {
		return file, place{}, nil
	}
	// Error() would print the surrounding lines, which may be secret.
	if syntax, ok := errors.AsType[yaml.Error](err); ok {
		at, message := tokenPlace(syntax.GetToken()), explainMessage(syntax.GetMessage())
		if column, say := adviseSyntax(lineOf(data, at.line)); say != "" {
			at.column, message = column, say
		}
		return nil, at, fmt.Errorf("not valid YAML: %s", message)
	}
	return nil, place{}, errors.New("not valid YAML")
}

// explainMessage replaces the parser's messages for the two most common errors.
func explainMessage(message string) string {
	switch {
	case strings.HasPrefix(message, "found character '\t'"):
		return "a tab where only spaces may indent"
	case message == "value is not allowed in this context":
		return message + "; is the line indented like those around it?"
	}
	return message
}

// tooDeep finds deep nesting within a line. It could exhaust the parser's stack.
func tooDeep(tokens token.Tokens) (place, bool) {
	open, run := 0, 0
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			open++
		case token.SequenceEndType, token.MappingEndType:
			open--
		case token.SequenceEntryType, token.MappingKeyType, token.MappingValueType, token.AnchorType, token.TagType:
			run++
			if run > maxDepth {
				return tokenPlace(t), true
			}
			continue
		}
		run = 0
		if open > maxDepth {
			return tokenPlace(t), true
		}
	}
	return place{}, false
}

func tokenPlace(t *token.Token) place {
	if t == nil || t.Position == nil {
		return place{}
	}
	return place{line: t.Position.Line, column: t.Position.Column}
}

// onlyDocument returns the body of the only document in file; nil if it is empty.
func onlyDocument(file *ast.File) (ast.Node, place, error) {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		switch doc.Body.Type() {
		case ast.CommentType:
			continue
		case ast.DirectiveType:
			return nil, placeOf(doc.Body, place{}), errors.New("YAML directives are not supported")
		}
		if body != nil {
			return nil, beginningOf(doc), errors.New("a second document begins here; the configuration is one")
		}
		body = doc.Body
	}
	return body, place{}, nil
}

// beginningOf returns the place of the line that separates a document from the one before it.
func beginningOf(doc *ast.DocumentNode) place {
	if doc.Start != nil {
		return tokenPlace(doc.Start)
	}
	return placeOf(doc.Body, place{})
}
