package schema

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"reflect"
	"strings"
)

// docs are comments by type ("Recipe") or field ("Recipe.Name"), joined to one line.
type docs map[string]string

// comments reads the comments of this module's packages, each package once.
type comments struct {
	source   fs.FS // a checkout of the module
	packages map[string]docs
}

// module is the import path of the checkout, which this package lies in at oem/definition/schema.
var module = strings.TrimSuffix(reflect.TypeFor[docs]().PkgPath(), "/oem/definition/schema")

// of returns the comments of a type's package; none for other modules.
func (c comments) of(t reflect.Type) (docs, error) {
	dir, own := strings.CutPrefix(t.PkgPath(), module+"/")
	if !own {
		return nil, nil
	}
	if c.packages[dir] == nil {
		found, err := c.read(dir)
		if err != nil {
			return nil, fmt.Errorf("comments of %s: %w", dir, err)
		}
		c.packages[dir] = found
	}
	return c.packages[dir], nil
}

func (c comments) read(dir string) (docs, error) {
	files, err := fs.Glob(c.source, path.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	found := docs{}
	for _, file := range files {
		content, err := fs.ReadFile(c.source, file)
		if err != nil {
			return nil, err
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, content, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		for _, declaration := range parsed.Decls {
			if general, ok := declaration.(*ast.GenDecl); ok {
				found.addTypes(general)
			}
		}
	}
	return found, nil
}

func (d docs) addTypes(declaration *ast.GenDecl) {
	for _, spec := range declaration.Specs {
		t, ok := spec.(*ast.TypeSpec)
		if !ok {
			continue
		}
		d[t.Name.Name] = oneLine(t.Doc, declaration.Doc)
		structure, ok := t.Type.(*ast.StructType)
		if !ok {
			continue
		}
		for _, field := range structure.Fields.List {
			for _, name := range field.Names {
				d[t.Name.Name+"."+name.Name] = oneLine(field.Doc, field.Comment)
			}
		}
	}
}

// oneLine returns the first non-empty comment, joined to one line.
func oneLine(groups ...*ast.CommentGroup) string {
	for _, group := range groups {
		if text := strings.Join(strings.Fields(group.Text()), " "); text != "" {
			return text
		}
	}
	return ""
}
