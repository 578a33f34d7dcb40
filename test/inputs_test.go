package test

import (
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestInputsAreBounded compares the table of docs/inputs.md with the constants and settings that it
// names.
func TestInputsAreBounded(t *testing.T) {
	text, err := os.ReadFile("../docs/inputs.md")
	if err != nil {
		t.Fatal(err)
	}
	reference, err := os.ReadFile("../config/reference.yaml")
	if err != nil {
		t.Fatal(err)
	}
	code := map[string]map[string]ast.Expr{"detect": constantsOf(t, "../detect"), "track": constantsOf(t, "../detect/track"), "tagindex": constantsOf(t, "../detect/track/tagindex"), "proxy": constantsOf(t, "../proxy"), "api": constantsOf(t, "../notify/api"), "access": constantsOf(t, "../notify/access"), "counters": constantsOf(t, "../notify/counters"), "console": constantsOf(t, "../notify/console")}
	rows := 0
	for line := range strings.SplitSeq(string(text), "\n") {
		cells := strings.Split(line, " | ")
		if len(cells) != 5 || !strings.Contains(cells[3], "`") {
			continue
		}
		rows++
		bound, name := strings.TrimSpace(cells[2]), strings.Trim(cells[3], " `")
		pkg, constantName, _ := strings.Cut(name, ".")
		if pkg == "limits" {
			if want := constantName + ": " + strings.ReplaceAll(bound, " ", ""); !strings.Contains(string(reference), want) {
				t.Errorf("%s: config/reference.yaml does not say %q", name, want)
			}
			continue
		}
		x, ok := code[pkg][constantName]
		if !ok {
			t.Errorf("%s: there is no such constant", name)
			continue
		}
		got, ok := constant.Int64Val(valueOf(t, code, pkg, x))
		if want := bytesOf(t, bound); !ok || got != want {
			t.Errorf("the bound %s: the code has %d, the table %s", name, got, bound)
		}
	}
	if rows < 50 {
		t.Errorf("the table has %d rows", rows)
	}
	for _, pkg := range []string{"detect"} { // an exported constant there is a bound of a name or a body
		for name := range code[pkg] {
			if strings.HasPrefix(name, "Max") && !strings.Contains(string(text), "`"+pkg+"."+name+"`") {
				t.Errorf("%s.%s is not in the table", pkg, name)
			}
		}
	}
}

// bytesOf parses "255 bytes", "4 MiB" or "64".
func bytesOf(t *testing.T, bound string) int64 {
	number, unit, _ := strings.Cut(bound, " ")
	n, err := strconv.ParseInt(number, 10, 64)
	factor := map[string]int64{"": 1, "bytes": 1, "KiB": 1 << 10, "MiB": 1 << 20}[unit]
	if err != nil || factor == 0 {
		t.Errorf("%q is no bound", bound)
	}
	return n * factor
}

// constantsOf returns the constants of a package, as expressions.
func constantsOf(t *testing.T, dir string) map[string]ast.Expr {
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("parsing %s: %v", dir, err)
	}
	found := map[string]ast.Expr{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.CONST {
				continue
			}
			for _, spec := range g.Specs {
				for i, x := range spec.(*ast.ValueSpec).Values {
					found[spec.(*ast.ValueSpec).Names[i].Name] = x
				}
			}
		}
	}
	return found
}

// valueOf returns the value of a constant expression of numbers and other constants.
func valueOf(t *testing.T, code map[string]map[string]ast.Expr, pkg string, x ast.Expr) constant.Value {
	switch x := x.(type) {
	case *ast.BasicLit:
		return constant.MakeFromLiteral(x.Value, x.Kind, 0)
	case *ast.BinaryExpr:
		a, b := valueOf(t, code, pkg, x.X), valueOf(t, code, pkg, x.Y)
		if n, ok := constant.Uint64Val(b); ok && x.Op == token.SHL {
			return constant.Shift(a, x.Op, uint(n))
		}
		return constant.BinaryOp(a, x.Op, b)
	case *ast.Ident:
		return valueOf(t, code, pkg, code[pkg][x.Name])
	case *ast.SelectorExpr:
		other := x.X.(*ast.Ident).Name
		return valueOf(t, code, other, code[other][x.Sel.Name])
	}
	t.Fatalf("%T is no constant that this test can read", x)
	return nil
}
