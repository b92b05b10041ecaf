package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/flatcar/oem-sysext/oem/host/arch"
)

// constants are the names of the architectures in Go.
var constants = map[arch.Arch]string{arch.AMD64: "AMD64", arch.ARM64: "ARM64"}

// TestEveryMapHasAllArchitectures reads the whole tree: whoever adds an architecture learns here what else has to know it.
func TestEveryMapHasAllArchitectures(t *testing.T) {
	for _, a := range arch.All {
		if constants[a] == "" || a.Systemd() == "" || a.Triplet() == "" || a.Interpreter() == "" || a.Machine() == 0 || a.Filter() == "" {
			t.Errorf("%s lacks a name", a)
		}
	}
	found := 0
	err := filepath.WalkDir("../../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), "_") || len(d.Name()) > 2 && d.Name()[0] == '.') {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			literal, is := n.(*ast.CompositeLit)
			if !is || !isMapOfArches(literal.Type) {
				return true
			}
			found++
			for _, a := range arch.All {
				if !slices.Contains(keys(literal), constants[a]) {
					t.Errorf("%s: a map of architectures has no %s", path, a)
				}
			}
			return true
		})
		return nil
	})
	if err != nil || found < 5 {
		t.Errorf("%d maps of architectures, %v", found, err)
	}
}

// isMapOfArches tells whether a type is map[arch.Arch]…, or map[Arch]… in the package itself.
func isMapOfArches(t ast.Expr) bool {
	m, is := t.(*ast.MapType)
	return is && nameOf(m.Key) == "Arch"
}

// keys are the names of a literal's keys.
func keys(literal *ast.CompositeLit) []string {
	var names []string
	for _, element := range literal.Elts {
		if pair, is := element.(*ast.KeyValueExpr); is {
			names = append(names, nameOf(pair.Key))
		}
	}
	return names
}

func nameOf(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}
