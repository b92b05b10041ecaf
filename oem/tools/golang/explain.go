package golang

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/mod/modfile"

	"github.com/flatcar/oem-sysext/oem/host/arch"
	"github.com/flatcar/oem-sysext/oem/host/run"
)

// isProgram refuses a package that compiles to no program: the go command would write an archive in its place.
func (g *Toolchain) isProgram(ctx context.Context, moduleDir string, a arch.Arch, name string) error {
	out, err := run.Output(ctx, run.Cmd{
		Program: "go", Args: []string{"list", "-e", "-f", "{{.Name}}", name}, Dir: moduleDir, Env: append(slices.Clone(g.env), "GOARCH="+string(a)),
	})
	if err != nil {
		return g.explain(ctx, moduleDir, a, name, err)
	}
	if found := strings.Fields(string(out)); len(found) == 1 && found[0] != "main" {
		return fmt.Errorf("%s is package %s of the module; wanted a main package, which compiles to a program", name, found[0])
	}
	return nil
}

// explain adds to the go command's words about a failure what in the module cannot be built here.
func (g *Toolchain) explain(ctx context.Context, moduleDir string, a arch.Arch, name string, failure error) error {
	if paths := localReplacements(moduleDir); len(paths) > 0 {
		return fmt.Errorf("the module replaces %s by directories of its repository, which the module proxy does not have; build it by a script from its source\n%w",
			strings.Join(paths, ", "), failure)
	}
	out, err := run.Output(ctx, run.Cmd{
		Program: "go", Args: []string{"list", "-e", "-deps", "-f", "{{if and .CgoFiles (not .Standard)}}{{.ImportPath}}{{end}}", name},
		Dir: moduleDir, Env: append(slices.Clone(g.env), "GOARCH="+string(a), "CGO_ENABLED=1"),
	})
	if packages := strings.Fields(string(out)); err == nil && len(packages) > 0 {
		return fmt.Errorf("%s needs a C compiler (cgo), for %s; build it by a script, with the compiler among its packages\n%w", name, strings.Join(packages, ", "), failure)
	}
	return failure
}

// localReplacements are modules that a module takes from directories.
func localReplacements(moduleDir string) (paths []string) {
	content, err := os.ReadFile(filepath.Join(moduleDir, "go.mod"))
	if err != nil {
		return nil
	}
	file, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		return nil
	}
	for _, r := range file.Replace {
		if modfile.IsDirectoryPath(r.New.Path) {
			paths = append(paths, r.Old.Path)
		}
	}
	return paths
}
